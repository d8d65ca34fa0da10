"""Rounds: what particles request, served for all of them at once. Nothing else has a model or a
draft called in the course of a step.

The population, the steps that are made before their time and the drafters (precompute.py) are the
three that ask here. A round of the population is one batched forward for each language model:

    for step in steps: step.advance()       each runs on to what it needs, or to the step's end
    rounds.serve(requests)                  rows, drafts' rows and masks of all of them
    ...                                     until every particle has passed its boundary
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import Sums
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.drafts import DraftQuery
from fkdsl.machine.particle import RunningParticle
from fkdsl.proposals.drafting import Drafting
from fkdsl.proposals.open_draw import OpenDraw, Request
from fkdsl.proposals.outcomes import Mask
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.together import choose_together
from fkdsl.steering.particle_step import ParticleStep

FORCED = 256
"""Contexts of forced tokens that are pinned, so that the engine keeps their rows."""

Requests = Sequence[tuple[ParticleStep, Request]]
Askers = dict[str, dict[Context, list[RunningParticle]]]
"""Who asks for the row of a context, by model."""
Precomputed = Callable[[Sequence[ParticleStep]], Mapping[str, Mapping[Context, None]]]
"""Of the steps that wait for rows: the contexts, by model, whose rows are to be computed with
them."""


@dataclass
class PartOfRow:
    """A row (V,), in nats, tokens of it (V,), and the sums (blocks,) of their probabilities, once
    they are known."""

    row: Floats
    mask: Mask
    sums: Sums | None = None


class Rounds:
    """engines: by the program's names of its models."""

    def __init__(
        self, engines: Mapping[str, CachedTransformer], settings: ProposalSettings
    ) -> None:
        self.engines, self.settings = engines, settings
        self._pinned: deque[Context] = deque(maxlen=FORCED)
        # Contexts that were requested last stay in their trees while particles go on from them:
        # `logprob` and `observe` of one text ask for the same.
        self._last: Requests = ()
        self.population = 1
        """How many particles go on together: as many contexts of a model may be asked about."""
        self._on_device = False  # whether a row has come that lies on a device
        # What has been summed for draws of `Continues` in the last round, by the ids of its arrays.
        self._parts: dict[tuple[int, int], PartOfRow] = {}

    def serve(
        self,
        requests: Requests,
        precomputed: Precomputed | None = None,
        first: Sequence[tuple[str, Context]] = (),
    ) -> dict[str, dict[Context, Floats]]:
        """Puts into each particle's `rows` what it requests; makes masks and their sums, and
        chooses what plain draws give. The rows (V,) that were asked for, by model.

        With drafts, rows that must be computed wait while some particle can go on without, and
        particles may be left waiting: they request again. precomputed: what to compute with them.
        first: (model, context) pairs whose rows are wanted too; all are computed in this order.
        """
        self._last = requests
        self.answer_drafts(requests)
        asked: Askers = {}
        for model, node in first:
            asked.setdefault(model, {}).setdefault(node, [])
        for step, request in requests:
            for model, node in chain(request.rows, request.forced):
                asked.setdefault(model, {}).setdefault(node, []).append(step.particle)
            if request.forced:
                self._pinned.extend(node for _, node in request.forced)
        if self.settings.drafting is not None:
            asked = self._due(self.settings.drafting, requests, asked, precomputed)
        clock, served = self.settings.clock, dict[str, dict[Context, Floats]]()
        for model, askers in asked.items():
            nodes = list(askers)
            engine = self.engines[model]
            engine.expect(self.population)
            if clock is None:
                rows = engine.log_probs(nodes)
            else:
                with clock.model():
                    rows = engine.log_probs(nodes)
            served[model] = dict(zip(nodes, rows, strict=True))
            for node, row in served[model].items():
                self._on_device |= not isinstance(row, np.ndarray)
                for particle in askers[node]:
                    particle.rows[node] = row
        if not requests:  # all go in lock step
            return served
        draws = [step.draw for step, _ in requests if step.draw is not None]
        self.filter_texts(draws)
        self.prepare_masks(requests)
        if draws:
            self.sum_parts_of_rows(draws)
        if self._on_device:
            self.read_rows(draws)
        choose_together(draws, self.settings)
        return served

    def end_step(self) -> None:
        """Lets go of what was requested last."""
        self._last = ()

    def take_cached(self, particle: RunningParticle, request: Request) -> bool:
        """Puts the rows that are at hand into the particle's; whether they are all that it
        requests. Computes nothing."""
        for model, node in request.rows:
            row = self.engines[model].cached(node)
            if row is None:
                return False
            particle.rows[node] = row
        return True

    def answer_drafts(self, requests: Requests) -> None:
        """Asks the drafts for all at once; None where a draft has nothing to say."""
        asked: dict[str, dict[DraftQuery, list[RunningParticle]]] = {}
        for step, request in requests:
            for model, query in request.drafts:
                asked.setdefault(model, {}).setdefault(query, []).append(step.particle)
        for model, askers in asked.items():
            assert self.settings.drafting is not None
            rows = self.settings.drafting.log_probs(model, list(askers))
            for query, row in zip(askers, rows, strict=True):
                for particle in askers[query]:
                    particle.rows[query] = row

    def prepare_masks(self, requests: Requests) -> None:
        """Has constraints make the masks of a population together."""
        texts: dict[Constraint, list[tuple[int, ...]]] = {}
        lines: dict[Constraint, Span] = {}
        for _, request in requests:
            for constraint, ids, line in request.masks:
                texts.setdefault(constraint, []).append(ids)
                lines[constraint] = line
        for constraint, lists in texts.items():
            with self.settings.timed(lines[constraint]):
                constraint.prepare(lists)

    def filter_texts(self, draws: Sequence[OpenDraw]) -> None:
        """Has the surrogates, where draws look ahead by them, filter the texts of a population
        together."""
        if self.settings.lookahead is not None:
            self.settings.lookahead.prepare(
                [
                    (d.particle, d.distribution, ahead)
                    for d in draws
                    if (ahead := d.ahead()) is not None
                ]
            )

    def sum_parts_of_rows(self, draws: Sequence[OpenDraw]) -> None:
        """Sums what masks and `Continues` leave of the rows that are drawn from, for the whole
        population at once: a row is long, and going through one between two particles would drive
        all else out of the processor's caches. Both parts of a row that `Continues` asks about are
        summed, since its particle draws from one of them next."""
        parts: dict[tuple[int, int], PartOfRow] = {}
        missing: dict[str, list[PartOfRow]] = {}
        of_draws: list[tuple[OpenDraw, PartOfRow]] = []
        keep: dict[tuple[int, int], PartOfRow] = {}
        for draw in draws:
            asked = draw.parts_of_row()
            if asked is None or not isinstance(asked[1], np.ndarray):
                continue
            model, row, masks = asked
            for mask in masks:
                pair = id(row), id(mask)
                part = parts.get(pair) or self._parts.get(pair)
                if part is None:
                    part = PartOfRow(row, mask)
                    missing.setdefault(model, []).append(part)
                parts[pair] = part
                if mask is masks[0]:
                    of_draws.append((draw, part))
                if len(masks) > 1:
                    keep[pair] = part
        for model, new in missing.items():
            rows, their = [p.row for p in new], [p.mask for p in new]
            sums = self.engines[model].masked_block_sums(rows, their)
            for part, of_part in zip(new, sums, strict=True):
                part.sums = of_part
        for draw, part in of_draws:
            draw.sums = part.sums
        self._parts = keep

    def read_rows(self, draws: Sequence[OpenDraw]) -> None:
        """Reads from a device what the draws of the population will look at, in one transfer."""
        wanted = [(draw, wanted) for draw in draws if (wanted := draw.wanted_of_row()) is not None]
        if not wanted:
            return
        from fkdsl.models.device.reads import read

        for (draw, _), sums in zip(wanted, read([w for _, w in wanted]), strict=True):
            if sums is not None:
                draw.sums = sums

    def _due(
        self,
        drafting: Drafting,
        requests: Requests,
        asked: Askers,
        precomputed: Precomputed | None,
    ) -> Askers:
        """The rows to ask for now: those at hand, while some particle can go on by them; else all
        that are asked for, and those that the population will ask for if its drafts are right."""
        missing = {
            (model, node)
            for model, nodes in asked.items()
            for node in nodes
            if model in drafting.of and self.engines[model].cached(node) is None
        }
        if not missing:
            return asked
        held_up = {id(p) for model, node in missing for p in asked[model][node]}
        if any(id(step.particle) not in held_up for step, _ in requests):
            return {
                model: {node: who for node, who in nodes.items() if (model, node) not in missing}
                for model, nodes in asked.items()
            }
        waiting = [
            step
            for step, _ in requests
            if any((c.model, c.node) in missing for c in step.particle.contexts)
        ]
        if precomputed is None:
            drafting.counts.rounds += len(waiting)
        else:
            for model, more in precomputed(waiting).items():
                for node in more:
                    asked.setdefault(model, {}).setdefault(node, [])
        for model in drafting.of.keys() & asked.keys():
            engine = self.engines[model]
            engine.repeated = drafting.of[model].length + 1
            if engine.meter is not None:
                engine.meter.decode_length = 2 * engine.repeated
            engine.keep_rows(2 * len(asked[model]))
        return asked

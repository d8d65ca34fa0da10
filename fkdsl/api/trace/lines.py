"""A step of a run as one JSON object: a line of a trace, and what a worker of a cluster sends.

Each state is written as what it adds to its ancestor's, and the text of each token once, so that
the lines of a run are as long as what is drawn in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fkdsl.api.trace.attachments import attachment_to_json
from fkdsl.api.trace.rebuild import parents
from fkdsl.api.trace.recorded import token_text
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Step
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.machine.state_json import log_weight_to_json, state_to_json
from fkdsl.models.attachments import Attachment


class StepWriter:
    """Writes steps, each after those of its island before it. engines: whose tokens the states
    have. last: by island, the step that its next line adds to."""

    def __init__(self, engines: Mapping[str, CachedTransformer], places: Places) -> None:
        self.engines, self.places = engines, places
        self.last: dict[int, Step[ProgramState]] = {}
        self._known_tokens: set[tuple[str, int]] = set()
        self._known_attachments: set[int] = set()

    def know(self, line: Mapping[str, Any]) -> None:
        """Takes note of the tokens whose texts a reader has from this line."""
        self._known_tokens.update(
            (name, int(i)) for name, texts in line.get("tokens", {}).items() for i in texts
        )
        self._known_attachments.update(map(int, line.get("attachments", ())))

    def line(self, step: Step[ProgramState]) -> dict[str, Any]:
        """The line of the next step of an island (docs/trace.md, The format)."""
        before = parents(step.t, self.last.get(step.island))
        first: dict[int, int] = {}
        tokens: dict[str, dict[str, Any]] = {}
        attachments: dict[str, Any] = {}
        particles = []
        for i, (particle, w) in enumerate(zip(step.particles, step.log_weights, strict=True)):
            a, x = step.ancestors[i], particle.state
            parent = before[a] if 0 <= a < len(before) else None
            line: dict[str, Any] = {} if a == i else {"ancestor": a}
            if parent is None or parent.lineage != particle.lineage:
                line["lineage"] = particle.lineage.hex()
            line["log_weight"] = log_weight_to_json(float(w))
            if id(x) in first:
                line["state"] = first[id(x)]
            elif parent is None or parent.state is not x:
                first[id(x)] = i
                line["state"] = state_to_json(
                    x, self.places, parent.state if parent is not None else None
                )
                self._add_texts(x, line["state"], tokens, attachments)
            particles.append(line)
        self.last[step.island] = step
        head: dict[str, Any] = {"t": step.t, "island": step.island, "resampled": step.resampled}
        if tokens:
            head["tokens"] = tokens
        if attachments:
            head["attachments"] = attachments
        return {**head, "particles": particles}

    def _add_texts(
        self,
        x: ProgramState,
        written: Mapping[str, Any],
        tokens: dict[str, dict[str, Any]],
        attachments: dict[str, Any],
    ) -> None:
        """Adds to `tokens` the texts of those tokens of x whose text no line has told yet, and
        likewise to `attachments` what they are."""
        for c, data in zip(x.contexts, written.get("contexts", ()), strict=True):
            for i in data.get("tokens", data.get("add", ())):
                if isinstance(i, Attachment):
                    if i not in self._known_attachments:
                        self._known_attachments.add(int(i))
                        attachments[str(int(i))] = attachment_to_json(i)
                elif (c.model, i) not in self._known_tokens:
                    self._known_tokens.add((c.model, i))
                    raw = self.engines[c.model].model.vocabulary.tokens[i]
                    tokens.setdefault(c.model, {})[str(i)] = token_text(raw)

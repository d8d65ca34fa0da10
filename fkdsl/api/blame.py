"""Blame: what each line of a program did in a run, and which lines contradict each other.

If one particle lives through every line, no lines contradict each other. If all have died, the
program is searched with some of its lines left out, a few seconds long, for an outcome of positive
weight (inference.search.support).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import PopulationDied, ProgramError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.shown import shortened
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.assess.blame import Account, Blame, Conflict
from fkdsl.inference.result import Result
from fkdsl.inference.search.support import can_live
from fkdsl.ir.build import build
from fkdsl.ir.lines import called_with, lines, only
from fkdsl.language.compile import compile_ir
from fkdsl.machine.clock import Clock
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.steering.feynman_kac import SteeringModel

SECONDS = 3.0
"""Time for the whole search, about: it ends between two batches of a model."""
SECONDS_A_CHOICE = 0.5
"""Time for the search with one choice of lines."""


@dataclass(frozen=True)
class BlameRecorder:
    """What a run that asks for blame records. clock: measures the time of its lines. account: what
    each line did to the weights. sampled: whether its method draws."""

    program: CalledProgram
    clock: Clock
    account: Account[ProgramState]
    sampled: bool

    @classmethod
    def of(cls, program: CalledProgram, model: SteeringModel, *, sampled: bool) -> BlameRecorder:
        """The records of a model whose proposals have a clock."""
        assert model.proposals.clock is not None
        return cls(program, model.proposals.clock, Account(model), sampled)

    def of_result(self, result: Result) -> Result:
        """The result with its blame."""
        return replace(result, blame=self.blame(result.seconds, ()))

    @contextmanager
    def deaths(self, engines: Mapping[str, CachedTransformer]) -> Iterator[None]:
        """A context in which the error of a run that dies gets its blame, and names the lines that
        contradict each other."""
        began = time.monotonic()
        try:
            yield
        except PopulationDied as died:
            seconds = time.monotonic() - began
            lethal = [place for place, _ in self.account.deaths.most_common()]
            contradictions = conflicts(self.program, engines, lethal) or self._never_together()
            named = with_conflicts(died, contradictions)
            named.blame = self.blame(seconds, contradictions)
            raise named from None

    def blame(self, seconds: float, contradictions: Sequence[Conflict]) -> Blame:
        """The lines with their shares. seconds: the run took, with the work for blame."""
        own = max(seconds - self.clock.own, 0.0)
        measured = sum(self.clock.by_place.values()) + self.clock.models
        total = max(own, measured)
        rows = self.account.lines(lines(self.program.ir()), self.clock.by_place, total)
        model = self.clock.models / total if total > 0.0 else None
        other = (total - measured) / total if total > 0.0 else None
        return Blame(rows, tuple(contradictions), total, model, other)

    def _never_together(self) -> tuple[Conflict, ...]:
        """The one or two lines that killed every particle, if no particle passed all of them."""
        places = tuple(
            sorted(
                frozenset().union(*self.account.lethal_lines),
                key=lambda s: (s.source.name, s.start),
            )
        )
        if not self.sampled or not 1 <= len(places) <= 2 or self.account.together(places):
            return ()
        return (Conflict(places, "run"),)


def with_conflicts(died: PopulationDied, contradictions: Sequence[Conflict]) -> PopulationDied:
    """The error with each conflict among its facts."""
    if not contradictions:
        return died
    facts = [line for c in contradictions for line in conflict_text(c, died.short)]
    alone = all(len(conflict.places) == 1 for conflict in contradictions)
    which = "this line" if alone and len(contradictions) == 1 else "one of these lines"
    help = f"loosen {which}, or leave it out" if contradictions[0].certain else died.help
    if not died.short.isdisjoint(contradictions[0].places):
        help = f"let the text have more tokens, or {help}"
    details = {**died.details, "conflicts": [conflict_json(c) for c in contradictions]}
    return PopulationDied(died.message, help, (*died.facts, *facts), details)


def conflict_text(conflict: Conflict, short: frozenset[Span] = frozenset()) -> list[str]:
    """What is known of the lines, then each of them. short: the lines for which a text may have too
    few tokens."""
    one = len(conflict.places) == 1
    claim = {
        (True, True): "this line can never hold:",
        (True, False): "these lines cannot hold together:",
        (False, True): "this line never held in this run:",
        (False, False): "these lines never held together in this run:",
    }[conflict.certain, one]
    if conflict.certain and not short.isdisjoint(conflict.places):
        claim = claim.replace("never hold:", "never hold in so few tokens:")
        claim = claim.replace("together:", "together in so few tokens:")
    return [claim, *(f"  line {s.line}: {shortened(source_text(s))}" for s in conflict.places)]


def source_text(place: Span) -> str:
    """The first line of the text in a place."""
    return (place.text.strip().splitlines() or [""])[0]


def conflict_json(conflict: Conflict) -> dict[str, Any]:
    """The conflict as JSON has it."""
    places = [{"file": s.source.name, "line": s.line, "column": s.column} for s in conflict.places]
    return {"lines": places, "by": conflict.by, "certain": conflict.certain}


def conflicts(
    program: CalledProgram,
    engines: Mapping[str, CachedTransformer],
    first: Sequence[Span] = (),
    seconds: float = SECONDS,
) -> tuple[Conflict, ...]:
    """Lines that certainly cannot hold: each that cannot hold alone, each pair of others that
    cannot hold together, and, where no pair is to blame, a smallest set of lines that cannot.
    first: the lines to begin with. seconds: for the search, about."""
    with until(Deadline(seconds + SECONDS_A_CHOICE)):
        try:
            return _conflicts(_Search(program, engines, time.monotonic() + seconds), first)
        except DeadlinePassed:
            return ()


def _conflicts(search: _Search, first: Sequence[Span]) -> tuple[Conflict, ...]:
    places = [
        *(p for p in first if p in search.places),
        *(p for p in search.places if p not in first),
    ]
    if search.why_dead(search.places) is None and search.lives:
        return ()
    dead = [p for p in places if search.why_dead([p])]
    if dead and search.why_dead([]):
        return ()  # the draws themselves have no outcome, whatever the lines say
    result = [search.conflict([p]) for p in dead]
    for pair in combinations([p for p in places if p not in dead], 2):
        if search.why_dead(pair):
            result.append(search.conflict(pair))
    if not result and search.why_dead(search.places):
        result.append(search.conflict(search.smallest()))
    return tuple(c for c in result if c.places)


class _Search:
    """Finds which choices of a program's lines leave no outcome of positive weight. lives: whether
    the last choice certainly leaves one."""

    def __init__(
        self, program: CalledProgram, engines: Mapping[str, CachedTransformer], until: float
    ) -> None:
        self.program, self.engines, self.until = program, engines, until
        self.arguments = tuple(program.parameter_values().values())
        self.places = lines(program.ir())
        self.known: dict[frozenset[Span], str | None] = {}
        self.lives = False

    def why_dead(self, places: Sequence[Span]) -> str | None:
        """How it is known that no outcome lives through these lines alone; None if one does, or if
        it is not known."""
        key = frozenset(places)
        if key not in self.known:
            self.known[key] = self._why_dead(key)
        return self.known[key]

    def _why_dead(self, places: frozenset[Span]) -> str | None:
        self.lives = False
        now = time.monotonic()
        if now > self.until:
            return None
        try:
            kept = compile_ir(
                self.program.checked,
                self.program.name,
                rewrite=lambda written: only(called_with(written, self.arguments), places),
            )
        except ProgramError:
            return "automaton"
        executable = build(kept, self.program.environment())
        model = SteeringModel(
            executable, self.engines, self.arguments, proposals=ProposalSettings(rejection=False)
        )
        alive = can_live(model, until=min(self.until, now + SECONDS_A_CHOICE))
        self.lives = alive is True
        return "enumeration" if alive is False else None

    def smallest(self) -> list[Span]:
        """A smallest set of lines that leaves no outcome: each that is not needed for it is left
        out."""
        kept = list(self.places)
        for place in self.places:
            fewer = [p for p in kept if p != place]
            if self.why_dead(fewer):
                kept = fewer
        return kept

    def conflict(self, places: Sequence[Span]) -> Conflict:
        """The conflict of lines that are known to leave no outcome."""
        return Conflict(
            tuple(sorted(places, key=self.places.index)), self.why_dead(places) or "run"
        )

"""The islands of a run: independent populations, each with what the result and the reports need of
its steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from fkdsl.base.errors import CallError
from fkdsl.inference.assess.uncertainty import ErrorEstimator
from fkdsl.inference.deaths import (
    KEPT_TEXTS,
    Death,
    Deaths,
    deaths_of,
    last_texts,
    likeliest,
)
from fkdsl.inference.interface import FeynmanKac, Level, Step
from fkdsl.inference.method import Method, MethodCall
from fkdsl.inference.result import Answer, filtering_answers

S = TypeVar("S")

MOST_ISLANDS = 1_000_000


def check_islands(method: Method, islands: int) -> None:
    """Raises CallError for a number of islands that a method cannot have."""
    if not 1 <= islands <= MOST_ISLANDS:
        raise CallError(
            f"a run has 1 to {MOST_ISLANDS:,} islands, not {islands}", "write --islands 4"
        )
    if islands > 1 and not method.draws:
        raise CallError(
            f"`{method.name}` draws nothing: its islands would all be the same",
            "leave --islands out",
        )


def check_exchange(call: MethodCall, islands: int, exchange: int | None) -> None:
    """Raises CallError for an exchange between islands that a run cannot have."""
    if exchange is None:
        return
    if exchange < 1:
        raise CallError(
            f"islands are exchanged every so many steps, at least 1, not {exchange}",
            "write --exchange 10",
        )
    if islands < 2:
        raise CallError("one island has none to exchange with", "add --islands 8")
    if not (call.resumes and call.method.estimates_z):
        raise CallError(
            f"`{call.method.name}` does not go on from a step as it is, so its islands cannot be "
            "exchanged",
            "use smc without moves, steer or importance, or leave --exchange out",
        )


class IslandHistory(Generic[S]):
    """What is kept of one island's steps.

    deaths: by step, how many particles died at each place. last_texts: what the heaviest of them
    had come to. filtering_posteriors: P_t of each step, where they are asked for. proposed,
    accepted: moves of whole paths. errors: finds the errors of this one population; None where only
    islands together tell.
    """

    def __init__(
        self, model: FeynmanKac[S], filtering: bool, errors: ErrorEstimator | None
    ) -> None:
        self.model, self.filtering, self.errors = model, filtering, errors
        self.deaths: Deaths = []
        self.last_texts: list[Death] = []
        self.filtering_posteriors: list[tuple[Answer, ...]] = []
        self.proposed = self.accepted = 0
        self._last: Step[S] | Level[S] | None = None

    @property
    def begun(self) -> bool:
        """Whether it has a population yet."""
        return self._last is not None

    @property
    def last(self) -> Step[S] | Level[S]:
        """The population after the last step; there must be one."""
        assert self._last is not None
        return self._last

    def go_on_from(self, step: Step[S]) -> None:
        """Puts another population in the place of the last one: the island goes on from there."""
        self._last = step

    def take(self, step: Step[S] | Level[S]) -> None:
        """Enters the population after the next step."""
        before = self._last
        if self.filtering:
            self.filtering_posteriors.append(filtering_answers(self.model, step))
        if not isinstance(step, Step) or step.alive < len(step.particles):
            self.deaths.append((step.t, deaths_of(self.model, step, before)))
            texts = last_texts(self.model, step, before)
            self.last_texts = likeliest([*self.last_texts, *texts], KEPT_TEXTS)
        if isinstance(step, Step):
            self.proposed += step.proposed
            self.accepted += step.accepted
            if self.errors is not None:
                assert not isinstance(before, Level)
                self.errors.take(step, before)
        self._last = step


def accepted_moves(histories: Iterable[IslandHistory[S]]) -> tuple[str, ...]:
    """A note on how many moves of whole paths were accepted, of a method that makes any."""
    counts = [(history.proposed, history.accepted) for history in histories]
    proposed, accepted = sum(p for p, _ in counts), sum(a for _, a in counts)
    if not proposed:
        return ()
    return (f"moves: {accepted} of {proposed} accepted, {accepted / proposed:.0%}",)

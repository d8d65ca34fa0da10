"""What the pilot of `--method auto` tries: methods with options, and the islands of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from numpy.typing import ArrayLike

from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.samplers.adaptive import IslandPilot
from fkdsl.inference.samplers.choice import Piloted

MOVE = 0.1
"""Tokens that a move of one particle is taken to cost beside those that it forwards."""


@dataclass(frozen=True)
class Candidate:
    """A method with options, and whether texts look ahead by a surrogate where they can."""

    name: str
    method: str
    options: dict[str, Any]
    looks_ahead: bool = True


@dataclass
class Moves:
    """A MoveObserver that counts moves of particles, and those that died in them."""

    count: int = 0
    died: int = 0

    def begin(self, states: Sequence[Any]) -> None:
        """A population starts."""

    def moved(
        self, t: int, before: Sequence[Any], after: Sequence[Any], log_weights: ArrayLike
    ) -> None:
        """Particles moved."""
        self.count += len(before)
        self.died += sum(x.died is not None for x in after)


@dataclass
class PilotIslands:
    """A candidate's pilot so far."""

    request: RunRequest
    engines: Engines
    log_Z: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    moves: Moves = field(default_factory=Moves)

    def piloted(self) -> Piloted:
        """The pilot so far, with the cost of an island: tokens, and a part of one for each move."""
        n = len(self.log_Z)
        later = self.tokens[1:] or self.tokens
        cost = sum(later) / len(later) + MOVE * self.moves.count / n
        pilot = IslandPilot(tuple(self.log_Z), tuple(self.tokens), tuple(self.seconds))
        return Piloted(pilot, max(cost, MOVE))


def candidates(base: RunRequest) -> list[Candidate]:
    """What a pilot tries, the first one being smc of the file's number of particles, or 16. base: a
    request by smc."""
    n = int(base.program.method[1].get("particles", 16))
    few = max(2, n // 2)
    tried = [
        Candidate(f"smc(particles={n})", "smc", {"particles": n}),
        Candidate(f"importance(particles={n})", "importance", {"particles": n}),
        Candidate(f"smc(particles={4 * n})", "smc", {"particles": 4 * n}),
        Candidate(f"steer(particles={few})", "steer", {"particles": few}),
        Candidate(f"dpf(particles={n})", "dpf", {"particles": n}),
        Candidate(f"smc(particles={n}, moves=1)", "smc", {"particles": n, "moves": 1}),
    ]
    if base.completion_lookahead() is not None:
        name = f"smc(particles={n}) without look-ahead"
        tried.insert(1, Candidate(name, "smc", {"particles": n}, looks_ahead=False))
    return tried

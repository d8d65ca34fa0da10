"""What an exact search has not looked at yet: states to step, and outcomes of steps that were
passed by, each with its mass. `best_first` and `beam` share it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import numpy as np

from fkdsl.base.logspace import log_sum_exp
from fkdsl.inference.interface import Bounded, FeynmanKac, Level, MoveObserver
from fkdsl.inference.search.exact import enumerable_step
from fkdsl.inference.search.ranked import Ranked, RankedRng

S = TypeVar("S")
BATCH = 32
"""Steps made together: rows of one forward of the language model beneath."""


@dataclass(frozen=True)
class Explored(Level[S]):
    """A Level of which some mass is open: dropped, or not looked at.

    log_open: an upper bound on what that adds to Z, in nats: -inf where nothing is open, inf where
    no bound is known. computed: states so far, dead ones among them. ended: the bound that ended
    the search, "" for none.
    """

    log_open: float = -math.inf
    computed: int = 0
    ended: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """log Z is between them, nats; the second is inf where no bound is known."""
        return self.log_Z, float(np.logaddexp(self.log_Z, self.log_open))

    @property
    def gap(self) -> float:
        """How far they are apart, nats."""
        low, high = self.bounds
        return 0.0 if low == high else high - low


@dataclass(eq=False)
class Task(Generic[S]):
    """A step to be made from x, at step t: the decisions of `prefix` replayed, then the outcome of
    rank `skip`.

    log_weight: of x and the prefix. log_mass: of all that the task stands for. waits_as: the key
    that a whole step of x waits under, None for a part of one. void: whether another one took its
    place.
    """

    x: S
    t: int
    log_weight: float
    log_mass: float
    prefix: tuple[int, ...] = ()
    skip: int = 0
    waits_as: Hashable = None
    void: bool = False


@dataclass(eq=False)
class Group(Generic[S]):
    """The outcomes of one decision in a step from x that are not made yet: those of `ranked` from
    place `at` on. log_weight: of x and the prefix."""

    x: S
    t: int
    log_weight: float
    prefix: tuple[int, ...]
    ranked: Ranked
    at: int = 1

    @property
    def log_next(self) -> float:
        return self.log_weight + float(self.ranked.log_p[self.at])

    @property
    def log_mass(self) -> float:
        return self.log_weight + float(self.ranked.log_from[self.at])

    @property
    def exhausted(self) -> bool:
        return self.at >= len(self.ranked.order)

    def take(self) -> Task[S]:
        """The next outcome as a task."""
        w = self.log_next
        outcome = int(self.ranked.order[self.at])
        self.at += 1
        return Task(self.x, self.t, w, w, (*self.prefix, outcome))

    def beyond(self) -> Task[S] | None:
        """The outcomes after the last as a task that ranks them anew; None if there are none."""
        mass = self.ranked.log_beyond
        if mass == -math.inf:
            return None
        return Task(
            self.x,
            self.t,
            self.log_weight,
            self.log_weight + mass,
            self.prefix,
            self.ranked.next_rank,
        )


@dataclass(frozen=True)
class Child(Generic[S]):
    """A state at step t with its log weight, in nats."""

    x: S
    t: int
    log_weight: float

    @property
    def log_mass(self) -> float:
        return self.log_weight


class Frontier(Generic[S]):
    """Tasks and groups, by the rank of their next outcome. Equal states that wait to be stepped
    wait as one; what is known to come to nothing is not kept."""

    def __init__(self, model: FeynmanKac[S], observer: MoveObserver[S] | None = None) -> None:
        self.model, self._observer = model, observer
        self._bound = model.log_bound if isinstance(model, Bounded) else lambda x: math.inf
        self._heap: list[tuple[float, int, Task[S] | Group[S]]] = []
        self._number = count()
        self._void = 0
        self._waiting: dict[Hashable, Task[S]] = {}

    def add(self, child: Child[S]) -> None:
        """A state that is to be stepped."""
        if self.rank(child.x, child.log_weight) == -math.inf:
            return
        key = (child.t, self.model.key(child.x))
        held, w = self._waiting.get(key), child.log_weight
        if held is not None:
            held.void, w = True, float(np.logaddexp(held.log_weight, w))
            self._void += 1
        self._waiting[key] = task = Task(child.x, child.t, w, w, waits_as=key)
        self._push(task, w)

    def push(self, group: Group[S]) -> None:
        """What a step has passed by."""
        if not group.exhausted:
            self._push(group, group.log_next)
        elif (task := group.beyond()) is not None:
            self._push(task, min(task.log_mass, task.log_weight + float(group.ranked.log_p[-1])))

    def _push(self, item: Task[S] | Group[S], log_next: float) -> None:
        rank = self.rank(item.x, log_next)
        if rank > -math.inf:
            heapq.heappush(self._heap, (-rank, next(self._number), item))

    def rank(self, x: S, log_weight: float) -> float:
        """What comes first has most of it: the weight, times the most that can still come to it
        where that is known."""
        bound = self._bound(x)
        return log_weight + (bound if bound < math.inf else 0.0)

    def pop(self, n: int, above: float = -math.inf) -> list[Task[S]]:
        """The first n outcomes at most, those of a rank above `above`, taken out."""
        found: list[Task[S]] = []
        while self._heap and len(found) < n and -self._heap[0][0] > above:
            _, _, item = heapq.heappop(self._heap)
            if isinstance(item, Group):
                found.append(item.take())
                self.push(item)
            elif item.void:
                self._void -= 1
            else:
                if item.waits_as is not None:
                    del self._waiting[item.waits_as]
                found.append(item)
        return found

    def log_open(self, aside: Sequence[Task[S] | Child[S]] = ()) -> float:
        """An upper bound on what is in it, and aside of it, can add to Z, in nats; inf where no
        bound is known."""
        items = [item for _, _, item in self._heap if isinstance(item, Group) or not item.void]
        bounds = [item.log_mass + self._bound(item.x) for item in (*items, *aside)]
        return math.inf if math.inf in bounds else log_sum_exp(bounds)

    def __len__(self) -> int:
        return len(self._heap) - self._void

    def step(self, tasks: Sequence[Task[S]]) -> list[Child[S]]:
        """The states that the tasks lead to, those of weight zero among them; what they pass by is
        pushed."""
        rngs = [RankedRng(task.prefix, task.skip) for task in tasks]
        states, log_G = enumerable_step(self.model, rngs, [task.x for task in tasks])
        found = []
        for task, rng, x, g in zip(tasks, rngs, states, log_G, strict=True):
            for at, before, ranked in rng.revealed:
                self.push(
                    Group(task.x, task.t, task.log_weight + before, tuple(rng.taken[:at]), ranked)
                )
            if self._observer is not None:
                self._observer.moved(task.t + 1, [task.x], [x], [task.log_weight + rng.log_p])
            found.append(Child(x, task.t + 1, task.log_weight + rng.log_p + float(g)))
        return found

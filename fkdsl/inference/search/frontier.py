"""What an exact search has not visited yet: states that are still to be stepped, and outcomes that
steps have not taken, each with its mass. `best_first` and `beam` share it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import count
from typing import Generic, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.interface import Bounded, FeynmanKac, Level, MoveObserver
from fkdsl.inference.search.exact import enumerable_step
from fkdsl.inference.search.ranked import Ranked, RankedRng

S = TypeVar("S")
BATCH = 32
"""Steps that are made together, so that one forward of the language model serves them."""


@dataclass(frozen=True)
class Explored(Level[S]):
    """A Level of which some mass is open: dropped, or not visited.

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

    def cut(self, model: FeynmanKac[S], ended: str = "") -> Explored[S]:
        """What is known where the search ends here, by the bound `ended`: the finished states are
        found, and what the others can come to is open."""
        finished = [model.finished(x) for x in self.states]
        particles = list(zip(self.states, self.log_weights, finished, strict=True))
        bound = log_bound_of(model)
        weights = tuple(w for _, w, done in particles if done)
        still_open = [w + bound(x) for x, w, done in particles if not done]
        return replace(
            self,
            states=tuple(x for x, _, done in particles if done),
            log_weights=weights,
            log_Z=log_sum_exp(weights),
            dead=(),
            log_open=log_total([self.log_open, *still_open]),
            ended=ended or self.ended,
        )


def log_total(bounds: Sequence[float]) -> float:
    """The log of the sum of upper bounds, of which inf stands for one that is not known."""
    return math.inf if math.inf in bounds else log_sum_exp(bounds)


def log_bound_of(model: FeynmanKac[S]) -> Callable[[S], float]:
    """The model's `log_bound`; inf for every state where it has none."""
    return model.log_bound if isinstance(model, Bounded) else lambda x: math.inf


@dataclass(eq=False)
class Task(Generic[S]):
    """A step to be made from x, at step t: the decisions of `prefix` are replayed, then the outcome
    of rank `skip` is taken.

    log_weight: of x and the prefix. log_mass: of all outcomes that the task stands for. waits_as:
    the key of x where the task is a whole step that waits, None where it is a part of one. void:
    whether another task has taken its place.
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
    """The outcomes of one decision in a step from x that have not been visited: those of `ranked`
    from place `at` on. log_weight: of x and the prefix."""

    x: S
    t: int
    log_weight: float
    prefix: tuple[int, ...]
    ranked: Ranked
    at: int = 1

    @property
    def log_next(self) -> float:
        """The log weight of the next outcome."""
        return self.log_weight + float(self.ranked.log_p[self.at])

    @property
    def log_mass(self) -> float:
        """The log weight of all of them together."""
        return self.log_weight + float(self.ranked.log_from[self.at])

    @property
    def exhausted(self) -> bool:
        """Whether all outcomes that are held in order have been taken."""
        return self.at >= len(self.ranked.order)

    def take(self) -> Task[S]:
        """The next outcome, as a task."""
        w = self.log_next
        outcome = int(self.ranked.order[self.at])
        self.at += 1
        return Task(self.x, self.t, w, w, (*self.prefix, outcome))

    def beyond(self) -> Task[S] | None:
        """A task that ranks the outcomes after those held in order; None if there are none."""
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
        """Its log weight, under the name that tasks have for it."""
        return self.log_weight


class Frontier(Generic[S]):
    """The open tasks and groups, by the rank of their next outcome. Equal states that wait to be
    stepped wait as one task. What can come to no weight is not kept."""

    def __init__(self, model: FeynmanKac[S], observer: MoveObserver[S] | None = None) -> None:
        self.model, self._observer = model, observer
        self._bound = log_bound_of(model)
        self._heap: list[tuple[float, int, Task[S] | Group[S]]] = []
        self._number = count()
        self._void = 0
        self._waiting: dict[Hashable, Task[S]] = {}

    def add(self, child: Child[S]) -> None:
        """Adds a state that is to be stepped."""
        if self.rank(child.x, child.log_weight) == -math.inf:
            return
        key = (child.t, self.model.key(child.x))
        same, w = self._waiting.get(key), child.log_weight
        if same is not None:
            same.void, w = True, float(np.logaddexp(same.log_weight, w))
            self._void += 1
        self._waiting[key] = task = Task(child.x, child.t, w, w, waits_as=key)
        self._push(task, w)

    def push(self, group: Group[S]) -> None:
        """Adds the outcomes that a step has not taken."""
        if not group.exhausted:
            self._push(group, group.log_next)
        elif (task := group.beyond()) is not None:
            self._push(task, min(task.log_mass, task.log_weight + float(group.ranked.log_p[-1])))

    def _push(self, item: Task[S] | Group[S], log_next: float) -> None:
        rank = self.rank(item.x, log_next)
        if rank > -math.inf:
            heapq.heappush(self._heap, (-rank, next(self._number), item))

    def rank(self, x: S, log_weight: float) -> float:
        """The order of the search: the weight, times the most that later potentials can multiply it
        by where that is known; the largest comes first."""
        bound = self._bound(x)
        return log_weight + (bound if bound < math.inf else 0.0)

    def pop(self, n: int, above: float = -math.inf) -> list[Task[S]]:
        """Takes out the first outcomes: at most n, and only those of a rank above `above`."""
        tasks: list[Task[S]] = []
        while self._heap and len(tasks) < n and -self._heap[0][0] > above:
            _, _, item = heapq.heappop(self._heap)
            if isinstance(item, Group):
                tasks.append(item.take())
                self.push(item)
            elif item.void:
                self._void -= 1
            else:
                if item.waits_as is not None:
                    del self._waiting[item.waits_as]
                tasks.append(item)
        return tasks

    def log_open(self, aside: Sequence[Task[S] | Child[S]] = ()) -> float:
        """The log of an upper bound on what the frontier and the items `aside` can add to Z; inf
        where no bound is known."""
        items = [item for _, _, item in self._heap if isinstance(item, Group) or not item.void]
        bounds = [item.log_mass + self._bound(item.x) for item in (*items, *aside)]
        return log_total(bounds)

    def __len__(self) -> int:
        return len(self._heap) - self._void

    def step(self, tasks: Sequence[Task[S]]) -> list[Child[S]]:
        """The states that the tasks lead to, also those of weight zero. The outcomes that their
        steps do not take join the frontier."""
        rngs = [RankedRng(task.prefix, task.skip) for task in tasks]
        states, log_G = enumerable_step(self.model, rngs, [task.x for task in tasks])
        children = []
        for task, rng, x, g in zip(tasks, rngs, states, log_G, strict=True):
            for at, before, ranked in rng.revealed:
                self.push(
                    Group(task.x, task.t, task.log_weight + before, tuple(rng.taken[:at]), ranked)
                )
            if self._observer is not None:
                self._observer.moved(task.t + 1, [task.x], [x], [task.log_weight + rng.log_p])
            children.append(Child(x, task.t + 1, task.log_weight + rng.log_p + float(g)))
        return children

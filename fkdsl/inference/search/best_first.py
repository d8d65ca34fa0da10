"""Exact inference in the order of weight, the heaviest outcome first, with certain bounds on Z at
any time; and the method `exact`.

The frontier holds what is open: states that are still to be stepped, and the outcomes that their
steps have not taken. The heaviest of them are stepped in batches, so that a language model beneath
sees batches. With L the mass of the finished states, m_v that of those with value v, and F an upper
bound on what the frontier can add,

    L <= Z <= L + F        m_v / (L + F) <= P(v) <= (m_v + F) / (L + F)

F is the frontier's mass where no potential is above 1 (`Bounded`), and not known where no bound on
the potentials is. Once the frontier is empty, L is Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.random import Rng
from fkdsl.inference.assess.uncertainty import Certain, FixedEstimator
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver
from fkdsl.inference.method import LoopSettings, Method, Options
from fkdsl.inference.options import Option
from fkdsl.inference.search.exact import exact, no_outcome_left, start
from fkdsl.inference.search.frontier import BATCH, Child, Explored, Frontier, Task

S = TypeVar("S")
GROWTH = 1.1
"""The least factor by which the number of states grows from one Explored to the next."""


def best_first(
    model: FeynmanKac[S],
    max_states: int = 1_000_000,
    gap: float = 0.0,
    max_steps: int | None = None,
    stop: Callable[[], str] = lambda: "",
    observer: MoveObserver[S] | None = None,
) -> Iterator[Explored[S]]:
    """Yields the finished states so far, more and more of them, until nothing is open, log Z is
    known to `gap` nats, max_states states have been computed, or `stop` gives a reason. `ended` of
    the last Explored says which bound ended the search.

    Raises CallError if the program draws from a continuous distribution.
    """
    search = Search(model, observer)
    shown = 0.0
    while True:
        ended = ""
        if len(search.frontier):
            ended = f"max_states={max_states}" if search.computed >= max_states else stop()
        elif search.late:
            ended = f"max_steps={max_steps}"
        if ended or not len(search.frontier) or search.computed >= shown:
            explored = search.explored(ended)
            yield explored
            if ended or not len(search.frontier) or explored.gap <= gap:
                return
            shown = max(search.computed + 1, GROWTH * search.computed)
        search.advance(min(BATCH, max_states - search.computed), max_steps)


class Search(Generic[S]):
    """A search as it goes on.

    finished: states with their log weights, by key. late: states that are unfinished at max_steps.
    dead: at most BATCH of the states that died since the last Explored. t: the last step reached.
    computed: how many states there were so far.
    """

    def __init__(self, model: FeynmanKac[S], observer: MoveObserver[S] | None = None) -> None:
        self.model = model
        self.frontier: Frontier[S] = Frontier(model, observer)
        self.finished: dict[Hashable, tuple[S, float]] = {}
        self.late: list[Task[S]] = []
        self.dead: list[S] = []
        self.t, self.computed = 0, 1
        x, w = start(model, observer)
        self._sort(Child(x, 0, w))

    def advance(self, n: int, max_steps: int | None) -> None:
        """Makes the n heaviest of the open steps."""
        tasks = self.frontier.pop(n)
        if max_steps is not None:
            self.late += [task for task in tasks if task.t >= max_steps]
            tasks = [task for task in tasks if task.t < max_steps]
        if tasks:
            self.t = max(self.t, 1 + max(task.t for task in tasks))
            self.computed += len(tasks)
            for child in self.frontier.step(tasks):
                self._sort(child)

    def _sort(self, child: Child[S]) -> None:
        if child.log_weight == -math.inf:
            if len(self.dead) < BATCH:
                self.dead.append(child.x)
        elif self.model.finished(child.x):
            key = self.model.key(child.x)
            x, w = self.finished.get(key, (child.x, -math.inf))
            self.finished[key] = (x, float(np.logaddexp(w, child.log_weight)))
        else:
            self.frontier.add(child)

    def explored(self, ended: str) -> Explored[S]:
        """The finished states so far, and a bound on what is open."""
        states, weights = (
            tuple(x for x, _ in self.finished.values()),
            tuple(w for _, w in self.finished.values()),
        )
        dead, self.dead = tuple(self.dead), []
        unfinished = len(self.frontier) + len(self.late)
        log_open = self.frontier.log_open(self.late)
        return Explored(
            self.t,
            states,
            weights,
            log_sum_exp(weights),
            unfinished,
            dead,
            log_open,
            self.computed,
            ended,
        )


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Level[S]]:
    """Every state level by level, or, where something may end the search, the heaviest first."""
    max_states, max_steps, observer = options["max_states"], loop.max_steps, loop.observer
    if loop.stop is None:
        return exact(model, max_states, max_steps, observer)
    return best_first(model, max_states, options["gap"], max_steps, loop.stop, observer)


EXACT = Method(
    name="exact",
    doc="every state of every step; on large vocabularies heaviest outcomes first, with bounds",
    options={
        "max_states": Option(1_000_000, doc="states enumerated at most"),
        "max_tokens": Option(20_000, doc="tokens forwarded at most, about, on large vocabularies"),
        "gap": Option(1e-4, 0, doc="nats to which log Z is to be known, on large vocabularies"),
    },
    steps=_steps,
    log_z="exact",
    draws=False,
    error=lambda model, options, merge: FixedEstimator(Certain()),
    one_choice=True,
    anytime=True,
    all_died=no_outcome_left,
)

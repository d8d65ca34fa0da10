"""Where the islands of a run are computed: in this process, or elsewhere, with one answer.

An **island** is one of a run's R independent populations. It is a pure function of

    the model      the program's text, the files that it names, its parameters; the language
                   model's weights and precision
    the call       the method with its options, max_steps, whether equal particles are merged
    the seed, R, and its index r

and of nothing else: not of the other islands, nor of the order in which they run, nor of where, nor
of how often it was begun. So it may be computed on any machine that has the model, and again from
the start if that machine is lost, with the same draws. (Of a language model's rows this holds up to
rounding: they depend on the machine's arithmetic, and on what the cache of the model had before.)

An `IslandRunner` gives the islands' steps; `run` (run.py) combines them in the order of their
indices, in one process, whoever computed them: Z_hat = (1/R) sum_r Z_r, the particles of all
islands with their weights over R. So log Z, weights, values and notes are the same wherever the
islands ran: to the last bit where the model's rows are, as those of tables.

A population that dies counts as Z_r = 0. It is a result like any other: to try it again with
another seed, or to leave it out, would make Z_hat too large (tests/inference/test_exchange.py has
the factor).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng, Rng
from fkdsl.inference.interface import FeynmanKac, Level, Step
from fkdsl.inference.method import LoopSettings, MethodCall, Options
from fkdsl.inference.options import DRAFTS

S = TypeVar("S")


@dataclass(frozen=True)
class IslandTask(Generic[S]):
    """A stretch of one island. start: the population that it goes on from, None for the island's
    beginning; it is not given again. until: the step after which it pauses, None for its end; only
    methods that go on from their steps can pause."""

    island: int
    start: Step[S] | None = None
    until: int | None = None


IslandSteps = Generator[tuple[int, Step[S] | Level[S] | None], None, None]
"""(island, its next step), and (island, None) once its task is over."""


class IslandRunner(Protocol[S]):
    """Where islands are computed.

    Laws (tests/inference/test_islands.py and tests/api/test_remote_islands.py hold every
    implementation to them):

    - `run` gives each step of each task once, an island's own in order of t, and then (r, None).
      Islands may come in any order, and between each other.
    - The steps of an island are those of `LocalIslands`, whatever else is computed beside it.
    - What the island's computation raises is raised: a mistake of the program (ProgramError), a
      bound that ended it (BudgetEnded). DeadlinePassed is raised once the run's deadline has
      passed.
    - A worker that is lost costs time: its task begins again, and steps that were given are not
      given twice. No other error is tried again.
    - Closing the iterator, at Ctrl-C as well, ends what is being computed.
    """

    def run(self, tasks: Sequence[IslandTask[S]]) -> IslandSteps[S]:
        """The steps of the tasks, whose islands differ."""
        ...


def island_rng(seed: int, islands: int, island: int) -> Rng:
    """The stream of an island: all that tells it from the others."""
    rng = KeyedRng(seed)
    return rng.split("island", island) if islands > 1 else rng


def own_options(options: Options) -> dict[str, Any]:
    """Those of a method's options that its loop takes: drafts are how the model draws."""
    return {name: value for name, value in options.items() if name not in DRAFTS}


class LocalIslands(Generic[S]):
    """Islands in this process, one after the other. loop: what the run asks of the method's loop;
    its `start` is each task's own."""

    def __init__(
        self,
        model: FeynmanKac[S],
        call: MethodCall,
        seed: int,
        islands: int,
        loop: LoopSettings[S],
    ) -> None:
        self.model, self.call, self.seed, self.islands = model, call, seed, islands
        self.loop = loop

    def run(self, tasks: Sequence[IslandTask[S]]) -> IslandSteps[S]:
        options = own_options(self.call.options)
        for task in tasks:
            rng = island_rng(self.seed, self.islands, task.island)
            loop = replace(self.loop, start=task.start)
            for step in self.call.method.steps(self.model, rng, options, loop):
                if step is task.start:
                    continue
                if isinstance(step, Step) and task.island:
                    step = replace(step, island=task.island)
                yield task.island, step
                if task.until is not None and step.t >= task.until:
                    break
            yield task.island, None

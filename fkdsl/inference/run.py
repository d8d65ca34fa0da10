"""Runs a method on a model to its end: consumes the steps, watches the clock, and makes the
Result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.random import KeyedRng, Rng
from fkdsl.inference.assess.blame import Account, Watched
from fkdsl.inference.assess.genealogy import FamilyTree, Genealogy
from fkdsl.inference.assess.uncertainty import Certain, Independent, Islands, Uncertainty, Unknown
from fkdsl.inference.deaths import (
    KEPT_TEXTS,
    Death,
    Deaths,
    deaths_of,
    last_texts,
    likeliest,
    merged_deaths,
    population_died,
)
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.methods import DRAFTS, check_available, check_options, moves_paths
from fkdsl.inference.result import (
    Answer,
    Result,
    filtering_answers,
    final_ess,
    merged,
    weighted_values,
)
from fkdsl.inference.samplers.alive import alive
from fkdsl.inference.samplers.pgibbs import pgibbs
from fkdsl.inference.samplers.rejection import rejection
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.inference.samplers.steer import steer
from fkdsl.inference.samplers.tempered import tempered
from fkdsl.inference.search.beam import beam
from fkdsl.inference.search.best_first import best_first
from fkdsl.inference.search.enclosed import check_found, enclosed
from fkdsl.inference.search.exact import Level, exact
from fkdsl.inference.search.frontier import Explored
from fkdsl.inference.timed import Timed, stop_when
from fkdsl.inference.unfinished import Unfinished

S = TypeVar("S")
Observer = Callable[[Any], None]
"""Called with each Step (or, for exact, each Level) as it comes. It cannot change a draw."""
RESUMED = ("smc", "steer", "importance", "local", "alive", "rejection")
"""Methods that go on from any of their steps."""
DETERMINISTIC = ("exact", "beam")
GRACE = 0.5
"""Seconds that a search which has bounds on Z may take to end the step that it is in."""


def steps_of(
    model: FeynmanKac[S],
    rng: Rng,
    method: str,
    options: Mapping[str, Any],
    max_steps: int | None = None,
    merge: bool = True,
    start: Step[S] | None = None,
    stop: Callable[[], str] | None = None,
) -> Iterator[Step[S]] | Iterator[Level[S]]:
    """The method's steps; options are checked here. start: the step to go on from, for the methods
    of RESUMED; the others begin anew, which gives the same answer. stop: makes exact take the
    heaviest outcomes first, until it gives a reason to end. Raises CallError for an unknown method
    or option."""
    check_available(method)
    checked = {k: v for k, v in check_options(method, options).items() if k not in DRAFTS}
    match method:
        case "smc":
            return smc(model, rng, max_steps=max_steps, merge=merge, start=start, **checked)
        case "steer":
            return steer(model, rng, max_steps=max_steps, start=start, **checked)
        case "importance" | "local":
            return importance(model, rng, max_steps=max_steps, start=start, **checked)
        case "rejection":
            return rejection(model, rng, max_steps=max_steps, start=start, **checked)
        case "alive":
            return alive(model, rng, max_steps=max_steps, start=start, **checked)
        case "pgibbs":
            return pgibbs(model, rng, max_steps=max_steps, **checked)
        case "tempered":
            return tempered(model, rng, max_steps=max_steps, **checked)
        case "beam":
            return beam(model, max_steps=max_steps, **checked)
    del checked["max_tokens"]
    if stop is not None:
        return best_first(model, max_steps=max_steps, stop=stop, **checked)
    return exact(model, max_steps=max_steps, max_states=checked["max_states"])


def run(
    model: FeynmanKac[S],
    method: str = "smc",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    *,
    program: str = "",
    observer: Observer | None = None,
    timeout: float | Deadline | None = None,
    max_steps: int | None = None,
    filtering: bool = False,
    merge: bool = True,
    islands: int = 1,
    partial: bool = False,
    resume: Mapping[int, Sequence[Step[S]]] | None = None,
    lazy: bool = False,
    counts: Callable[[], tuple[int, int]] = lambda: (0, 0),
    account: Account[S] | None = None,
) -> Result:
    """The Result of a method on a model.

    timeout: seconds, or a Deadline, which another thread may cancel. merge: whether smc resamples
    equal particles as one. islands: independent populations of the method's size, whose mean is
    Z_hat. partial: whether those that have ended make the answer when time runs out. resume: the
    steps that each island has behind it, from step 0 on; it goes on from there as if it had never
    stopped. lazy: exact takes the heaviest outcomes first, and has bounds on Z where something ends
    it. counts: (model calls, forwarded tokens) so far. account: where what each line does is
    entered. Raises PopulationDied with a report when every particle's weight is zero, BudgetEnded
    when time, steps or states end the run, and Interrupted at Ctrl-C: with the population so far.
    """
    check_islands(method, islands)
    began = time.monotonic()
    calls, tokens = counts()
    deadline = Deadline.of(timeout)
    stop = (
        stop_when(deadline, check_options("exact", options or {})["max_tokens"], counts)
        if lazy
        else None
    )
    timed = Timed(model)
    watched: FeynmanKac[S] = timed if account is None else Watched(timed, account)
    courses: list[Course[S]] = []

    def cut(why: str) -> Unfinished:
        """The population so far."""
        after_calls, after_tokens = counts()
        return Unfinished.of(
            model,
            [course.last for course in courses if course.begun],
            program=program,
            method=method,
            why=why,
            step=timed.t,
            seconds=time.monotonic() - began,
            seed=seed,
            model_calls=after_calls - calls,
            forwarded_tokens=after_tokens - tokens,
            islands=islands,
        )

    with until(deadline.later(GRACE) if lazy else deadline):
        for island in range(islands):
            tree = family_tree(model, method, options or {}, merge) if island == 0 else None
            course = Course(model, method, island, filtering, tree)
            courses.append(course)
            before = (resume or {}).get(island, ()) if goes_on(method, options or {}) else ()
            for passed in before[:-1]:
                course.take(passed)
            rng: Rng = KeyedRng(seed) if islands == 1 else KeyedRng(seed).split("island", island)
            start = before[-1] if before else None
            step: Step[S] | Level[S]
            try:
                for step in steps_of(
                    watched, rng, method, options or {}, max_steps, merge, start, stop
                ):
                    begun = step is start
                    if isinstance(step, Step) and island:
                        step = replace(step, island=island)
                    timed.t = step.t
                    if observer is not None and not begun:
                        observer(step)
                    course.take(step)
            except DeadlinePassed:
                if partial and island:
                    courses.pop()
                    break
                if course.begun and isinstance(course.last, Explored):
                    course.take(
                        replace(course.last, ended=f"timeout={deadline.seconds or 0.0:g}", dead=())
                    )
                    continue
                why = f"time ran out {deadline.why}, past step {timed.t}"
                raise BudgetEnded(why, "raise --timeout", cut(why)) from None
            except BudgetEnded as error:
                raise BudgetEnded(error.message, error.help, cut(error.message)) from None
            except KeyboardInterrupt:
                raise Interrupted(cut("it was interrupted")) from None
    islands = len(courses)
    lasts = [course.last for course in courses]
    log_Z = np.array([last.log_Z for last in lasts])
    if isinstance(lasts[0], Explored):
        check_found(lasts[0])
    if log_Z.max() == -np.inf:
        texts = [death for course in courses for death in course.last_texts]
        raise population_died(
            method, lasts, merged_deaths(course.deaths for course in courses), texts
        )
    states = [x for last in lasts for x in last.states]
    log_weights = np.concatenate([last.log_weights for last in lasts]) - math.log(islands)
    values, order = weighted_values(model, states, log_weights)
    uncertainty = _uncertainty(method, options or {}, courses, order, log_weights, log_Z)
    after_calls, after_tokens = counts()
    result = Result(
        program=program,
        method=method,
        log_z=log_sum_exp(log_Z) - math.log(islands),
        log_z_se=uncertainty.log_z_se(),
        log_z_interval=uncertainty.log_z_interval() if isinstance(uncertainty, Islands) else None,
        sole=uncertainty.sole
        if isinstance(uncertainty, Genealogy) and len(log_weights) > 1
        else "",
        posterior=merged((v.value, v.weight) for v in values),
        particles=tuple(values),
        ess=final_ess(values),
        steps=max(last.t for last in lasts),
        seconds=time.monotonic() - began,
        seed=seed,
        model_calls=after_calls - calls,
        forwarded_tokens=after_tokens - tokens,
        filtering=tuple(courses[0].history),
        islands=islands,
        uncertainty=uncertainty,
        notes=(*_target(method, options or {}), *uncertainty.notes, *_moves(courses)),
    )
    return enclosed(result, lasts[0]) if isinstance(lasts[0], Explored) else result


def _target(method: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """That a method's answer is about another law than the program's, where it is."""
    power = check_options(method, options).get("power", 1.0)
    if power == 1.0:
        return ()
    return (
        f"posterior, queries and log Z are those of p ** {power:g}, not of the program's own law",
    )


def goes_on(method: str, options: Mapping[str, Any]) -> bool:
    """Whether a run goes on from its steps; if not it begins anew, which gives the same answer.
    With moves it does not: a step does not hold the paths that they need."""
    return method in RESUMED and not moves_paths(method, check_options(method, options))


def check_islands(method: str, islands: int) -> None:
    """Raises CallError for a number of islands that a method cannot have."""
    if islands < 1:
        raise CallError(f"a run has at least 1 island, not {islands}", "write --islands 4")
    if islands > 1 and method in DETERMINISTIC:
        raise CallError(
            f"`{method}` draws nothing: its islands would all be the same", "leave --islands out"
        )


class Course(Generic[S]):
    """One population on its way: what of its steps the result and the reports need."""

    def __init__(
        self,
        model: FeynmanKac[S],
        method: str,
        island: int,
        filtering: bool,
        tree: FamilyTree[S] | None = None,
    ) -> None:
        self.model, self.method, self.island, self.filtering = model, method, island, filtering
        self.tree = tree
        self.deaths: Deaths = []
        self.last_texts: list[Death] = []
        self.history: list[tuple[Answer, ...]] = []
        self.proposed = self.accepted = 0
        self._last: Step[S] | Level[S] | None = None

    @property
    def begun(self) -> bool:
        """Whether it has a population yet."""
        return self._last is not None

    @property
    def last(self) -> Step[S] | Level[S]:
        assert self._last is not None
        return self._last

    def take(self, step: Step[S] | Level[S]) -> None:
        """The population after the next step."""
        if self.filtering:
            self.history.append(filtering_answers(self.model, step))
        self.deaths.append((step.t, deaths_of(self.model, step, self._last)))
        self.last_texts = likeliest(
            [*self.last_texts, *last_texts(self.model, step, self._last)], KEPT_TEXTS
        )
        if self.tree is not None and isinstance(step, Step):
            assert not isinstance(self._last, Level)
            self.tree.take(step, self._last)
        if isinstance(step, Step):
            self.proposed, self.accepted = (
                self.proposed + step.proposed,
                self.accepted + step.accepted,
            )
        self._last = step


def family_tree(
    model: FeynmanKac[S], method: str, options: Mapping[str, Any], merge: bool
) -> FamilyTree[S] | None:
    """The tree that a method's errors are read from, for those whose particles move on their own,
    and on only: moves of whole paths break it."""
    checked = check_options(method, options)
    if method not in ("smc", "importance") or moves_paths(method, checked):
        return None
    return FamilyTree(model, checked.get("resampling", ""), merge)


def _uncertainty(
    method: str,
    options: Mapping[str, Any],
    courses: Sequence[Course[S]],
    order: Sequence[int],
    log_weights: Floats,
    log_Z: Floats,
) -> Uncertainty:
    """The errors of the run, its particles taken in the given order."""
    if method in DETERMINISTIC:
        return Certain()
    if method == "local":
        return Unknown(("local is biased, by an amount that no standard error tells",))
    if len(courses) > 1:
        island = np.repeat(np.arange(len(courses)), [len(c.last.log_weights) for c in courses])
        return Islands(island[list(order)], log_weights[list(order)], log_Z)
    if (tree := courses[0].tree) is not None:
        return tree.uncertainty(log_weights, order)
    if method == "rejection":
        checked = check_options(method, options)
        return Independent.of(len(order), checked["samples"], checked["attempts"], float(log_Z[0]))
    what = "smc with moves" if method == "smc" else method
    return Unknown((f"{what} has no standard error from one run: --islands 8",))


def _moves(courses: Sequence[Course[S]]) -> tuple[str, ...]:
    """How many moves of whole paths were accepted, of a method that makes any."""
    proposed, accepted = sum(c.proposed for c in courses), sum(c.accepted for c in courses)
    return (
        (f"moves: {accepted} of {proposed} accepted, {accepted / proposed:.0%}",)
        if proposed
        else ()
    )

"""Runs a method on a model to its end: consumes the steps, watches the clock, and makes the Result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from fkdsl.base.errors import PopulationDied
from fkdsl.base.random import KeyedRng, Rng
from fkdsl.inference.exact import Level, exact
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.methods import check_available, check_options
from fkdsl.inference.rejection import rejection
from fkdsl.inference.result import Answer, Result, filtering_answers, final_ess, merged, weighted_values
from fkdsl.inference.smc import importance, smc
from fkdsl.inference.steer import steer
from fkdsl.inference.timed import Timed

S = TypeVar("S")
Observer = Callable[[Any], None]
"""Called with each Step (or, for exact, each Level) as it comes. It cannot change a draw."""


def steps_of(
    model: FeynmanKac[S],
    rng: Rng,
    method: str,
    options: Mapping[str, Any],
    max_steps: int | None = None,
    merge: bool = True,
) -> Iterator[Step[S]] | Iterator[Level[S]]:
    """The method's steps; options are checked here. Raises CallError for an unknown method or option."""
    check_available(method)
    checked = check_options(method, options)
    match method:
        case "smc":
            return smc(model, rng, max_steps=max_steps, merge=merge, **checked)
        case "steer":
            return steer(model, rng, max_steps=max_steps, **checked)
        case "importance" | "local":
            return importance(model, rng, max_steps=max_steps, **checked)
        case "rejection":
            return rejection(model, rng, max_steps=max_steps, **checked)
    return exact(model, max_steps=max_steps, **checked)


def run(
    model: FeynmanKac[S],
    method: str = "smc",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    *,
    program: str = "",
    observer: Observer | None = None,
    timeout: float | None = None,
    max_steps: int | None = None,
    filtering: bool = False,
    merge: bool = True,
    counts: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> Result:
    """The Result of a method on a model.

    timeout: seconds. merge: whether smc resamples equal particles as one. counts: (model calls, forwarded tokens) so
    far. Raises PopulationDied with a report when every particle's weight is zero, BudgetEnded when time, steps or
    states end the run.
    """
    began = time.monotonic()
    calls, tokens = counts()
    deaths: list[tuple[int, Counter[str]]] = []
    history: list[tuple[Answer, ...]] = []
    last: Step[S] | Level[S] | None = None
    timed = Timed(model, timeout)
    for step in steps_of(timed, KeyedRng(seed), method, options or {}, max_steps, merge):
        timed.t = step.t
        if observer is not None:
            observer(step)
        if filtering:
            history.append(filtering_answers(model, step))
        deaths.append((step.t, _deaths(model, step, last)))
        last = step
    assert last is not None
    if last.log_Z == -float("inf"):
        raise _died(method, last, deaths)
    states = [p.state for p in last.particles] if isinstance(last, Step) else list(last.states)
    values = weighted_values(model, states, [float(w) for w in last.log_weights])
    after_calls, after_tokens = counts()
    return Result(
        program=program,
        method=method,
        log_z=last.log_Z,
        log_z_se=None,
        posterior=merged((v.value, v.weight) for v in values),
        particles=tuple(values),
        ess=final_ess(values),
        steps=last.t,
        seconds=time.monotonic() - began,
        seed=seed,
        model_calls=after_calls - calls,
        forwarded_tokens=after_tokens - tokens,
        filtering=tuple(history),
    )


def _deaths(model: FeynmanKac[S], step: Step[S] | Level[S], before: Step[S] | Level[S] | None) -> Counter[str]:
    """Where the particles died that died in this step, counted by their descriptions."""
    if isinstance(step, Level):
        return Counter(model.describe(x) for x in step.dead)
    dead = {i for i, w in enumerate(step.log_weights) if w == -float("inf")}
    if isinstance(before, Step):
        # Without resampling the dead stay in the population: those of earlier steps are counted there.
        dead = {i for i in dead if before.log_weights[step.ancestors[i]] > -float("inf")}
    return Counter(model.describe(step.particles[i].state) for i in dead)


def _died(method: str, last: Step[S] | Level[S], deaths: list[tuple[int, Counter[str]]]) -> PopulationDied:
    """The report of a population of which nothing is left: which step and which line killed how many."""
    when = max((t for t, places in deaths if places), default=last.t)
    of = f"all {len(last.particles)} particles are" if isinstance(last, Step) and last.particles else "nothing is left"
    if isinstance(last, Level):
        message = "no outcome of this program has positive weight: Z = 0"
        advice = "its conditions contradict each other or the model; leave out one at a time to see which"
    elif method == "rejection":
        message = "no attempt was accepted: Z_hat = 0"
        advice = "use smc, which weighs step by step, or raise the number of attempts"
    else:
        message = f"every particle died: {of if 'all' in of else 'no particle is'} of weight zero after step {when}"
        advice = "use more particles, loosen the condition that killed most, or check it earlier in the text"
    lines = [message]
    shown = [(t, place, n) for t, places in deaths for place, n in places.most_common()]
    for t, place, n in shown[-8:]:
        lines.append(f"  step {t}: {n} died at {place}")
    lines.append(f"  = help: {advice}")
    details = {"step": when, "deaths": [{"step": t, "place": place, "count": n} for t, place, n in shown]}
    return PopulationDied("\n".join(lines), details)

"""Several inference methods on one program, at about the same number of model tokens a run.

Every run begins with an empty cache, on models that are loaded once. Pilot runs find each method's
number of particles (fkdsl.api.pilot). Their seed is the one before the first run's, so that the
runs are independent of the choice of the number.

>>> from fkdsl.api import parse
>>> body = "    x ~ bernoulli(0.5)\\n    condition x\\n    return x\\n"
>>> coin = parse(f"program p() -> bool:\\n{body}")
>>> exact, smc = compare(coin, ["exact", "smc"], budget=100).rows
>>> round(exact.log_z, 4), smc.particles, round(smc.distance, 4)
(-0.6931, 256, 0.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fkdsl.api.bench import Bench, ComparisonObserver, Run
from fkdsl.api.called_program import CalledProgram
from fkdsl.api.comparison import Comparison, Row
from fkdsl.api.engines import Engines, ModelReference
from fkdsl.api.pilot import PilotRun, find_count
from fkdsl.api.request import MAX_STEPS
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.base.logspace import log_sum_exp
from fkdsl.inference.methods import METHODS, check_method, check_options
from fkdsl.inference.result import Result, total_variation

DEFAULT_METHODS = ("local", "importance", "smc", "steer", "exact")
BUDGET, RUNS, MAX_STATES = 2000, 5, 20_000


def compare(
    program: CalledProgram,
    methods: str | Sequence[str] = DEFAULT_METHODS,
    *,
    budget: int = BUDGET,
    runs: int = RUNS,
    seed: int = 0,
    model: ModelReference | None = None,
    engines: Engines | None = None,
    max_states: int = MAX_STATES,
    max_steps: int | None = MAX_STEPS,
    watch: ComparisonObserver | None = None,
) -> Comparison:
    """Each method's figures over `runs` runs of about `budget` tokens. methods: their names, or one
    text with commas between them. `print` of what comes is a table, and pandas.DataFrame of its
    rows one too. exact is run once, to at
    most max_states states, and on a large vocabulary to the tokens of all `runs` runs.

    Options other than the number of particles are the file's for the method of its `infer` line,
    else the defaults. Raises CallError and ProgramError as Program.run does, and BudgetEnded for
    max_steps; the error that ends exact becomes a note in its row.
    """
    if isinstance(methods, str):
        methods = [name.strip() for name in methods.split(",")]
    methods = tuple(dict.fromkeys(methods))
    check_comparison(methods, budget, runs, max_states)
    engines = engines if engines is not None else program.engines(model)
    program.feynman_kac(engines=engines)  # raises what is wrong with the call before anything runs
    for name in program.model_names():
        _ = engines[name]
    bench = Bench(program, engines, max_steps, watch)
    rows: dict[str, Row] = {}
    truth: Result | None = None
    if "exact" in methods:
        bounds = {"max_states": max_states}
        if program.is_large(engines):
            bounds["max_tokens"] = budget * runs
        rows["exact"], truth = _exact(bench, seed, bounds)
    for method in methods:
        if method != "exact":
            seeds = range(seed, seed + (runs if check_method(method).draws else 1))
            rows[method] = _sampled(bench, method, budget, seeds, truth)
    return Comparison(program.name, budget, runs, seed, tuple(rows[m] for m in methods))


def check_comparison(
    methods: Sequence[str], budget: int, runs: int, max_states: int = MAX_STATES
) -> None:
    """Raises CallError for a method that cannot be compared, and for a budget or a number of runs
    below 1."""
    if not methods:
        raise CallError(
            "there are no methods to compare", f"write --methods {','.join(DEFAULT_METHODS)}"
        )
    for method in methods:
        if method != "exact" and check_method(method).count is None:
            comparable = [name for name, other in METHODS.items() if other.count is not None]
            raise CallError(
                f"`{method}` has no number of particles to compare by",
                f"use {', '.join(comparable)} or exact",
            )
    if budget < 1:
        raise CallError(f"a budget is at least 1 token, not {budget}", f"write --budget {BUDGET}")
    if runs < 1:
        raise CallError(f"a comparison needs at least 1 run, not {runs}", f"write --runs {RUNS}")
    check_options("exact", {"max_states": max_states})


def _exact(bench: Bench, seed: int, bounds: dict[str, Any]) -> tuple[Row, Result | None]:
    """The row of exact, and its result if that is the posterior itself."""
    ends = (PopulationDied, BudgetEnded, CallError)
    run = bench.run("exact", seed, "exact", bounds, ends)
    died = isinstance(run.error, PopulationDied)
    known = run.result is not None and not run.result.notes
    note = "" if known else _ended(run)
    row = Row(
        method="exact",
        particles=None,
        runs=1,
        died=int(died),
        satisfied=None,
        log_z=run.log_z if known or died else None,
        log_z_sd=None,
        distance=0.0 if known else None,
        ess=None,
        tokens=float(run.tokens),
        seconds=run.seconds,
        note=note,
    )
    return row, run.result if known else None


def _ended(run: Run) -> str:
    """Why exact ended without the posterior."""
    if run.result is None:
        return str(run.error).splitlines()[0]
    low, high = run.result.log_z_bounds or (run.log_z, run.log_z)
    between = (
        f"log Z between {low:.4f} and {high:.4f}" if high < math.inf else f"log Z >= {low:.4f}"
    )
    return f"{between}; {run.result.notes[0]}"


def _sampled(bench: Bench, method: str, budget: int, seeds: range, truth: Result | None) -> Row:
    """The row of another method: pilots find its number of particles, then it is run by each
    seed."""

    def pilot_run(n: int) -> PilotRun:
        run = bench.run(method, seeds.start - 1, f"{method}: pilot of {n}", _options(method, n))
        return PilotRun(run.tokens, died=run.result is None)

    pilot = find_count(budget, pilot_run)
    options = _options(method, pilot.count)
    runs = [
        bench.run(method, s, f"{method}: run {i} of {len(seeds)}", options)
        for i, s in enumerate(seeds, 1)
    ]
    lived = [run.log_z for run in runs if run.result is not None]
    has_z, draws = check_method(method).estimates_z, check_method(method).draws
    return Row(
        method=method,
        particles=pilot.count,
        runs=len(runs),
        died=len(runs) - len(lived),
        satisfied=_mean([_satisfied(method, run, pilot.count) for run in runs]),
        log_z=log_sum_exp([run.log_z for run in runs]) - math.log(len(runs)) if has_z else None,
        log_z_sd=float(np.std(lived, ddof=1)) if has_z and len(lived) > 1 else None,
        distance=_mean([_distance(run, truth) for run in runs]) if truth is not None else None,
        ess=_mean([run.result.ess if run.result else 0.0 for run in runs]) if draws else None,
        tokens=_mean([run.tokens for run in runs]),
        seconds=_mean([run.seconds for run in runs]),
        note="; ".join(note for note in (_lower_bound(method, runs[0]), pilot.note) if note),
    )


def _lower_bound(method: str, run: Run) -> str:
    """The note on Z for a method that bounds it."""
    return (
        f"log Z >= {run.log_z:.4f}, which is no estimate"
        if check_method(method).log_z == "bound" and run.result is not None
        else ""
    )


def _options(method: str, count: int) -> dict[str, Any]:
    """The options with which a run has that count."""
    counted = check_method(method).count
    assert counted is not None
    return {counted.option: count, **counted.others(count)}


def _satisfied(method: str, run: Run, count: int) -> float:
    if run.result is None:
        return 0.0
    counted = check_method(method).count
    of_population = counted is not None and counted.of_population
    return len(run.result.particles) / (run.population if of_population else count)


def _distance(run: Run, truth: Result) -> float:
    return total_variation(run.result.posterior, truth.posterior) if run.result is not None else 1.0


def _mean(figures: Sequence[float]) -> float:
    return math.fsum(figures) / len(figures)

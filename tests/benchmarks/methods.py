"""Every inference method on ten programs at an equal budget: how far off log Z is, and a query.

    python tests/benchmarks/methods.py [--runs 20] [--budget 400] [--programs late,...]
        [--methods smc,...] [--markdown]

The budget of a run is in tokens that the model forwards where that model is a transformer, and in
draws of M_t where it is a table or there is none: a table's few contexts are soon all cached. Pilot
runs, on a seed of their own, find each method's count (fkdsl.api.pilot). A figure is the root of
the mean square error over the runs: of log Z in nats, a run that died counting as DEAD; of the
query's posterior mean, a run that died counting as 1. The truth is exact where it can be
enumerated, else one large run of smc, whose standard error is printed.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import report
import torch

import fkdsl
from fkdsl.api.pilot import PilotRun, find_count
from fkdsl.api.program import Program
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.base.random import Rng
from fkdsl.inference.result import Result
from fkdsl.machine.state import ProgramState
from fkdsl.steering.feynman_kac import SteeringModel

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
DEAD = 5.0
"""The error of log Z, in nats, that stands for a run without an answer."""

LATE = '''
model m = table:
    ""  -> "a": 0.4, "b": 0.3, "c": 0.2, EOS: 0.1
    "a" -> "a": 0.5, "b": 0.2, "c": 0.1, EOS: 0.2
    "b" -> "a": 0.1, "b": 0.5, "c": 0.2, EOS: 0.2

program late() -> str:
    """As many a as b, said only at the end."""
    lm = prompt("")
    while not lm.done and lm.tokens < 8:
        t ~ lm
    condition count(lm.text, "a") == count(lm.text, "b") and lm.text != ""
    return lm.text
'''
STEADY = '''
model m = table:
    ""  -> "a": 0.7, "b": 0.3
    "a" -> "a": 0.6, "b": 0.4
    "b" -> "a": 0.3, "b": 0.7

program steady() -> str:
    """Ten letters; every change costs a nat and a half, every c for a b gains one."""
    lm = prompt("")
    last = ""
    for i in range(10):
        t ~ lm
        factor -1.5 if str(t) != last and last != "" else (0.5 if t == "b" else 0.0)
        last = str(t)
    return lm.text
'''


@dataclass(frozen=True)
class Case:
    """A program, its parameters and a question about its values. exact: whether its truth can be
    enumerated."""

    name: str
    source: str
    query: Callable[[Any], float]
    asked: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True


def case(
    name: str, query: Callable[[Any], float], asked: str, exact: bool = True, **parameters: Any
) -> Case:
    return Case(name, (PROGRAMS / f"{name}.fk").read_text("utf-8"), query, asked, parameters, exact)


CASES = (
    case("hidden_state", lambda days: float(days[2]), "rain on day 3"),
    Case("late", LATE, lambda text: float(text.startswith("a")), "begins with a"),
    Case("steady", STEADY, lambda text: float(text.endswith("b")), "ends with b"),
    case("number", lambda text: float("loudly" in text), "loudly"),
    case("rainbow", lambda named: float(named[0] == "red"), "red first", n=3),
    case("choice", lambda label: float(label == "positive"), "positive"),
    case("iso_date", lambda date: float(date >= "1970"), "1970 or later", exact=False),
    case("email", lambda address: float(address.endswith(".com")), "ends with .com", exact=False),
    case("sql", lambda query: float("where" in query.lower()), "has a where", exact=False),
    case(
        "short_words",
        lambda text: float(len(text.split()) > 8),
        "over 8 words",
        exact=False,
        max_tokens=12,
    ),
)


@dataclass(frozen=True)
class Contender:
    """A method with its options, and the option that its budget sets."""

    label: str
    method: str
    count: str
    options: Mapping[str, Any] = field(default_factory=dict)
    has_z: bool = True


CONTENDERS = (
    Contender("local", "local", "particles", has_z=False),
    Contender("importance", "importance", "particles"),
    Contender("rejection", "rejection", "attempts", {"samples": 1_000_000}),
    Contender("smc multinomial", "smc", "particles", {"resampling": "multinomial"}),
    Contender("smc systematic", "smc", "particles", {"resampling": "systematic"}),
    Contender("smc, 1 move", "smc", "particles", {"moves": 1}),
    Contender("steer", "steer", "particles"),
    Contender("dpf", "dpf", "particles"),
    Contender("alive", "alive", "particles"),
    Contender("pgibbs", "pgibbs", "sweeps", {"particles": 8}),
    Contender("tempered", "tempered", "particles", {"power": 1.0}),
    Contender("beam", "beam", "width", has_z=False),
)


class Counted(Program):
    """A program whose draws of M_t are counted, in `drawn[0]`."""

    drawn = [0]

    def feynman_kac(self, *args: Any, **options: Any) -> SteeringModel:
        model = super().feynman_kac(*args, **options)
        step, take, drawn = model.step, model.take, self.drawn

        def counting(rngs: Sequence[Rng], xp: Sequence[ProgramState]) -> Any:
            drawn[0] += len(xp)
            return step(rngs, xp)

        def taking(rngs: Sequence[Rng], chosen: Sequence[Any]) -> Any:
            drawn[0] += len(chosen)
            return take(rngs, chosen)

        model.step, model.take = counting, taking  # type: ignore[method-assign]
        return model


class Bench:
    """A program over models that are loaded once; every run begins with empty caches."""

    def __init__(self, case: Case) -> None:
        program = fkdsl.parse(case.source, name=case.name, folder=PROGRAMS)(**case.parameters)
        self.program = Counted(**{f.name: getattr(program, f.name) for f in fields(program)})
        self.engines = self.program.engines()
        self.transformer = any(
            self.engines[name].model.vocabulary.size > 1000 for name in program.model_names()
        )

    def run(self, method: str, seed: int, options: Mapping[str, Any]) -> tuple[Result | None, int]:
        """The result, None where everything died, and what it took."""
        engines = self.engines.fresh()
        self.program.drawn[0] = 0
        try:
            result = self.program.run(method, engines=engines, seed=seed, **options)
        except PopulationDied:
            result = None
        return result, engines.counts()[1] if self.transformer else self.program.drawn[0]


def truth(bench: Bench, case: Case) -> tuple[float, float, str]:
    """log Z, the query's mean, and how they are known."""
    if case.exact:
        result = bench.program.run("exact", engines=bench.engines.fresh(), max_states=200_000)
        return result.log_z, result.mean(case.query).mean, "exact"
    options = {"particles": 512, "resampling": "multinomial"}
    result = bench.program.run(
        "smc", engines=bench.engines.fresh(), seed=10**6, islands=4, **options
    )
    mean = result.mean(case.query)
    return (
        result.log_z,
        mean.mean,
        f"smc, 4 islands of 512: log Z ± {result.log_z_se:.2g}, query ± {mean.se:.2g}",
    )


def measure(
    bench: Bench,
    case: Case,
    contender: Contender,
    known: tuple[float, float],
    budget: int,
    runs: int,
) -> list[str]:
    """A row: label, count, what a run took, errors of log Z and of the query, runs that died."""

    def options(n: int) -> dict[str, Any]:
        return {**contender.options, contender.count: n}

    def pilot(n: int) -> PilotRun:
        result, asked = bench.run(contender.method, 999_999, options(n))
        return PilotRun(asked, died=result is None)

    try:
        count = find_count(budget, pilot).count
        found = [bench.run(contender.method, seed, options(count)) for seed in range(runs)]
    except (CallError, BudgetEnded) as error:
        return [contender.label, "-", "-", "-", "-", str(error).splitlines()[0]]
    log_z, mean = known
    z_errors = [DEAD if r is None else r.log_z - log_z for r, _ in found]
    errors = [1.0 if r is None else r.mean(case.query).mean - mean for r, _ in found]
    took = sum(n for _, n in found) / runs
    died = sum(r is None for r, _ in found)
    z = f"{_rms(z_errors):.3f}" if contender.has_z else "-"
    return [
        contender.label,
        str(count),
        f"{took:.0f}",
        z,
        f"{_rms(errors):.3f}",
        f"{died} died" if died else "",
    ]


def _rms(errors: Sequence[float]) -> float:
    return math.sqrt(sum(e * e for e in errors) / len(errors))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--programs", default=",".join(c.name for c in CASES))
    parser.add_argument("--methods", default="")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    chosen = [c for c in CONTENDERS if not args.methods or c.method in args.methods.split(",")]
    for c in CASES:
        if c.name not in args.programs.split(","):
            continue
        began = time.monotonic()
        bench = Bench(c)
        log_z, mean, how = truth(bench, c)
        unit = "tokens" if bench.transformer else "draws"
        rows = [
            measure(bench, c, contender, (log_z, mean), args.budget, args.runs)
            for contender in chosen
        ]
        print(
            f"{c.name}: log Z = {log_z:.4f}, P({c.asked}) = {mean:.4f} ({how}); "
            f"{time.monotonic() - began:.0f} s\n"
        )
        print(
            report.table(["method", "count", unit, "log Z", c.asked, ""], rows, args.markdown)
            + "\n",
            flush=True,
        )
    print(f"{args.runs} runs, budget {args.budget}; {report.machine(torch.get_num_threads())}")


if __name__ == "__main__":
    main()

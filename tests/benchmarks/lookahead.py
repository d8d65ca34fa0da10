"""What looking ahead saves: the error of log Z with it and without, for twelve constraints.

    python tests/benchmarks/lookahead.py [--particles 8] [--seeds 20] [--only words,judge]
        [--ways none,auto,local] [--surrogate FILE]

Every constraint is run on smollm2 with each way of looking ahead (docs/lookahead.md), or by local,
with the same seeds and particles, so with about as many forwarded tokens. A row has: the share of
runs with an answer; the standard deviation of log Z over them; its error, the root mean square of
log Z_hat - log Z with log Z from all unbiased runs of the row's constraint, and 5 nats for a run
that died; the mean effective sample size, distinct answers, tokens and seconds of a run. What is
made once for a constraint (automata, messages) is made in a run before that is not counted, and
stands as `first`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fkdsl
from fkdsl.base.logspace import log_sum_exp
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model

DIED = 5.0
"""Nats that a run that died is off by."""
PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
SENTENCE = "A short, plain sentence about the sea: "
TEXTS = {
    "last word": (SENTENCE, 20, 'last_word(s) == "again"'),
    "keywords": (SENTENCE, 24, 'all(contains(s, k) for k in ["wind", "boat", "home"])'),
    "nine words": (SENTENCE, 20, 'len(words(s)) == 9 and ends_with(s, ".")'),
    "third word": (SENTENCE, 20, 'words(s)[2] == "sea" and ends_with(s, ".")'),
    "60 to 70": (SENTENCE, 24, 'len(s) >= 60 and len(s) <= 70 and ends_with(s, ".")'),
    "sum": (
        "Sums, each of two numbers:\\n12 + 30 = 42\\n",
        12,
        r'matches(s, r"(\d+) \+ (\d+) = 57")',
    ),
    "no repeats": (
        SENTENCE,
        20,
        "len(words(s)) >= 7 and all(count(words(lower(s)), w) == 1 for w in words(lower(s)))",
    ),
}
"""Of a text that ends with its line: the prompt, the most tokens, and the condition."""
ACROSTIC = """
program acrostic() -> str:
    lm = prompt("A poem of three lines, whose first letters spell SEA:\\n")
    s ~ text(lm, until="\\n\\n", max_tokens=36)
    condition len(lines(s)) == 3
    condition all(starts_with(l, k) for l, k in zip(lines(s), ["S", "E", "A"]))
    return s
"""
SUM = "    condition int(words(s)[0]) + int(words(s)[2]) == 57\n"
FILES = {
    "sql": ("sql.fk", {}, ("max_tokens=40", "max_tokens=24")),
    "json": ("person_json.fk", {}, ("max_tokens=48", "max_tokens=40")),
    "judge": ("judge.fk", {}, None),
    "haiku": ("haiku.fk", {}, None),
}
"""Shipped programs: the file, its parameters, and what is replaced in its text."""
NAMES = (*TEXTS, "acrostic", *FILES)


def program_of(name: str) -> Any:
    """The program of a row."""
    if name in FILES:
        file, parameters, change = FILES[name]
        text = (PROGRAMS / file).read_text("utf-8")
        if change is not None:
            assert change[0] in text
            text = text.replace(*change)
        return fkdsl.parse(text, name=str(PROGRAMS / file))(**parameters)
    if name == "acrostic":
        return fkdsl.parse(f'model "smollm2"\n{ACROSTIC}')
    prompt, most, condition = TEXTS[name]
    return fkdsl.parse(
        f'model "smollm2"\nprogram p() -> str:\n    lm = prompt("{prompt}")\n'
        f'    s ~ text(lm, until="\\n", max_tokens={most})\n    condition {condition}\n'
        f"{SUM if name == 'sum' else ''}    return s\n"
    )


@dataclass
class Run:
    """One run. log_z: -inf where it died."""

    log_z: float
    ess: float
    distinct: int
    tokens: int
    seconds: float


def run(program: Any, model: Any, way: str, particles: int, seed: int, surrogate: Any) -> Run:
    """A run with an empty cache."""
    engine = CachedTransformer(model)
    method = "local" if way == "local" else "smc"
    lookahead = surrogate if way == "auto" and surrogate is not None else way
    options = {} if way == "local" else {"lookahead": lookahead}
    began = time.perf_counter()
    try:
        result = program.run(method, model=engine, particles=particles, seed=seed, **options)
    except fkdsl.PopulationDied:
        seconds = time.perf_counter() - began
        return Run(-math.inf, 0.0, 0, engine.counts()[1], seconds)
    seconds = time.perf_counter() - began
    return Run(result.log_z, result.ess, len(result.posterior), result.forwarded_tokens, seconds)


def row(name: str, way: str, runs: list[Run], log_z: float, first: float) -> str:
    """The line of a constraint and a way."""
    lived = [r for r in runs if r.log_z > -math.inf]
    sd = statistics.stdev(r.log_z for r in lived) if len(lived) > 1 else math.nan
    off = [r.log_z - log_z if r.log_z > -math.inf else DIED for r in runs]
    error = math.sqrt(statistics.fmean(d * d for d in off))
    figures = (
        f"{sd:7.2f} {error:7.2f}" if way != "local" else f"{'':7} {'':7}"  # it has no log Z
    )
    return (
        f"{name:12} {way:6} {len(lived) / len(runs):6.0%} {figures} "
        f"{statistics.fmean(r.ess for r in runs):5.1f} "
        f"{statistics.fmean(r.distinct for r in runs):8.1f} "
        f"{statistics.fmean(r.tokens for r in runs):7.0f} "
        f"{statistics.fmean(r.seconds for r in runs):8.2f} {first:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(NAMES), help="names of constraints")
    parser.add_argument("--ways", default="none,auto,local")
    parser.add_argument("--surrogate", help="a file of `fkdsl distil`, for `auto`")
    args = parser.parse_args()
    model, ways = load_model("smollm2"), args.ways.split(",")
    print(
        f"{'constraint':12} {'way':6} {'lived':>6} {'sd':>7} {'error':>7} {'ESS':>5} "
        f"{'distinct':>8} {'tokens':>7} {'seconds':>8} {'first':>6}"
    )
    for name in args.only.split(","):
        program = program_of(name)
        found: dict[str, tuple[list[Run], float]] = {}
        for way in ways:
            first = run(program, model, way, args.particles, 10_000, args.surrogate)
            runs = [
                run(program, model, way, args.particles, seed, args.surrogate)
                for seed in range(args.seeds)
            ]
            again = statistics.fmean(r.seconds for r in runs)
            found[way] = runs, max(0.0, first.seconds - again)
        estimates = [r.log_z for way in ways if way != "local" for r in found[way][0]]
        log_z = log_sum_exp(estimates) - math.log(len(estimates)) if estimates else math.nan
        for way in ways:
            print(row(name, way, found[way][0], log_z, found[way][1]), flush=True)


if __name__ == "__main__":
    main()

"""What looking ahead saves: the error of log Z with it and without, for twelve constraints.

    python tests/benchmarks/lookahead.py [--particles 8,16] [--seeds 20] [--only words,judge]
        [--ways none,equal,auto,local,dpf] [--surrogate FILE] [--runs FILE.jsonl]

Every constraint is run on smollm2 with each way of looking ahead (docs/lookahead.md), or by local,
with the same seeds and particles. `equal` is `none` with as many more particles as auto's pilot and
longer texts cost: with them it forwards as many tokens as auto does. `dpf` is that method with
auto, `dpf-none` without look-ahead, each with so few particles that it forwards as many tokens as
`none`. `--surrogate` has auto look
ahead by that file, as far as a pilot finds, as if it lay in the cache folder. A row has: the share
of runs with an answer; the standard deviation of log Z over them; its error, the root mean square
of log Z_hat - log Z with log Z from all unbiased runs of the row's constraint, and 5 nats for a run
that died; the mean effective sample size, distinct answers, tokens and seconds of a run, of
processor time, since others may use the machine. What is made once in a process (automata,
messages, the surrogate's reading) is made in a run of other seeds before, which is not counted.

Each run is a line of the file of `--runs`, and those that it has are not made again: so a benchmark
that was stopped goes on. It goes seed by seed, so that one that was stopped has a table too.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fkdsl
from fkdsl.api.lookahead import LookaheadChoice
from fkdsl.base.logspace import log_sum_exp
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model
from fkdsl.models.surrogate.files import read

DIED = 5.0
"""Nats that a run that died is off by."""
EQUAL_SEEDS = 4
"""Seeds by which the tokens of auto and none are compared."""
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
        "len(words(s)) >= 7 and len(distinct(words(lower(s)))) == len(words(s))",
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
SUM = "    condition int(words(s)[0]) + int(words(s)[1]) == 57\n"
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
        return fkdsl.parse(text, name=str(PROGRAMS / file), folder=PROGRAMS)(**parameters)
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
    """One run. log_z: -inf where it died. seconds: of processor time."""

    log_z: float
    ess: float
    distinct: int
    tokens: int
    seconds: float


Cell = tuple[str, str, int]
"""A constraint, a way, and a number of particles."""


def run(program: Any, model: Any, cell: Cell, seed: int, surrogate: Any) -> Run:
    """A run with an empty cache."""
    _, way, particles = cell
    way = "none" if way == "equal" else way
    engine = CachedTransformer(model)
    method, way = {"local": ("local", ""), "dpf": ("dpf", "auto"), "dpf-none": ("dpf", "none")}.get(
        way, ("smc", way)
    )
    lookahead = LookaheadChoice("auto", surrogate) if way == "auto" else way
    options = {} if method == "local" else {"lookahead": lookahead}
    began = time.process_time()
    try:
        result = program.run(method, model=engine, particles=particles, seed=seed, **options)
    except fkdsl.PopulationDied:
        return Run(-math.inf, 0.0, 0, 0, time.process_time() - began)
    seconds = time.process_time() - began
    return Run(result.log_z, result.ess, len(result.posterior), result.forwarded_tokens, seconds)


def equal_particles(program: Any, model: Any, cell: Cell, surrogate: Any) -> int:
    """With how many particles `none` forwards as many tokens as auto, or dpf as many as `none`, by
    runs of other seeds."""
    name, way, particles = cell

    def tokens(each: str, n: int) -> int:
        runs = [
            run(program, model, (name, each, n), 20_000 + seed, surrogate)
            for seed in range(EQUAL_SEEDS)
        ]
        return sum(one.tokens for one in runs) if all(one.tokens for one in runs) else 0

    of_none = tokens("none", particles)
    if way == "equal":
        of_auto = tokens("auto", particles)
        more = of_none and of_auto
        return max(particles, round(particles * of_auto / of_none)) if more else particles
    few = particles  # the prompt is in every run, so tokens are not in proportion to particles
    while of_none and few > 2 and tokens(way, few) > of_none:
        few -= 1
    return few


def runs_of(
    cells: Sequence[Cell], seeds: int, known: dict[tuple[Cell, int], Run], surrogate: Any
) -> Iterator[tuple[Cell, int, Run]]:
    """The runs that are not known, seed by seed."""
    model = load_model("smollm2")
    programs: dict[str, Any] = {}
    warm: set[Cell] = set()
    equal: dict[Cell, int] = {}
    made = dict(known)  # `equal` with as many particles as `none` is the same run
    for seed in range(seeds):
        for cell in cells:
            if (cell, seed) in known:
                continue
            if cell[0] not in programs:
                programs[cell[0]] = program_of(cell[0])
            if cell not in warm:
                run(programs[cell[0]], model, (*cell[:2], 2), 10_000, surrogate)
                warm.add(cell)
            if cell[1] in ("equal", "dpf", "dpf-none") and cell not in equal:
                equal[cell] = equal_particles(programs[cell[0]], model, cell, surrogate)
            particles = equal.get(cell, cell[2])
            same = (cell[0], "none", particles) if cell[1] == "equal" else cell
            if (same, seed) not in made:
                made[same, seed] = run(
                    programs[cell[0]], model, (*cell[:2], particles), seed, surrogate
                )
            yield cell, seed, made[same, seed]


def row(cell: Cell, runs: list[Run], log_z: float) -> str:
    """The line of a constraint, a way and a number of particles."""
    name, way, particles = cell
    lived = [r for r in runs if r.log_z > -math.inf]
    sd = statistics.stdev(r.log_z for r in lived) if len(lived) > 1 else math.nan
    off = [r.log_z - log_z if r.log_z > -math.inf else DIED for r in runs]
    error = math.sqrt(statistics.fmean(d * d for d in off))
    figures = (
        f"{sd:7.2f} {error:7.2f}" if way != "local" else f"{'':7} {'':7}"  # it has no log Z
    )
    return (
        f"{name:12} {particles:3} {way:6} {len(lived):3} of {len(runs):2} {figures} "
        f"{statistics.fmean(r.ess for r in runs):5.1f} "
        f"{statistics.fmean(r.distinct for r in runs):8.1f} "
        f"{statistics.fmean(r.tokens for r in lived or runs):7.0f} "
        f"{statistics.fmean(r.seconds for r in runs):8.2f}"
    )


def table(found: dict[Cell, list[Run]]) -> Iterator[str]:
    """Its lines."""
    yield (
        f"{'constraint':12} {'N':>3} {'way':6} {'lived':>9} {'sd':>7} {'error':>7} {'ESS':>5} "
        f"{'distinct':>8} {'tokens':>7} {'seconds':>8}"
    )
    for name in dict.fromkeys(cell[0] for cell in found):
        mine = [cell for cell in found if cell[0] == name]
        estimates = [r.log_z for cell in mine if cell[1] != "local" for r in found[cell]]
        log_z = log_sum_exp(estimates) - math.log(len(estimates)) if estimates else math.nan
        for cell in sorted(mine, key=lambda cell: cell[2]):
            if found[cell]:
                yield row(cell, found[cell], log_z)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", default="8", help="numbers of them")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(NAMES), help="names of constraints")
    parser.add_argument("--ways", default="none,equal,auto,local")
    parser.add_argument("--surrogate", type=Path, help="a file of `fkdsl distil`, for `auto`")
    parser.add_argument("--runs", type=Path, help="a file that keeps the runs")
    args = parser.parse_args()
    cells: list[Cell] = [
        (name, way, int(n))
        for name in args.only.split(",")
        for n in args.particles.split(",")
        for way in args.ways.split(",")
    ]
    found: dict[Cell, list[Run]] = {cell: [] for cell in cells}
    known: dict[tuple[Cell, int], Run] = {}
    if args.runs is not None and args.runs.exists():
        for line in args.runs.read_text("utf-8").splitlines():
            data = json.loads(line)
            cell, seed = tuple(data.pop("cell")), data.pop("seed")
            known[cell, seed] = Run(**data)
            if cell in found and seed < args.seeds:
                found[cell].append(known[cell, seed])
    surrogate = None if args.surrogate is None else read(args.surrogate)
    for cell, seed, result in runs_of(cells, args.seeds, known, surrogate):
        found[cell].append(result)
        print(cell, seed, f"{result.log_z:.2f}", file=sys.stderr, flush=True)
        if args.runs is not None:
            with args.runs.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"cell": cell, "seed": seed, **asdict(result)}) + "\n")
    print(*table(found), sep="\n")


if __name__ == "__main__":
    main()

"""Are the answers right? Four tasks whose answers are known, by four ways to decode.

    python tests/benchmarks/answers.py [--only dates,people] [--ways masks,smc] [--particles 16]
        [--items N] [--runs FILE.jsonl]

The tasks are in tests/benchmarks/answers: a program each, and a file of texts and answers.
`topics`: what a headline is about, one of eight labels; `dates`: the date in a sentence; `people`:
a person's data as JSON; `queries`: a question as SQL, which is right if it finds the same rows of a
small database as the answer. The ways: `model` draws texts without any condition; `greedy` takes
the likeliest token that the masks allow; `masks` draws tokens by masks and forgets what they left
out (fkdsl's `local`); `smc` draws from the model given the conditions.

A row has: the mean probability of a right answer, and its standard error over the items; the share
of items whose likeliest answer is right; the tokens of an item; the seconds, of processor time.
`smc - masks` is the mean difference of the two, item by item, with its standard error.

Each run is a line of the file of `--runs`, and those that it has are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import statistics
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model

FOLDER = Path(__file__).resolve().parent / "answers"
TASKS = ("topics", "dates", "people", "queries")
WAYS = ("model", "greedy", "masks", "smc")
BOOKS = """
Dune,Herbert,1965,12 Emma,Austen,1815,8 Ulysses,Joyce,1922,18 Beloved,Morrison,1987,14
Solaris,Lem,1961,9 Atonement,McEwan,2001,11 Dracula,Stoker,1897,7 Purity,Franzen,2015,22
Gilead,Robinson,2004,25 Disgrace,Coetzee,1999,13 Room,Donoghue,2010,10 Villette,Bronte,1853,6
Possession,Byatt,1990,16 Regeneration,Barker,1991,15
"""
CUSTOMERS = """
Ann,Leeds,19 Ben,York,64 Cleo,Bath,33 Dan,Leeds,28 Eve,Hull,45 Finn,York,22 Gus,Ely,51 Hal,Bath,38
Ida,Hull,24 Jo,Ely,71
"""
"""The rows of the database."""
MOST_STEPS = 100_000
"""Steps of the database's machine for one query."""


def items_of(task: str) -> list[dict[str, str]]:
    """The texts of a task, and their answers."""
    lines = (FOLDER / f"{task}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def program_of(task: str, way: str) -> Any:
    """The program of a task; for `model`, what it draws without its conditions."""
    path = FOLDER / f"{task}.fk"
    text = path.read_text("utf-8")
    if way == "model":
        text = text[: text.index("    condition ")] + "    return strip(s)\n"
    return fkdsl.parse(text, name=str(path), folder=FOLDER)


@cache
def rows_of(query: str) -> tuple[tuple[Any, ...], ...] | None:
    """What a query finds, sorted if it asks for no order; None if it is none.

    >>> rows_of("SELECT name FROM customers WHERE age > 60 ORDER BY age")
    (('Ben',), ('Jo',))
    """
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE books (title, author, year INTEGER, price INTEGER)")
    database.execute("CREATE TABLE customers (name, city, age INTEGER)")
    for table, rows in (("books", BOOKS), ("customers", CUSTOMERS)):
        for row in rows.split():
            places = ", ".join("?" * len(row.split(",")))
            database.execute(f"INSERT INTO {table} VALUES ({places})", row.split(","))
    database.set_progress_handler(lambda: 1, MOST_STEPS)
    try:
        found = database.execute(query).fetchall() if query.startswith("SELECT ") else None
    except (sqlite3.Error, sqlite3.Warning):
        return None
    finally:
        database.close()
    if found is None:
        return None
    return tuple(found if "ORDER BY" in query else sorted(found, key=str))


def is_right(task: str, answer: str, gold: str) -> bool:
    """Whether an answer says what the known one says.

    >>> is_right("people", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}')
    True
    """
    if task == "queries":
        return rows_of(answer) == rows_of(gold)
    if task == "people":
        try:
            return bool(json.loads(answer) == json.loads(gold))
        except (ValueError, RecursionError):
            return False
    return answer == gold


def run(task: str, way: str, particles: int, item: dict[str, str], seed: int, model: Any) -> Any:
    """One item: the probability of a right answer, whether the likeliest is right, the tokens and
    the seconds."""
    method: tuple[str, dict[str, Any]] = {
        "model": ("importance", {"particles": particles}),
        "greedy": ("beam", {"width": 1}),
        "masks": ("local", {"particles": particles}),
        "smc": ("smc", {"particles": particles}),
    }[way]
    engine = CachedTransformer(model)
    began = time.process_time()
    try:
        result = program_of(task, way)(text=item["text"]).run(
            method[0], model=engine, seed=seed, **method[1]
        )
        answers = [(str(a.value), float(a.probability)) for a in result.posterior]
        tokens = result.forwarded_tokens
    except fkdsl.PopulationDied:
        answers, tokens = [], 0
    right = [p for value, p in answers if is_right(task, value, item["gold"])]
    likeliest = max(answers, key=lambda answer: answer[1], default=("", 0.0))[0]
    return {
        "probability": sum(right),
        "likeliest": is_right(task, likeliest, item["gold"]),
        "tokens": tokens,
        "seconds": time.process_time() - began,
    }


def mean_and_error(values: Sequence[float]) -> str:
    """A mean, and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):6.3f} ± {error:.3f}"


def table(found: dict[tuple[str, str], list[Any]]) -> list[str]:
    """The rows, a task after the other."""
    names = f"{'task':9} {'way':12} {'items':>5} {'P(right)':>16}"
    lines = [f"{names} {'likeliest':>9} {'tokens':>7} {'s':>6}"]
    for (task, way), runs in found.items():
        mean = {k: statistics.fmean(r[k] for r in runs) for k in ("likeliest", "tokens", "seconds")}
        probability = mean_and_error([r["probability"] for r in runs])
        lines.append(
            f"{task:9} {way:12} {len(runs):5} {probability:>16} "
            f"{mean['likeliest']:9.2f} {mean['tokens']:7.0f} {mean['seconds']:6.2f}"
        )
        if way == "smc" and (task, "masks") in found:
            pairs = zip(runs, found[task, "masks"], strict=False)
            apart = [a["probability"] - b["probability"] for a, b in pairs]
            lines.append(f"{task:9} {'smc - masks':12} {len(apart):5} {mean_and_error(apart):>16}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(TASKS), help="names of tasks")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--items", type=int, help="so many of each task")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--runs", type=Path, help="a file that keeps the runs")
    args = parser.parse_args()
    model = load_model(args.model)
    known: dict[str, Any] = {}
    if args.runs is not None and args.runs.exists():
        known = {r["key"]: r for r in map(json.loads, args.runs.read_text("utf-8").splitlines())}
    found: dict[tuple[str, str], list[Any]] = {}
    for task in args.only.split(","):
        for way in args.ways.split(","):
            for seed, item in enumerate(items_of(task)[: args.items]):
                key = f"{args.model} {task} {way} {args.particles} {seed}"
                if key not in known:
                    made = run(task, way, args.particles, item, seed, model)
                    known[key] = {"key": key, **made}
                    print(key, f"{made['probability']:.2f}", file=sys.stderr, flush=True)
                    if args.runs is not None:
                        with args.runs.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(known[key]) + "\n")
                found.setdefault((task, way), []).append(known[key])
    print(*table(found), sep="\n")


if __name__ == "__main__":
    main()

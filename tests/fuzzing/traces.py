"""Traces that were damaged: bytes, lines and JSON values, read by `replay` and by `--resume`."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzzing.sources import TABLE

PROGRAM = (
    TABLE
    + """
def drawn(lm: context, n: int) -> str:
    s ~ text(lm, max_tokens=n)
    return s

program main(n: int = 3) -> record:
    lm = prompt("")
    other = prompt("a")
    x ~ uniform_int(0, 2)
    s ~ drawn(lm, n)
    condition count(s, "a") <= x
    observe s ~ other
    return {"x": x, "s": s, "half": 0.5}

infer smc(particles=6)
"""
)
LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**40,
    10**30,
    0.5,
    -0.0,
    1e308,
    "",
    "a",
    "\ud800",
    "nan",
    "Infinity",
    [],
    {},
    [0] * 50,
    [[[]]],
    {"a": 1},
    "x" * 10_000,
)


@cache
def whole() -> str:
    """The trace of a run."""
    import tempfile

    import fkdsl

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        program = Path(folder) / "case.fk"
        program.write_text(PROGRAM, "utf-8")
        fkdsl.load(program).run(trace=str(path), seed=1)
        return path.read_text("utf-8")


def damaged_value(rng: random.Random, value: Any) -> Any:
    """A JSON value with one part of it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: damaged_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value[:i] + value[i + 1 :]
        return [*value[:i], damaged_value(rng, value[i]), *value[i + 1 :]]
    return rng.choice(LEAVES)


def damaged(rng: random.Random, text: str) -> bytes:
    """The trace after one or two changes."""
    for _ in range(rng.randint(1, 2)):
        rows = text.splitlines()
        i = rng.randrange(len(rows)) if rows else 0
        match rng.randrange(8):
            case 0 | 1 | 2 | 3 if rows:
                try:
                    rows[i] = json.dumps(damaged_value(rng, json.loads(rows[i])))
                except (ValueError, RecursionError):
                    rows[i] = ""
            case 4 if rows:
                del rows[i]
            case 5 if rows:
                rows.insert(rng.randrange(len(rows)), rows[i])
            case 6:
                at = rng.randrange(len(text) + 1)
                rows = (
                    text[:at]
                    + rng.choice(("", "[" * 100_000, "\x00", "9" * 5000, "}"))
                    + text[at + 3 :]
                ).split("\n")
            case _:
                rows = text[: rng.randrange(len(text) + 1)].split("\n")
        text = "\n".join(rows) + "\n"
    return text.encode("utf-8", "surrogatepass")


def case(rng: random.Random, folder: Path) -> list[str]:
    """A damaged trace, read one way or the other."""
    (folder / "case.fk").write_text(PROGRAM, "utf-8")
    (folder / "run.jsonl").write_bytes(damaged(rng, whole()))
    if rng.random() < 0.3:
        return ["run", "case.fk", "--resume", "run.jsonl", "--timeout", "2"]
    extra = rng.choice(([], ["--json"], ["--particle", "0"], ["--step", "2"], ["--top", "0"]))
    return ["replay", "run.jsonl", *extra]

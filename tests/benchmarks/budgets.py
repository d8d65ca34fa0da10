"""What looking ahead to a budget of tokens saves: the share of particles that die of it, and the
time that it adds.

    python tests/benchmarks/budgets.py [tiny | smollm2] [--particles 16] [--repeats 3] [--only sql]

Every row is a text under a schema or grammar within a tight budget, by importance sampling, so that
no dead particle is replaced. `before` looks ahead to the last token alone. `added` is the time
outside the model that the look-ahead adds to a step, as a share of a step, and `first` what is paid
once for a program and a vocabulary.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.constraints import grammars
from fkdsl.models.registry import load_model

PROGRAMS = Path(__file__).parents[2] / "programs"
RECORD = json.loads((PROGRAMS / "person.json").read_text())
SQL = (PROGRAMS / "sql.lark").read_text()
NODE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
    "required": ["v"],
    "additionalProperties": False,
}


def record(required: bool = True, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties] if required else [],
        "additionalProperties": False,
    }


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
SCHEMAS: dict[str, tuple[Any, int]] = {
    "a text": (TEXT, 12),
    "a list of numbers": ({"type": "array", "items": NUMBER, "minItems": 3}, 16),
    "a list of texts": ({"type": "array", "items": TEXT, "minItems": 2}, 24),
    "two numbers": (record(x=NUMBER, y=NUMBER), 20),
    "two texts": (record(name=TEXT, town=TEXT), 32),
    "a choice": (record(kind={"enum": ["circle", "square"]}, size=NUMBER), 36),
    "optional fields": (record(False, a=TEXT, b=NUMBER, c=TEXT), 24),
    "nested": (record(who=record(name=TEXT), born=NUMBER), 40),
    "open object": ({"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, 24),
    "a pattern": (record(id={"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}), 20),
    "lists in lists": ({"type": "array", "items": {"type": "array", "items": NUMBER}}, 16),
    "a chain": ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, 40),
    "any JSON": ({}, 16),
}
PROMPTED = {
    "sql, 40 tokens": (f"parses(s, {json.dumps(SQL)})", 40, PROGRAMS / "sql.fk"),
    "sql, 24 tokens": (f"parses(s, {json.dumps(SQL)})", 24, PROGRAMS / "sql.fk"),
    "sql, 12 tokens": (f"parses(s, {json.dumps(SQL)})", 12, PROGRAMS / "sql.fk"),
    "record, 40 tokens": (f"valid_json(s, {json.dumps(json.dumps(RECORD))})", 40, None),
    "record, 28 tokens": (f"valid_json(s, {json.dumps(json.dumps(RECORD))})", 28, None),
    "open record, 24 tokens": (
        "valid_json(s, "
        + json.dumps(json.dumps({"type": "object", "properties": {"name": TEXT, "notes": TEXT},
                                 "required": ["name", "notes"]})) + ")", 24, None),
    "any JSON, 24 tokens": ("valid_json(s)", 24, None),
}  # fmt: skip


def rows(model: str) -> Iterator[tuple[str, str]]:
    """(name, program) of each row."""
    frame = (
        'model "{}"\nprogram p() -> str:\n    lm = prompt({})\n    s ~ text(lm, max_tokens={})\n'
    )
    if model == "tiny":
        for name, (schema, budget) in SCHEMAS.items():
            head = frame.format("tiny", '"A record as JSON:\\n"', budget)
            text = json.dumps(json.dumps(schema))
            yield name, f"{head}    condition valid_json(s, {text})\n    return s\n"
        return
    for name, (condition, budget, _) in PROMPTED.items():
        sql = name.startswith("sql")
        prompt = (
            "Table books: title, author, year, price\\n\\n"
            "Question: the titles of books after 1990\\n"
            "SELECT title FROM books WHERE year > 1990\\n\\nQuestion: the ten cheapest books\\n"
            if sql
            else "People of history, as JSON.\\n\\na scientist\\n"
        )
        head = frame.format("smollm2", f'"{prompt}"', budget)
        yield name, f"{head}    condition {condition}\n    return s\n"


@contextmanager
def last_token_alone() -> Iterator[None]:
    """Without the bounds on the tokens that complete a text."""
    bounds = grammars.completion_bounds
    grammars.completion_bounds = lambda *_: None  # type: ignore[assignment]
    try:
        yield
    finally:
        grammars.completion_bounds = bounds


def measure(program: Any, model: Any, particles: int, seed: int) -> tuple[float, float]:
    """(the share of particles that die, seconds a step) of a run with an empty cache."""
    alive: list[int] = []
    engine = CachedTransformer(model)
    began = time.process_time()
    with suppress(fkdsl.PopulationDied):
        program.run(
            "importance",
            model=engine,
            particles=particles,
            seed=seed,
            observer=lambda step: alive.append(step.alive),
        )
    return 1 - alive[-1] / particles, (time.process_time() - began) / len(alive)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="tiny", choices=["tiny", "smollm2"])
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    args = parser.parse_args()
    model = load_model(args.model)
    print(f"{'text':24} {'before':>7} {'after':>7} {'added':>7} {'first':>8}")
    for name, text in rows(args.model):
        if args.only not in name:
            continue
        program = fkdsl.parse(text)
        with last_token_alone():
            measure(program, model, args.particles, 100)
            before = [measure(program, model, args.particles, k) for k in range(args.repeats)]
        began = time.process_time()
        measure(program, model, args.particles, 100)
        first = time.process_time() - began
        began = time.process_time()
        after = [measure(program, model, args.particles, k) for k in range(args.repeats)]
        first -= (time.process_time() - began) / args.repeats
        steps = [statistics.median(seconds for _, seconds in runs) for runs in (before, after)]
        died = [statistics.mean(share for share, _ in runs) for runs in (before, after)]
        print(
            f"{name:24} {died[0]:7.0%} {died[1]:7.0%} {steps[1] / steps[0] - 1:7.1%} "
            f"{max(first, 0):6.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

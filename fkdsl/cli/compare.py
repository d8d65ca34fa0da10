"""`fkdsl compare`: several methods at an equal number of tokens, a row for each."""

from __future__ import annotations

import argparse
import math
import textwrap
from dataclasses import asdict
from typing import Any

from fkdsl.api.compare import DEFAULT_METHODS, Comparison, Row, check_comparison, compare
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import print_json, say, tell
from fkdsl.cli.progress import RunProgress, is_live

WIDTH = 100
"""Characters of the longest line."""
NONE = "-"
COLUMNS = (
    ("method", 11),
    ("particles", 9),
    ("satisfy", 8),
    ("log Z", 10),
    ("sd", 8),
    ("died", 7),
    ("from exact", 11),
    ("tokens", 9),
    ("time", 9),
)
"""Headings and widths; the first column stands left, the others right."""


def main(args: argparse.Namespace) -> int:
    program = called_program(args)
    methods = DEFAULT_METHODS
    if args.methods is not None:
        named = (name for part in args.methods.split(",") if (name := part.strip()))
        methods = tuple(dict.fromkeys(named))
    check_comparison(methods, args.budget, args.runs, args.max_states)
    warn(program.warnings)
    with RunProgress(program.name) as progress:
        begun = set[str]()

        def watch(title: str, step: Any, tokens: int) -> None:
            method = title.partition(":")[0]
            if method not in begun and not is_live():  # nobody sees the line of progress
                tell(f"{program.name}: {method} ({len(begun) + 1} of {len(methods)} methods)")
            begun.add(method)
            progress.stage(title)
            progress.step(step, tokens)

        comparison = compare(
            program,
            methods,
            budget=args.budget,
            runs=args.runs,
            seed=args.seed,
            engines=called_engines(program, args, progress),
            max_states=args.max_states,
            max_steps=args.max_steps,
            watch=watch,
        )
    if args.json:
        print_json(comparison_json(comparison))
    else:
        say(comparison_text(comparison), end="")
    return 0


def comparison_text(comparison: Comparison) -> str:
    """The table, then the notes on its rows, then the settings."""
    lines = [_line([heading for heading, _ in COLUMNS])]
    lines += [_line(_cells(row)) for row in comparison.rows]
    lines.append("")
    notes: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.note:
            notes.setdefault(row.note, []).append(row.method)
    for note, methods in notes.items():
        lines += textwrap.wrap(f"{', '.join(methods)}: {note}", WIDTH, subsequent_indent="  ")
    runs = f"{comparison.runs} run{'s' if comparison.runs > 1 else ''}"
    budget = f"budget {comparison.budget} tokens"
    lines.append(f"{comparison.program}   seed {comparison.seed}   {budget}   {runs}")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    exact = row.method == "exact"
    return [
        row.method,
        NONE if row.particles is None else str(row.particles),
        _figure(row.satisfied, 3),
        _figure(row.log_z, 4),
        _figure(row.log_z_sd, 4),
        NONE if exact else f"{row.died} of {row.runs}",
        "not known" if exact and row.distance is None else _figure(row.distance, 4),
        _figure(row.tokens, 0),
        f"{row.seconds:.1f} s",
    ]


def _figure(x: float | None, places: int) -> str:
    """A number to `places` decimals; what rounds to zero has no sign."""
    if x is None:
        return NONE
    text = f"{x:.{places}f}"
    return text.removeprefix("-") if math.isfinite(x) and float(text) == 0 else text


def _line(cells: list[str]) -> str:
    first, *others = zip(cells, (width for _, width in COLUMNS), strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f" {text:>{width}}" for text, width in others)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The object that `--json` prints (docs/language.md). JSON has no -inf: where every run died,
    log_z is null."""
    rows = []
    for row in comparison.rows:
        fields = asdict(row)
        if row.log_z == -math.inf:
            fields["log_z"] = None
        rows.append(fields)
    return {
        "program": comparison.program,
        "seed": comparison.seed,
        "budget": comparison.budget,
        "runs": comparison.runs,
        "rows": rows,
    }

"""`fkdsl compare`: several methods at an equal number of tokens, a row for each."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

from fkdsl.api.compare import DEFAULT_METHODS, check_comparison, compare
from fkdsl.api.comparison import Comparison
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import print_json, say, tell
from fkdsl.cli.progress import RunProgress, is_live


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
        say(str(comparison))
    return 0


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

"""`fkdsl prefill`: computes a program's prompts once and writes them to a file, for `fkdsl run
--prefill`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fkdsl.api.prefill import prefill
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import check_file_target, say
from fkdsl.cli.progress import RunProgress


def main(args: argparse.Namespace) -> int:
    check_file_target(args.out, "--out")
    program = called_program(args)
    warn(program.warnings)
    with RunProgress(program.name) as progress:
        made = prefill(program, args.out, called_engines(program, args, progress))
    tokens = sum(len(c.tokens) for c in made.contexts)
    contexts = f"{len(made.contexts)} prompt{'s' if len(made.contexts) > 1 else ''}"
    size = Path(args.out).stat().st_size
    say(f"{args.out}: {contexts}, {tokens} tokens, {size / 1e6:.1f} MB")
    return 0

"""`fkdsl prefill`: computes a program's prompts once and writes them to a file, for `fkdsl run
--prefill`, or puts them into a store, for `fkdsl run --prefill-store` anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fkdsl.api.prefill import prefill
from fkdsl.api.prefill_store import put_prompts
from fkdsl.base.files import shown_size
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import check_file_target, say
from fkdsl.cli.progress import RunProgress

if TYPE_CHECKING:
    from fkdsl.models.prefill.stores import Store


def main(args: argparse.Namespace) -> int:
    if args.out:
        check_file_target(args.out, "--out")
    program = called_program(args)
    warn(program.warnings)
    with RunProgress(program.name) as progress:
        engines = called_engines(program, args, progress)
        if args.store:
            use = put_prompts(program, opened_store(args.store), engines)
            there, computed = use.fetched_tokens, use.tokens - use.fetched_tokens
            line = f"{use.name}: {_prompts(use.prompts)}, {use.tokens} tokens: "
            line += f"{there} were there, {computed} computed, {shown_size(use.put_bytes)} put"
            for why in use.refused:
                say(f"{use.name}: {why}; it is put again")
        else:
            made = prefill(program, args.out, engines)
            tokens = sum(len(c.tokens) for c in made.contexts)
            size = Path(args.out).stat().st_size
            line = f"{args.out}: {_prompts(len(made.contexts))}, {tokens} tokens, "
            line += f"{size / 1e6:.1f} MB"
    say(line)
    return 0


def opened_store(url: str) -> Store:
    """The store of a folder or URL that a flag names."""
    from fkdsl.models.prefill.stores import open_store

    return open_store(url)


def _prompts(n: int) -> str:
    return f"{n} prompt{'s' if n > 1 else ''}"

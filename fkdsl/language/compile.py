"""The compiler: the chain from the text of a program to code that runs.

    Source --parse--> tree.Module --check--> Checked             `check_source`, once for a file
    Checked --lower--> ir.Program --optimise--> ir.Program       `compile_ir`, once for a program
    ir.Program --build--> Executable                             `build` of ir/build.py

Each arrow is a room: syntax/, check/, lower/, then ir/passes/ and ir/build.py. The files beside
this one, queries.py and expectations.py, compile expressions over what a program returns.

>>> from fkdsl.ir.build import Environment, build
>>> text = "program one() -> int:\\n    return 1\\n"
>>> executable = build(compile_ir(check_source(Source("one.fk", text)), "one"), Environment())
>>> executable.functions["one"].ops[0].__class__.__name__
'ReturnOp'
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.spans import Source
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes import optimise
from fkdsl.language.check.checker import Checked, check
from fkdsl.language.lower.lower import lower
from fkdsl.language.syntax.parser import parse_around_mistakes, read_source


def check_source(
    source: Source, folder: Path | None = None, *, allow_outside: bool = False
) -> Checked:
    """The checked file that a text says. Raises ProgramError with every mistake in it and in what
    it imports.

    folder: what the files that it names are relative to; allow_outside: whether they may lie
    elsewhere than below it.
    """
    module = parse_around_mistakes(source)
    return check(module, folder, allow_outside=allow_outside)


def check_file(path: Path, *, allow_outside: bool = False) -> Checked:
    """The checked file of a path. Raises ProgramError as `check_source` does, and CallError if it
    cannot be read."""
    try:
        return check_source(read_source(path), path.parent, allow_outside=allow_outside)
    except ProgramError as error:
        if path.suffix == ".fk" or path == Path("/dev/stdin"):
            raise
        # It may be any file, and the diagnostics would show its lines.
        line = error.diagnostics[0].span.line
        raise CallError(
            f"{path} is no program: its first mistake is in line {line}",
            "a program's file is named .fk: rename it to see each mistake",
        ) from None


def compile_ir(
    checked: Checked,
    program: str,
    off: Collection[str] = (),
    rewrite: Callable[[ir.Program], ir.Program] = lambda written: written,
) -> ir.Program:
    """The optimised ir of one program of a file. Raises ProgramError for conditions that contradict
    each other.

    off: the passes to leave out. rewrite: a change to the program as it is written, before the
    passes see it; blame takes lines out with it.
    """
    written = rewrite(lower(checked, program))
    return optimise(written, off, checked.folders)


def program_warnings(checked: Checked, written: ir.Program) -> tuple[Diagnostic, ...]:
    """What the checker and the optimiser warn of, in the order of the lines. written: the ir of one
    of the file's programs, as `compile_ir` gives it."""
    warnings = (*checked.warnings, *written.warnings)
    return tuple(sorted(warnings, key=lambda d: (d.span.source.name, d.span.start)))

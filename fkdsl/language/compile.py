"""The compiler: the chain from the text of a program to code that runs.

    Source --parse--> tree.Module --check--> Checked             `check_source`, once for a file
    Checked --lower--> ir.Program --optimise--> ir.Program       `compile_ir`, once for a program
    ir.Program --build--> Executable                             `build`

Each arrow is a room: syntax/, check/, lower/, then ir/passes/ and ir/build.py. The files beside
this one, queries.py and expectations.py, compile expressions over what a program returns.

>>> text = "program one() -> int:\\n    return 1\\n"
>>> executable = build(compile_ir(check_source(Source("one.fk", text)), "one"), Environment())
>>> executable.functions["one"].ops[0].__class__.__name__
'ReturnOp'
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from fkdsl.base.spans import Source
from fkdsl.ir import nodes as ir
from fkdsl.ir.build import Environment, build
from fkdsl.ir.passes import optimise
from fkdsl.language.check.checker import Checked, check
from fkdsl.language.lower.lower import lower
from fkdsl.language.syntax.parser import parse_around_mistakes

__all__ = ["Environment", "build", "check_source", "compile_ir"]


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

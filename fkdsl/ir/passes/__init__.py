"""The optimiser: passes from a program to one of the same measure with better proposals (docs/optimiser.md).

Each pass is a function Program -> Program, verified after. Z and the posterior over return values stay what they are;
`optimise(program, off)` leaves out the passes named in `off`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.fuse import fuse
from fkdsl.ir.verify import verify

PASSES: dict[str, Callable[[ir.Program], ir.Program]] = {"fuse": fuse}


def optimise(program: ir.Program, off: Collection[str] = ()) -> ir.Program:
    """The program after every pass that is not switched off."""
    for name, run in PASSES.items():
        if name not in off:
            program = verify(run(program))
    return program

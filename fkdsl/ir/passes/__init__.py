"""The optimiser: passes from a program to one of the same measure with better proposals (docs/optimiser.md).

    automata    conditions on a whole text that say which language it is in guide its tokens
    lookahead   ... and so does the number of tokens that are left
    early       conditions that can fail early are checked at every token
    fuse        a draw looks ahead to the conditions between it and the next

Each pass is a function Program -> Program, verified after. Z and the posterior over return values stay what they are;
`optimise(program, off)` leaves out the passes named in `off`.
"""

from __future__ import annotations

from collections.abc import Collection

from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.fuse import fuse
from fkdsl.ir.passes.texts import guide_texts
from fkdsl.ir.verify import verify

PASSES = ("automata", "lookahead", "early", "fuse")


def optimise(program: ir.Program, off: Collection[str] = ()) -> ir.Program:
    """The program after every pass that is not switched off."""
    if "automata" not in off or "early" not in off:
        program = verify(
            guide_texts(program, automata="automata" not in off, early="early" not in off, ahead="lookahead" not in off)
        )
    if "fuse" not in off:
        program = verify(fuse(program))
    return program

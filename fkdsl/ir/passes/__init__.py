"""The optimiser: passes from a program to one of the same measure with better proposals
(docs/optimiser.md).

    texts       conditions on a whole text guide it from its first token on, by the next three;
                without this one a draw looks ahead within its step only, and each P_t is the
                program's own
    automata    conditions on a whole text, or on the text so far, that say which language it is in
                mask its tokens
    lookahead   ... and so does the number of tokens that are left
    early       conditions that can fail early are checked at every token
    fuse        a draw looks ahead to the conditions between it and the next

The files, from a condition to a plan: inline.py (through pure functions), regular.py (to a
language), early.py (to a check of a beginning), masks.py (to a predicate of the token), prefix.py
(to a language of the text so far), texts.py, loop_texts.py, word_loops.py and fuse.py (the passes),
outside.py (what is left).

Each pass is a function Program -> Program, verified after. Z and the posterior over return values
stay what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fkdsl.base.folders import Folder
from fkdsl.base.spans import Source
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.fuse import fuse
from fkdsl.ir.passes.loop_texts import guide_loops
from fkdsl.ir.passes.outside import late_conditions
from fkdsl.ir.passes.text_guidance import Settings
from fkdsl.ir.passes.texts import guide_texts
from fkdsl.ir.passes.word_loops import guide_words
from fkdsl.ir.verify import verify

PASSES = ("texts", "automata", "lookahead", "early", "fuse")


def optimise(
    program: ir.Program, off: Collection[str] = (), folders: Mapping[Source, Folder] | None = None
) -> ir.Program:
    """The program after every pass that is not named in `off`. Raises ProgramError for conditions
    that contradict each other. folders: where the files are that a source names."""
    settings = Settings(
        "automata" not in off, "early" not in off, "lookahead" not in off, folders or {}
    )
    if "texts" not in off:
        program = verify(guide_texts(program, settings))
        program = verify(guide_loops(program, settings))
        program = verify(guide_words(program, settings))
    if "fuse" not in off:
        program = verify(fuse(program, settings.automata))
    return late_conditions(program)

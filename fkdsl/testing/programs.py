"""Hypothesis strategies for whole programs over a table model, small enough to enumerate.

A failing example is shown as a program that can be read, copied and run. It shrinks to what one
would have written: one draw before a loop, one row before two, no line that does nothing.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

from hypothesis import strategies as st

from fkdsl.api.called_program import program_literal
from fkdsl.api.program import Program, parse
from fkdsl.testing.tables import table_text, tables


class ProgramText(str):
    """A program's text; shown line by line."""

    def __repr__(self) -> str:
        return program_literal(str(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


# Strategies shrink towards what stands first. {v} is what the program has drawn.

STATEMENTS = (
    'condition {v} != "a"',
    'condition {v} != "b"',
    'condition not contains(lm.text, "bb")',
    'condition count(lm.text, "a") <= 1',
    "factor -0.7 * len(lm.text)",
    'factor 0.3 if {v} == "a" else -0.2',
    'condition lm.done or logprob(lm, "a") < -0.1',
    'if {v} == "a":\n    factor 0.4\nelse:\n    condition lm.tokens < 2',
    "x ~ bernoulli(0.25)\nfactor 0.5 if x else 0.0",
    'if lm.tokens == 1 and {v} == "b":\n    return EARLY',
    "checkpoint",
    "pass",
)
TOKEN_STATEMENTS = ('condition {v} == EOS or {v} != "a"', "observe {v} ~ other")
"""Statements that only a drawn token can have after it."""
TOKEN_DRAWS = (
    "t ~ lm",
    "t ~ lm ** 0.5",
    "t ~ lm * twin",
    "t ~ mixture([lm, twin], weights=[0.3, 0.7])",
)
TEXT_DRAWS = (
    "s ~ text(lm, max_tokens=2)",
    's ~ text(lm, until="b", max_tokens=2)',
    's ~ text(lm, until=["ab", "b"], max_tokens=2)',
    's ~ choice(lm, ["a", "bb"])',
    's ~ choice(lm, ["b", "ba", "ab"], other="none")',
)
ENDS = (
    "return lm.text",
    'condition lm.text != ""\nreturn lm.text',
    "return len(lm.text)",
    'return [lm.text, "!"]',
)


@st.composite
def program_texts(draw: st.DrawFn) -> ProgramText:
    """Programs over a table model: one draw, or up to three in a loop, or a text or a choice, with
    conditions, factors and branches after it; the draw and what follows it may be in a function."""
    # Parts that are not in every program are drawn last: without them the earlier draws stay the
    # same, and so a loop shrinks to a draw.
    table = table_text(draw(tables()))
    shape = draw(st.sampled_from(("draw", "draw", "loop", "loop", "loop", "text")))
    statement = draw(st.sampled_from(TEXT_DRAWS if shape == "text" else TOKEN_DRAWS))
    usable = STATEMENTS if shape == "text" else STATEMENTS + TOKEN_STATEMENTS
    body = dict.fromkeys(draw(st.lists(st.sampled_from(usable), max_size=2)))
    end = draw(st.sampled_from(ENDS))
    lines = [statement, *(s.replace("{v}", statement[0]) for s in body)]
    contexts = ["lm", *(name for name in PROMPTS if any(name in line for line in lines))]
    setup = [f'{name} = prompt("{PROMPTS.get(name, "")}")' for name in contexts]
    returns, early = TYPES[_kind(end)]
    function, called = "", draw(st.sampled_from((False, False, True)))
    if called and contexts == ["lm"]:
        inner = indent("\n".join([*lines, "return lm.text"]).replace("EARLY", '"early"'), "    ")
        function, lines = f"\ndef drawn(lm: context) -> str:\n{inner}\n", ["v ~ drawn(lm)"]
    if shape == "loop":
        done = " or ".join(f"{name}.done" for name in contexts)
        times = draw(st.sampled_from(("2", "3", "2 - z")))
        setup += ["z ~ uniform_int(0, 1)"] if "z" in times else []
        lines = [
            f"for i in range({times}):",
            indent("\n".join([f"if {done}:\n    break", *lines]), "    "),
        ]
    main = indent("\n".join([*setup, *lines, end]).replace("EARLY", early), "    ")
    return ProgramText(f"{table}{function}\nprogram main() -> {returns}:\n{main}\n")


PROMPTS = {"twin": "a", "other": "b"}
"""Contexts besides lm, and their prompts."""
TYPES = {"int": ("int", "7"), "list": ("list[str]", '["early"]'), "str": ("str", '"early"')}
"""A program's type, and a value of it to return early."""


def _kind(end: str) -> str:
    return (
        "int" if end.startswith("return len") else "list" if end.startswith("return [") else "str"
    )


def programs() -> st.SearchStrategy[Program]:
    """The programs of `program_texts`, parsed and checked."""
    return program_texts().map(parse)

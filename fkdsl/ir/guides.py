"""How each draw is made, in words: what it draws from, and by which means it looks ahead to which
conditions. `explain` prints it, editors show it where the draw stands."""

from __future__ import annotations

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import NOWHERE, PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.machine.proposal_plan import Absorbed

MEANS = {
    "mask": "by a mask over the vocabulary, computed once",
    "automaton": "by an automaton or a grammar: a mask for each place in it, and for the tokens "
    "that are left",
    "automaton, later": "by an automaton or a grammar: a mask for each place in it, however many "
    "tokens come",
    "automaton, so far": "by an automaton of the text so far: a mask for each place in it",
    "closed": "by an automaton of the stops: as long as the tokens that are left suffice to end "
    "the text",
    "early": "at every token of the text, as far as it is known by then, by trial",
    "tried": "by trial: each likely token, the others by weighted rejection: some five tokens for "
    "a draw",
    "tried, expensive": "by trial, which is expensive: weighted rejection, two tokens or more for "
    "a draw",
    "tested": "by trying each value",
    "words": "by a surrogate: how likely the words to come are such",
}
"""How a draw looks ahead to a condition, and what that costs."""
WEAKER = "by a weaker automaton or grammar; left to trials of the tokens that may end the text"
IN_PART = "by an automaton of a larger language, which leaves out"


@dataclass(frozen=True)
class Guide:
    """A condition that a draw looks ahead to. kind: a key of MEANS, or "weaker" or "in
    part"; words: how, and what it costs."""

    span: Span
    kind: str
    words: str


def guides(draw: ir.Draw) -> tuple[Guide, ...]:
    """The conditions that a draw looks ahead to."""
    return tuple(map(_guide, draw.plan.absorbed)) if draw.plan is not None else ()


def _guide(absorbed: Absorbed) -> Guide:
    kind, _, parts = absorbed.means.partition(", weaker: ")
    if parts:
        return Guide(absorbed.span, "weaker", f"{WEAKER}: {parts}")
    kind, _, parts = absorbed.means.partition(", in part: ")
    if parts:
        return Guide(absorbed.span, "in part", f"{IN_PART}: {parts}")
    kind, _, of = absorbed.means.partition(" for each value of ")
    words = MEANS[kind] + (f", for each value of {of}" if of else "")
    return Guide(absorbed.span, kind, words)


def draws_by_place(program: ir.Program) -> dict[Span, tuple[ir.Draw, ...]]:
    """The draws that each line of the program's text makes, by the span of its statement: a call of
    `text` or `word` makes those of the built-in."""
    draws: dict[Span, list[ir.Draw]] = {}
    for f in program.functions.values():
        for i in f.body:
            if isinstance(i, ir.Draw) and i.span.source.name != PRELUDE:
                draws.setdefault(i.span, []).append(i)
            elif isinstance(i, ir.Call) and i.span.source.name != PRELUDE:
                inner = program.functions[i.function]
                if inner.span.source.name == PRELUDE:
                    made = [d for d in inner.body if isinstance(d, ir.Draw)]
                    draws.setdefault(i.span, []).extend(made)
    return {span: tuple(made) for span, made in draws.items()}


def kernel(draw: ir.Draw) -> str:
    """What a draw draws from, in words."""
    match draw.distribution:
        case ir.Model(operation="choice", args=(_, _, other)) if other != ir.Const(NOWHERE, None):
            return (
                "draws the option that comes next and appends it, or `other` if none of them does"
            )
        case ir.Model(operation="choice"):
            return (
                "draws one of the options with the model's probability of each, renormalised, "
                "and appends it"
            )
        case ir.Model(operation="continues"):
            return "draws whether the next token goes on with the word"
        case ir.Model(operation="mixture"):
            return "draws the next token from the mixture, and appends it to every context in it"
        case ir.Operate(operator="mul"):
            return (
                "draws the next token from the renormalised product, and appends it to every "
                "context in it"
            )
        case ir.Operate(operator="pow"):
            return "draws the next token from the renormalised power, and appends it"
        case ir.Builtin(name="retrieve"):
            return "draws one of the k best documents for the query, by their scores"
        case ir.Builtin(name=name):
            return f"draws from {name}"
        case ir.Local():
            return "draws from what the name holds; a context gives its next token, and appends it"
    return "draws from this distribution"

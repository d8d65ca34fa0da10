"""What a run says of conditions on texts that have too few tokens, and of those that guide nothing,
or not all the way, which was not known before it: their languages are made of parameters, data or
earlier draws. The words are those of FK501, which the compiler says of the others
(ir/passes/text_diagnostics.py)."""

from __future__ import annotations

from typing import Any

from fkdsl.base.shown import shortened
from fkdsl.inference.deaths import ending
from fkdsl.ir import nodes as ir
from fkdsl.proposals.emptied import emptying
from fkdsl.proposals.text_masks import Late, Short, TextConstraint

HELP = (
    "where most particles die, make what it is made of smaller, or add a condition that guides the "
    "text, such as `len(words(s)) <= 12`"
)


def short_facts(short: Short) -> tuple[str, ...]:
    """A line for each condition for which a text may have too few tokens."""
    return tuple(
        f"line {place.line} asks for a text of "
        + (f"at least {needed:,}" if needed is not None else "many more")
        + f" tokens, and the text may have {given:,}"
        + (f": write max_tokens={needed} or more" if needed is not None else "")
        for place, (given, needed) in short.items()
    )


def emptied(text: TextConstraint | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The lines that together left no token where the population died, and behind which text, in
    words and as JSON; nothing where it was one line alone, or the model's own probabilities."""
    places = () if text is None else emptying(text)
    if text is None or len(places) < 2:
        return (), {}
    so_far = text.constraint.vocabulary.text(text.ids)
    where = f"behind {ending(so_far)} " if text.ids else ""
    facts = [f"{where}these lines together leave no token:"]
    facts += [
        f"  line {s.line}: {shortened((s.text.strip().splitlines() or [''])[0])}" for s in places
    ]
    lines = [{"file": s.source.name, "line": s.line, "column": s.column} for s in places]
    return tuple(facts), {"together": {"text": so_far, "lines": lines}}


def late_notes(late: Late, program: ir.Program) -> tuple[str, ...]:
    """A line for each such condition. Those that are tried at every token are left out: they are
    not checked late. late: see ProposalSettings."""
    early = {
        i.span
        for function in program.functions.values()
        for i in function.body
        if isinstance(i, ir.Condition) and i.early
    }
    return tuple(
        f"{place.source.name}:{place.line}: {'' if whole else 'a part of '}this is checked only "
        f"when the text is complete (FK501): no mask follows {why}; {HELP}"
        for place, (whole, why) in late.items()
        if place not in early
    )

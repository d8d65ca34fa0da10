"""A copy of the prelude's `text` for one call of it: its draw planned, its loop with checks.

The copy takes what the conditions read as further parameters; which of its own slots are the
context, the stops and the text, the mark `ir.DrawnText` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import count

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered
from fkdsl.ir.passes.regular import all_of
from fkdsl.ir.passes.text_guidance import Guidance
from fkdsl.machine.proposal_plan import Absorbed, CompletionConstraint, ProposalPlan

SHOWN = 3
"""Parts of a language that a message names."""


def drawn_text(function: ir.Function) -> ir.DrawnText | None:
    """The mark of a function that draws a text; None for any other."""
    return next((i for i in function.body if isinstance(i, ir.DrawnText)), None)


def must_be_closed(function: ir.Function) -> Span | None:
    """Where it is said of a marked function that a stop or EOS must end its text; None where it is
    not. The condition of it is the only one that such a function has."""
    return next((i.span for i in function.body if isinstance(i, ir.Condition)), None)


def guided_copy(
    original: ir.Function, name: str, call: ir.Call, guidance: Guidance, budget_lookahead: bool
) -> tuple[ir.Function, ir.Call]:
    """The copy of a marked function for one call, and the call of it."""
    captured = sorted(set().union(*map(reads, guidance.expressions)) - {call.target})
    slots, layout = _layout(original, call, guidance, captured)
    shift = layout.of_original
    body: list[ir.Instr] = [renumbered(i, shift) for i in original.body]
    mark = next(i for i in body if isinstance(i, ir.DrawnText))
    context = ir.Local(call.span, mark.context)
    tokens = ir.Operate(call.span, "attribute", (context, ir.Const(call.span, "tokens")))
    origin = ir.Set(call.span, (layout.origin,), tokens)
    # A context that is no parameter is known once it has been set, which is before the loop.
    out: list[ir.Instr] = [origin] if mark.context < original.parameters else []
    for instr in body:
        match instr:
            case ir.Set(targets=targets) if mark.context in targets:
                out += [instr, origin]
            case ir.Draw() if guidance.languages or guidance.closed:
                out.append(
                    replace(instr, plan=_plan(call, guidance, mark, layout, budget_lookahead))
                )
            case ir.DrawnText() if guidance.checks:
                out += _checks(call, guidance, mark, layout)
            case ir.DrawnText():
                pass
            case _:
                out.append(instr)
    parameters = original.parameters + len(captured)
    extra = tuple(ir.Local(call.span, slot) for slot in captured)
    return (
        ir.Function(name, parameters, slots, tuple(out), original.span),
        replace(call, function=name, args=(*call.args, *extra)),
    )


@dataclass(frozen=True)
class _Layout:
    """The slots of a copy. of_original: where the original's slots are; of_caller: where what the
    caller's expressions read is; origin: the context's number of tokens where the text begins;
    settled: the part of the text so far that no stop can take back."""

    of_original: Mapping[int, int]
    of_caller: Mapping[int, int]
    origin: int
    settled: int

    def moved(self, e: ir.Expr) -> ir.Expr:
        """An expression of the caller over the copy's slots."""
        moved: ir.Expr = renumbered(e, self.of_caller)
        return moved


def _layout(
    original: ir.Function, call: ir.Call, guidance: Guidance, captured: list[int]
) -> tuple[tuple[str, ...], _Layout]:
    """The copy's slots: parameters, captured values, the original's locals, then its own."""
    n, k = original.parameters, len(captured)
    own = sorted(set().union(*map(bound, guidance.expressions)))
    origin = len(original.slots) + k
    settled, first = origin + 1, origin + 2
    slots = (
        *original.slots[:n],
        *(f".given{i}" for i in range(k)),
        *original.slots[n:],
        ".origin",
        ".so_far",
        *(f".each{i}" for i in range(len(own))),
    )
    of_original = {old: old if old < n else old + k for old in range(len(original.slots))}
    of_caller = {old: n + i for i, old in enumerate(captured)}
    of_caller |= {call.target: settled} | {old: first + i for i, old in enumerate(own)}
    return slots, _Layout(of_original, of_caller, origin, settled)


def _plan(
    call: ir.Call,
    guidance: Guidance,
    mark: ir.DrawnText,
    layout: _Layout,
    budget_lookahead: bool,
) -> ProposalPlan[ir.Expr]:
    """The plan of the copy's draw: the text is in all of the languages when it is complete."""
    parts = tuple((span, layout.moved(e)) for span, e in guidance.languages)
    completion = CompletionConstraint(
        all_of(call.span, [e for _, e in parts]),
        mark.ends,
        layout.origin,
        mark.stop,
        budget_lookahead,
        (guidance.closed, ir.Local(call.span, mark.closed)) if guidance.closed else None,
        guidance.decided,
        parts,
    )
    spans = dict.fromkeys(span for span, _ in guidance.languages)
    absorbed = [Absorbed(s, means(guidance, s)) for s in spans]
    if guidance.closed:
        absorbed.append(Absorbed(guidance.closed, "closed"))
    return ProposalPlan(completion=completion, absorbed=tuple(absorbed))


def _checks(
    call: ir.Call, guidance: Guidance, mark: ir.DrawnText, layout: _Layout
) -> list[ir.Instr]:
    """The checks of the text so far, at the end of each round of the loop."""
    args = (ir.Local(call.span, mark.text), ir.Local(call.span, mark.ends))
    settled = ir.Builtin(call.span, ".settled", args)
    return [
        ir.Set(call.span, (layout.settled,), settled),
        *(ir.Condition(span, layout.moved(e), early=True) for span, e in guidance.checks),
    ]


def means(guidance: Guidance, condition: Span) -> str:
    """How a draw looks ahead to a condition, of whose language masks may not follow some parts."""
    unfollowed, tried = guidance.unfollowed.get(condition), guidance.tried.get(condition)
    if unfollowed:
        return f"automaton, weaker: {some_of(unfollowed)}"
    return f"automaton, in part: {some_of(tried)}" if tried else "automaton"


def some_of(parts: Collection[str]) -> str:
    """The first few of the parts of a language, in a line."""
    shown = list(parts)[:SHOWN]
    return ", ".join(shown) + (f", and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")


def with_own_sites(functions: Mapping[str, ir.Function]) -> dict[str, ir.Function]:
    """The functions with a site of its own for every draw: a copy begins with its original's."""
    sites = [i.site for f in functions.values() for i in f.body if isinstance(i, ir.Draw)]
    used, unused = set[int](), count(max(sites, default=0) + 1)
    result = {}
    for name, function in functions.items():
        body = list(function.body)
        for pc, instr in enumerate(body):
            if isinstance(instr, ir.Draw):
                if instr.site in used:
                    body[pc] = instr = replace(instr, site=next(unused))
                used.add(instr.site)
        result[name] = replace(function, body=tuple(body))
    return result

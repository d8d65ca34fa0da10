"""Conditions on a whole text, taken into its drawing: as a constraint on its tokens, or as checks of its beginning.

`s ~ text(...)` calls the prelude's function; each call that conditions follow gets a copy of its own, whose draw is
guided by the language that they describe and whose loop checks what can be known early. The conditions stay where they
are: a mask may allow too much, and then they decide; it never refuses a text that they would let live.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import (
    asks_model,
    assigned,
    bound,
    calls_out,
    conjuncts,
    free,
    reads_context,
    renumbered,
    substitute,
)
from fkdsl.ir.passes.regular import language_of

OPAQUE: ir.Expr | None = None


@dataclass
class Taken:
    """What was taken from the conditions after a text. languages and checks: (condition's span, expression over the
    caller's slots); a check reads the text's slot for the beginning of the text. left: conditions and why they stay."""

    languages: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    checks: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    left: list[tuple[Span, ir.Expr]] = field(default_factory=list)

    @property
    def decided(self) -> tuple[Span, ...]:
        """Conditions of which every part is in a language."""
        partly = {s for s, _ in [*self.checks, *self.left]}
        return tuple(dict.fromkeys(s for s, _ in self.languages if s not in partly))


def guide_texts(program: ir.Program, *, automata: bool, early: bool, ahead: bool) -> ir.Program:
    """Every call of the prelude's `text` that conditions follow, with a copy of its own."""
    original = program.functions.get("text")
    if original is None or not original.span.source.name.startswith("<prelude"):
        return program
    functions = dict(program.functions)
    for name, function in program.functions.items():
        body = list(function.body)
        for pc, instr in enumerate(function.body):
            if isinstance(instr, ir.Call) and instr.function == "text":
                taken = conditions_on(program, function, pc, instr.target, automata=automata, early=early)
                if taken.languages or taken.checks:
                    copy = f"text {len(functions)}"
                    captured = sorted(
                        {s for _, e in [*taken.languages, *taken.checks] for s in free(e)} - {instr.target}
                    )
                    functions[copy] = _copy(original, copy, instr, taken, captured, ahead)
                    extra = tuple(ir.Local(instr.span, s) for s in captured)
                    body[pc] = replace(instr, function=copy, args=(*instr.args, *extra))
        functions[name] = replace(function, body=tuple(body))
    if not any(isinstance(i, ir.Call) and i.function == "text" for f in functions.values() for i in f.body):
        del functions["text"]
    return replace(program, functions=functions)


def conditions_on(
    program: ir.Program, function: ir.Function, at: int, target: int, *, automata: bool = True, early: bool = True
) -> Taken:
    """The conditions that every particle passes after the draw of a text and that speak of the text alone."""
    labels = {i.name: pc for pc, i in enumerate(function.body) if isinstance(i, ir.Label)}
    values: dict[int, ir.Expr | None] = {}
    taken, pc, seen = Taken(), at + 1, set[int]()
    while pc not in seen:
        seen.add(pc)
        instr = function.body[pc]
        match instr:
            case ir.Jump(label=label):
                pc = labels[label]
                continue
            case ir.Branch() | ir.Return() | ir.Next():
                break
            case ir.Set(targets=(slot,), value=value):
                values[slot] = _known(program, value, values)
            case ir.Condition(span=span, test=test):
                for part in conjuncts(inlined(program, test)):
                    known = _known(program, part, values)
                    if known is not None and target in free(known):
                        _take(program, taken, span, known, target, automata=automata, early=early)
                    elif target in free(part) or known is None:
                        taken.left.append((span, part))
            case _:
                values.update(dict.fromkeys(assigned(instr), OPAQUE))
        pc += 1
    return taken


def _known(program: ir.Program, e: ir.Expr, values: dict[int, ir.Expr | None]) -> ir.Expr | None:
    """The expression over the slots as they were when the text was drawn; None if it reads what came later."""
    if any(s in values and values[s] is None for s in free(e)):
        return None
    if reads_context(program, e) or asks_model(program, e) or calls_out(program, e):
        return None
    return substitute(inlined(program, e), {s: v for s, v in values.items() if v is not None})


def _take(
    program: ir.Program, taken: Taken, span: Span, e: ir.Expr, target: int, *, automata: bool, early: bool
) -> None:
    for part in conjuncts(inlined(program, e)):
        language = language_of(part, target) if automata else None
        if language is not None:
            taken.languages.append((span, language))
            continue
        check = early_form(part, target) if early else None
        if check is not None:
            taken.checks.append((span, check))
        else:
            taken.left.append((span, part))


def _copy(
    original: ir.Function, name: str, call: ir.Call, taken: Taken, captured: list[int], ahead: bool
) -> ir.Function:
    """The prelude's `text` with the captured slots as further parameters, its draw guided, its loop with checks."""
    n, k = original.parameters, len(captured)
    shift = {old: old if old < n else old + k for old in range(len(original.slots))}
    slots = [*original.slots[:n], *(f".given{i}" for i in range(k)), *original.slots[n:], ".origin", ".so_far"]
    origin, so_far = len(slots) - 2, len(slots) - 1
    each = sorted({slot for _, e in [*taken.languages, *taken.checks] for slot in bound(e)})
    inner = {slot: len(slots) + i for i, slot in enumerate(each)}
    slots += [f".each{i}" for i in range(len(each))]
    at = {slot: i for i, slot in enumerate(slots)}
    context, until = at["lm"], at["until"]
    inside = {old: n + i for i, old in enumerate(captured)} | {call.target: so_far} | inner
    body = [renumbered(i, shift) for i in original.body]
    tokens = ir.Operate(call.span, "attribute", (ir.Local(call.span, context), ir.Const(call.span, "tokens")))
    out: list[ir.Instr] = [ir.Set(call.span, (origin,), tokens)]
    top = next(i.name for i in body if isinstance(i, ir.Label))
    for instr in body:
        if isinstance(instr, ir.Draw) and taken.languages:
            text = ir.TextGuide(
                _all_of(call.span, [_moved(e, inside) for _, e in taken.languages]),
                until, origin, at["stop"], ahead, taken.decided,
            )  # fmt: skip
            spans = dict.fromkeys(span for span, _ in taken.languages)
            absorbed = tuple(ir.Absorbed(s, "automaton") for s in spans)
            out.append(replace(instr, guide=ir.Guide(absorbed=absorbed, text=text)))
            continue
        if isinstance(instr, ir.Jump) and instr.label == top and taken.checks:
            settled = (ir.Local(call.span, at["s"]), ir.Local(call.span, until))
            out.append(ir.Set(call.span, (so_far,), ir.Builtin(call.span, ".settled", settled)))
            out += [ir.Condition(span, _moved(e, inside)) for span, e in taken.checks]
        out.append(instr)
    return ir.Function(name, n + k, tuple(slots), tuple(out), original.span)


def _all_of(span: Span, languages: list[ir.Expr]) -> ir.Expr:
    if len(languages) == 1:
        return languages[0]
    return ir.Builtin(span, ".both", (ir.Operate(span, "list", tuple(languages)),))


def _moved(e: ir.Expr, inside: dict[int, int]) -> ir.Expr:
    """The expression over the copy's slots."""
    moved: Any = renumbered(e, inside)
    assert isinstance(moved, ir.Expr)
    return moved

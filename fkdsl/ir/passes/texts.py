"""Conditions on a whole text, taken into its drawing: as a constraint on its tokens, or as checks
of its beginning.

`s ~ text(...)` calls the prelude's function; each call that conditions follow gets a copy of its
own, whose draw is guided by the language that they describe and whose loop checks what can be known
early. The conditions stay where they are: a mask may allow too much, and then they decide; it never
refuses a text that they would let live.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, count
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.folders import Folder
from fkdsl.base.spans import Source, Span
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.languages import Both, Language, is_regular
from fkdsl.engine.constraints.patterns import Unsupported
from fkdsl.engine.constraints.stops import stops_of
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.constant import UNKNOWN as UNKNOWN_YET
from fkdsl.ir.passes.constant import (
    NotConstant,
    constant_value,
    known_language,
    left_to_trials,
    why_not_followed,
)
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
from fkdsl.ir.passes.regular import all_of, language_of
from fkdsl.machine.proposal_plan import Absorbed, CompletionConstraint, ProposalPlan

OPAQUE: ir.Expr | None = None
UNKNOWN = (
    "it decides the last token only; guide the text by what it implies: a pattern, a grammar, "
    "a bound on words or length"
)
SWITCHED_OFF = "what would guide it is switched off"
FORKS = (ir.Branch, ir.Next, ir.Return, ir.Jump)
SHOWN = 3
"""Parts of a language that a message names."""
LONG = 32
"""Tokens from which on a text is long."""


@dataclass
class Taken:
    """What was taken from the conditions after a text. languages and checks: (condition's span,
    expression over the caller's slots); a check reads the text's slot for the beginning of the
    text. partly: what the masks of a language do not follow, by condition. left: what stays, and
    why."""

    languages: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    checks: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    partly: dict[Span, dict[str, None]] = field(default_factory=dict)
    left: list[Absorbed] = field(default_factory=list)

    @property
    def decided(self) -> tuple[Span, ...]:
        """Conditions of which every part is in a language."""
        partly = {s for s, _ in self.checks} | {a.span for a in self.left} | set(self.partly)
        return tuple(dict.fromkeys(s for s, _ in self.languages if s not in partly))


@dataclass(frozen=True)
class Settings:
    """automata, early, ahead: which kinds of guidance are switched on. folders: where the files are
    that a source names."""

    automata: bool = True
    early: bool = True
    ahead: bool = True
    folders: Mapping[Source, Folder] = field(default_factory=dict)


def guide_texts(program: ir.Program, settings: Settings) -> ir.Program:
    """Every call of the prelude's `text` that conditions follow, with a copy of its own. Raises
    ProgramError where every particle must draw a text that is known not to exist."""
    original = program.functions.get("text")
    if original is None or not original.span.source.name.startswith("<prelude"):
        return program
    functions = dict(program.functions)
    outside, warnings, errors = list(program.outside), list(program.warnings), list[Diagnostic]()
    for name, function in program.functions.items():
        body = list(function.body)
        for pc, instr in enumerate(function.body):
            if not (isinstance(instr, ir.Call) and instr.function == "text"):
                continue
            taken = conditions_on(program, function, pc, instr.target, settings)
            for found in contradictions(instr, taken, settings.folders):
                if name == program.entry and not any(
                    isinstance(i, FORKS) for i in function.body[:pc]
                ):
                    errors.append(found)
                else:  # it may never be drawn
                    warnings.append(
                        replace(found, severity="warning", label="whoever draws it dies")
                    )
            outside += taken.left
            warnings += late(instr, taken)
            if taken.languages or taken.checks:
                copy = f"text {len(functions)}"
                captured = sorted(
                    {s for _, e in [*taken.languages, *taken.checks] for s in free(e)}
                    - {instr.target}
                )
                functions[copy] = _copy(original, copy, instr, taken, captured, settings.ahead)
                extra = tuple(ir.Local(instr.span, s) for s in captured)
                body[pc] = replace(instr, function=copy, args=(*instr.args, *extra))
        functions[name] = replace(function, body=tuple(body))
    if errors:
        raise ProgramError(errors)
    if not any(
        isinstance(i, ir.Call) and i.function == "text" for f in functions.values() for i in f.body
    ):
        del functions["text"]
    return replace(
        program,
        functions=_with_own_sites(functions),
        outside=tuple(outside),
        warnings=tuple(warnings),
    )


def conditions_on(
    program: ir.Program, function: ir.Function, at: int, target: int, settings: Settings
) -> Taken:
    """The conditions that every particle passes after the draw of a text and that speak of the text
    alone."""
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
                        _take(program, taken, span, known, target, settings)
                    elif target in free(part) and (reason := _why_unknown(program, part)):
                        taken.left.append(Absorbed(span, reason))
            case _:
                values.update(dict.fromkeys(assigned(instr), OPAQUE))
        pc += 1
    return taken


def _known(program: ir.Program, e: ir.Expr, values: dict[int, ir.Expr | None]) -> ir.Expr | None:
    """The expression over the slots as they were when the text was drawn; None if it reads what
    came later."""
    if _why_unknown(program, e) or any(s in values and values[s] is None for s in free(e)):
        return None
    return substitute(inlined(program, e), {s: v for s, v in values.items() if v is not None})


def _why_unknown(program: ir.Program, e: ir.Expr) -> str:
    if asks_model(program, e):
        return "it asks a model; write what can be said without one as a condition of its own, before it"
    if calls_out(program, e):
        return "it calls Python; write what can be said without it as a condition of its own, before it"
    return (
        "it looks at a context; write it over the text that was drawn"
        if reads_context(program, e)
        else ""
    )


def _take(
    program: ir.Program, taken: Taken, span: Span, e: ir.Expr, target: int, settings: Settings
) -> None:
    for part in conjuncts(inlined(program, e)):
        language = language_of(part, target)
        reason = why_not_followed(language, settings.folders) if language is not None else ""
        if language is not None and not reason and settings.automata:
            taken.languages.append((span, language))
            parts = left_to_trials(language, settings.folders)
            if parts:
                taken.partly.setdefault(span, {}).update(dict.fromkeys(parts))
            continue
        check = early_form(part, target)
        if check is not None and settings.early:
            taken.checks.append((span, check))
            continue
        if (language is not None and not reason) or check is not None:
            taken.left.append(Absorbed(span, SWITCHED_OFF))
            continue
        if reason:
            reason = f"no mask follows it: {reason}; write it without, or as several conditions"
        taken.left.append(Absorbed(span, reason or UNKNOWN))


def contradictions(
    call: ir.Call, taken: Taken, folders: Mapping[Source, Folder]
) -> list[Diagnostic]:
    """A mistake if no text at all is in the languages that are known already."""
    known = [
        (s, found)
        for s, e in taken.languages
        if (found := known_language(e, folders)) and is_regular(found)
    ]
    until = _stops(call, folders)
    spans = list(dict.fromkeys(s for s, _ in known))
    if not _is_empty(known, until):
        return []
    pairs = [*combinations(spans, 1), *combinations(spans, 2)]
    spans = next(
        (list(p) for p in pairs if _is_empty([k for k in known if k[0] in p], until)), spans
    )
    together = f"these {len(spans)} conditions together" if len(spans) > 1 else "this condition"
    notes = [f"with line {s.line}: {s.text}" for s in spans[:-1]]
    if until:
        notes.append(
            f"the text of line {call.span.line} ends before {' or '.join(map(repr, until))}"
        )
    help = "loosen one of them, or compare the pattern with what the text may hold"
    return [
        Diagnostic(
            "FK502", f"no text satisfies {together}", spans[-1], "Z would be 0", help, tuple(notes)
        )
    ]


def _stops(call: ir.Call, folders: Mapping[Source, Folder]) -> tuple[str, ...]:
    """The stops of a call of `text`; none where they are not known yet."""
    try:
        return stops_of(constant_value(ir.Builtin(call.span, ".stops", call.args[1:2]), folders))
    except NotConstant:
        return ()


def _is_empty(known: list[tuple[Span, Language]], until: tuple[str, ...]) -> bool:
    """Whether it is known that no text is in all of the languages."""
    try:
        return bool(known) and automaton(Both(tuple(found for _, found in known)), until).is_empty
    except (TooComplex, Unsupported):
        return False


def late(call: ir.Call, taken: Taken) -> list[Diagnostic]:
    """Warnings for what is checked only when a long text is complete, none of which guides it."""
    most = call.args[2]
    found = [
        _late_part(span, parts) for span, parts in taken.partly.items() if UNKNOWN_YET not in parts
    ]
    if taken.languages or (
        isinstance(most, ir.Const) and isinstance(most.value, int) and most.value <= LONG
    ):
        return found
    help = (
        "add a condition that guides the text, such as `matches` or `len(words(s)) <= 12`, or draw its tokens in a "
        "loop and test them there"
    )
    return found + [
        Diagnostic(
            "FK501",
            "this is checked only when the text is complete",
            a.span,
            a.means,
            help,
            severity="warning",
        )
        for a in {a.span: a for a in taken.left if a.means != SWITCHED_OFF}.values()
    ]


def _late_part(span: Span, parts: Collection[str]) -> Diagnostic:
    return Diagnostic(
        "FK501",
        "a part of this is checked only when the text is complete",
        span,
        f"no mask follows {some_of(parts)}",
        "the rest guides the text; where most particles die, say what this part asks by what masks follow",
        severity="warning",
    )


def some_of(parts: Collection[str]) -> str:
    """The first few of the parts of a language, in a line."""
    shown = list(parts)[:SHOWN]
    return ", ".join(shown) + (f", and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")


def _copy(
    original: ir.Function, name: str, call: ir.Call, taken: Taken, captured: list[int], ahead: bool
) -> ir.Function:
    """The prelude's `text` with the captured slots as further parameters, its draw guided, its loop
    with checks."""
    n, k = original.parameters, len(captured)
    shift = {old: old if old < n else old + k for old in range(len(original.slots))}
    slots = [
        *original.slots[:n],
        *(f".given{i}" for i in range(k)),
        *original.slots[n:],
        ".origin",
        ".so_far",
    ]
    origin, so_far = len(slots) - 2, len(slots) - 1
    each = sorted({slot for _, e in [*taken.languages, *taken.checks] for slot in bound(e)})
    inner = {slot: len(slots) + i for i, slot in enumerate(each)}
    slots += [f".each{i}" for i in range(len(each))]
    at = {slot: i for i, slot in enumerate(slots)}
    context, ends = at["lm"], at["ends"]
    inside = {old: n + i for i, old in enumerate(captured)} | {call.target: so_far} | inner
    body = [renumbered(i, shift) for i in original.body]
    tokens = ir.Operate(
        call.span, "attribute", (ir.Local(call.span, context), ir.Const(call.span, "tokens"))
    )
    out: list[ir.Instr] = [ir.Set(call.span, (origin,), tokens)]
    top = next(i.name for i in body if isinstance(i, ir.Label))
    for instr in body:
        if isinstance(instr, ir.Draw) and taken.languages:
            parts = tuple((span, _moved(e, inside)) for span, e in taken.languages)
            text = CompletionConstraint(
                all_of(call.span, [e for _, e in parts]),
                ends,
                origin,
                at["stop"],
                ahead,
                taken.decided,
                parts,
            )
            spans = dict.fromkeys(span for span, _ in taken.languages)
            absorbed = tuple(Absorbed(s, _means(taken.partly.get(s))) for s in spans)
            out.append(replace(instr, plan=ProposalPlan(completion=text, absorbed=absorbed)))
            continue
        if isinstance(instr, ir.Jump) and instr.label == top and taken.checks:
            settled = (ir.Local(call.span, at["s"]), ir.Local(call.span, ends))
            out.append(ir.Set(call.span, (so_far,), ir.Builtin(call.span, ".settled", settled)))
            out += [ir.Condition(span, _moved(e, inside), early=True) for span, e in taken.checks]
        out.append(instr)
    return ir.Function(name, n + k, tuple(slots), tuple(out), original.span)


def _means(parts: Collection[str] | None) -> str:
    """How a draw looks ahead to a condition, of whose language no mask follows these parts."""
    return f"automaton, weaker: {some_of(parts)}" if parts else "automaton"


def _with_own_sites(functions: Mapping[str, ir.Function]) -> dict[str, ir.Function]:
    """The functions with a site of its own for every draw: copies begin with their original's."""
    sites = [i.site for f in functions.values() for i in f.body if isinstance(i, ir.Draw)]
    taken, unused = set[int](), count(max(sites, default=0) + 1)
    found = {}
    for name, function in functions.items():
        body = list(function.body)
        for pc, instr in enumerate(body):
            if isinstance(instr, ir.Draw):
                if instr.site in taken:
                    body[pc] = instr = replace(instr, site=next(unused))
                taken.add(instr.site)
        found[name] = replace(function, body=tuple(body))
    return found


def _moved(e: ir.Expr, inside: dict[int, int]) -> ir.Expr:
    """The expression over the copy's slots."""
    moved: Any = renumbered(e, inside)
    assert isinstance(moved, ir.Expr)
    return moved

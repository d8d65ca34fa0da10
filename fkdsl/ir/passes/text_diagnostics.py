"""What the compiler says of the conditions on a text: that no text satisfies them, or that they
come too late to guide it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.folders import Folder
from fkdsl.base.lazy import lazy_import
from fkdsl.base.spans import Source, Span
from fkdsl.engine.constraints.languages import Both, Language
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.stops import stops_of
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.constant import UNKNOWN, NotConstant, constant_value, known_language
from fkdsl.ir.passes.text_copies import some_of
from fkdsl.ir.passes.text_guidance import SWITCHED_OFF, Guidance
from fkdsl.ir.passes.views import has_grammar, has_json_test

if TYPE_CHECKING:
    from fkdsl.engine.constraints import automaton, expressions, json_narrowing, language_parts
else:
    automaton = lazy_import("fkdsl.engine.constraints.automaton")
    expressions = lazy_import("fkdsl.engine.constraints.expressions")
    json_narrowing = lazy_import("fkdsl.engine.constraints.json_narrowing")
    language_parts = lazy_import("fkdsl.engine.constraints.language_parts")

WITHOUT = (
    "add a condition that guides the text, such as `matches` or `len(words(s)) <= 12`, or draw its "
    "tokens in a loop and test them there"
)
WITH_SCHEMA = (
    "the schema or grammar guides the text; where most particles die, add what this implies for "
    "one value, such as a bound, or draw the values in texts of their own"
)
LONG = 32
"""Tokens from which on a text is long."""
ARITHMETIC = ("what it says of", "a division by")
"""How the reasons begin why no mask follows what is computed of a text, which in a short text is
soon known."""


def contradictions(
    call: ir.Call, mark: ir.DrawnText, guidance: Guidance, folders: Mapping[Source, Folder]
) -> list[Diagnostic]:
    """A mistake if no text at all is in the languages that are known before the program runs."""
    known = [
        (place, language)
        for place, e in guidance.languages
        if (language := known_language(e, folders))
    ]
    until = _stops(call, mark, folders)
    if not _is_empty(known, until):
        return []
    spans = list(dict.fromkeys(place for place, _ in known))
    fewer = [*combinations(spans, 1), *combinations(spans, 2)]
    spans = next(
        (list(p) for p in fewer if _is_empty([k for k in known if k[0] in p], until)), spans
    )
    together = f"these {len(spans)} conditions together" if len(spans) > 1 else "this condition"
    notes = [f"with line {s.line}: {s.text}" for s in spans[:-1]]
    if until:
        stops = " or ".join(map(repr, until))
        notes.append(f"the text of line {call.span.line} ends before {stops}")
    is_json = any(has_json_test(e) for place, e in guidance.languages if place in spans)
    with_what = "the schema" if is_json else "the pattern"
    which = "one of them" if len(spans) > 1 else "it"
    help = f"loosen {which}, or compare {with_what} with what the text may hold"
    message = f"no text satisfies {together}"
    return [Diagnostic("FK502", message, spans[-1], "Z would be 0", help, tuple(notes))]


def _stops(call: ir.Call, mark: ir.DrawnText, folders: Mapping[Source, Folder]) -> tuple[str, ...]:
    """The stops of a call that draws a text; none where they are not known yet."""
    until = call.args[mark.until]
    try:
        return stops_of(constant_value(ir.Builtin(call.span, ".stops", (until,)), folders))
    except NotConstant:
        return ()


def _is_empty(known: list[tuple[Span, Language]], until: tuple[str, ...]) -> bool:
    """Whether it is known that no text is in all of the languages."""
    regular = tuple(of for _, of in known if language_parts.is_regular(of))
    others = [of for _, of in known if not language_parts.is_regular(of)]
    if others and json_narrowing.is_impossible(others):
        return True
    try:
        return bool(regular) and automaton.automaton(Both(regular), until).is_empty
    except (expressions.TooComplex, Unsupported):
        return False


def late(call: ir.Call, mark: ir.DrawnText, guidance: Guidance) -> list[Diagnostic]:
    """Warnings for what is checked only when a long text is complete: conditions, or parts of them,
    that no mask follows and that cannot be seen to fail before, whatever else guides the text."""
    match call.args[mark.max_tokens]:
        case ir.Const(value=int(n)):
            is_short = n <= LONG
        case _:
            is_short = False
    by_schema = {place for place, language in guidance.languages if has_grammar(language)}
    warnings = [
        _part_is_late(place, parts)
        for place, parts in guidance.unfollowed.items()
        if UNKNOWN not in parts and not (is_short and all(p.startswith(ARITHMETIC) for p in parts))
    ]
    if is_short:
        return warnings
    help = WITH_SCHEMA if by_schema else WITHOUT
    unused = {a.span: a for a in guidance.unused if a.means != SWITCHED_OFF}
    guided = {place for place, _ in [*guidance.languages, *guidance.checks]}
    late = [_is_late(a.span, a.means, a.span in guided, help) for a in unused.values()]
    return warnings + [d for d in late if d.span not in guidance.unfollowed]


def left_out(
    call: ir.Call, mark: ir.DrawnText, guidance: Guidance, folders: Mapping[Source, Folder]
) -> dict[Span, str]:
    """The conditions whose languages are left out of the automaton of all of them, since it would
    be too complex, and why; as far as they are known before the program runs."""
    known = [(place, known_language(e, folders)) for place, e in guidance.languages]
    regular = [
        (p, language)
        for p, language in known
        if language is None or language_parts.is_regular(language)
    ]
    until, result = _stops(call, mark, folders), dict[Span, str]()
    while regular and all(language is not None for _, language in regular):
        try:
            automaton.automaton(Both(tuple(of for _, of in regular if of is not None)), until)
        except expressions.TooComplex as error:
            place, _ = regular.pop()
            result.setdefault(place, f"an automaton with {error}")
        except Unsupported:
            break
        else:
            break
    return result


def _is_late(place: Span, why: str, partly: bool, help: str) -> Diagnostic:
    message = f"{'a part of ' * partly}this is checked only when the text is complete"
    return Diagnostic("FK501", message, place, why, help, severity="warning")


def _part_is_late(place: Span, parts: Collection[str]) -> Diagnostic:
    help = (
        "the rest guides the text; where most particles die, say what this part asks by what "
        "masks follow"
    )
    message = "a part of this is checked only when the text is complete"
    label = f"no mask follows {some_of(parts)}"
    return Diagnostic("FK501", message, place, label, help, severity="warning")

"""What is shown of what stands under the pointer: types, signatures, documentation, how a draw is
made, and the page of an error's code. In Markdown."""

from __future__ import annotations

import re

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.cursor import word_at
from fkdsl.editor.pages import page, summary
from fkdsl.editor.signatures import (
    Signature,
    escaped,
    method_signature,
    option_doc,
    program_signature,
    signature,
    signature_help,
)
from fkdsl.editor.words import ATTRIBUTES, FIGURES, TILDE, TYPES, WORDS
from fkdsl.inference.methods import METHODS
from fkdsl.ir import nodes as ir
from fkdsl.ir.guides import guides, kernel
from fkdsl.language.check.scopes import World
from fkdsl.language.codes import CODES
from fkdsl.language.navigation.symbols import Occurrence

_CODE = re.compile(r"FK\d{3}\b")
_NAMED = re.compile(r"[ \t]*=(?!=)")
"""What follows the name of an argument."""
CODE_LANGUAGE = "fk"


@dataclass(frozen=True)
class Hover:
    """Markdown, and what it is about."""

    text: str
    span: Span


def hover(analysis: Analysis, offset: int) -> Hover | None:
    """What is known of the place."""
    start, end = word_at(analysis.source, offset)
    span = Span(analysis.source, start, end)
    if _CODE.fullmatch(span.text) and span.text in CODES:
        return Hover(page(span.text) or CODES[span.text], span)
    parts: list[str] = []
    occurrence = analysis.occurrence(offset)
    if occurrence is not None:
        span = occurrence.span
        parts += _of_symbol(analysis, occurrence)
    else:
        parts += _of_word(analysis, offset, span) or _of_argument(analysis, span)
    parts += _of_draw(analysis, offset, occurrence)
    parts += _of_condition(analysis, offset, span)
    parts += _of_mistakes(analysis, offset)
    if not parts:
        return None
    return Hover("\n\n".join(parts), span if span.text else Span(analysis.source, offset, offset))


def _block(code: str) -> str:
    runs = [len(run) for run in re.findall("`+", code)]
    fence = "`" * max(3, *(n + 1 for n in runs), 3)
    return f"{fence}{CODE_LANGUAGE}\n{code}\n{fence}"


def shown_signature(s: Signature) -> str:
    """A signature and its documentation."""
    return _block(s.label) + (f"\n\n{s.doc}" if s.doc else "")


def _of_symbol(analysis: Analysis, o: Occurrence) -> list[str]:
    symbol, world = o.symbol, analysis.world
    name = symbol.name
    match symbol.kind:
        case "variable":
            return _variable(analysis, o)
        case "function" | "extern" | "builtin":
            found = signature(world, name)
            return [shown_signature(found)] if found is not None else []
        case "program":
            found = program_signature(world, name) if world is not None else None
            return [shown_signature(found)] if found is not None else []
        case "method":
            return [method_text(name)]
        case "option":
            options = METHODS[symbol.home].all_options if symbol.home in METHODS else {}
            return [option_doc(name, options[name])] if name in options else []
        case "model":
            return _model(world, name)
        case "query" | "index":
            definition = analysis.index.definition(symbol)
            text = definition.node.span.text if definition is not None else f"{symbol.kind} {name}"
            return [_block(text)]
        case "attribute":
            return [ATTRIBUTES[name]]
        case "figure":
            return [FIGURES[name]] if name in FIGURES else []


def method_text(name: str) -> str:
    """An inference method, with a line for each option."""
    found = method_signature(name)
    if found is None:
        return ""
    options = METHODS[name].all_options.items()
    lines = [f"- `{option}`: {option_doc(option, o)}" for option, o in options]
    return "\n\n".join([shown_signature(found), "\n".join(lines)]).rstrip()


def _variable(analysis: Analysis, o: Occurrence) -> list[str]:
    t = analysis.type_of(o)
    known = "" if t is None else f": {t}"
    first = analysis.index.definition(o.symbol)
    where = ""
    if first is not None and first.defines:
        where = f"a parameter of `{o.symbol.function}`"
    elif first is not None and first.span != o.span:
        where = f"first set in line {first.span.line}"
    return [_block(f"{o.symbol.name}{known}"), *([where] if where else [])]


def _model(world: World | None, name: str) -> list[str]:
    declared = world.models.get(name) if world is not None else None
    if declared is None:
        return []
    lines = declared.span.text.splitlines()
    return [_block("\n".join(lines[:8] + (["    ..."] if len(lines) > 8 else [])))]


def _of_word(analysis: Analysis, offset: int, span: Span) -> list[str]:
    """What a word of the language means, where it is one and not part of a text or comment."""
    token = analysis.token_at(offset)
    if token is None or token.type in ("STRING", "FSTRING"):
        return []
    if token.type == "TILDE":
        return [TILDE]
    word = span.text
    if token.type != "NAME" and word in WORDS:
        return [f"`{word}`: {WORDS[word]}"]
    if token.type == "NAME" and str(token) == word and word in TYPES and _is_type(analysis, span):
        return [f"`{word}`: {TYPES[word]}"]
    return []


def _of_argument(analysis: Analysis, span: Span) -> list[str]:
    """The parameter that an argument names, of a function of the language."""
    named = _NAMED.match(analysis.text, span.end)
    help = signature_help(analysis, named.end()) if named and span.text else None
    if help is None or help.active is None or help.signature.names[help.active] != span.text:
        return []
    found = help.signature
    return [_block(found.parameters[help.active]), f"an argument of `{found.name}`. {found.doc}"]


def _is_type(analysis: Analysis, span: Span) -> bool:
    """Whether a type may stand where a word does: behind a colon, an arrow, or in brackets."""
    before = analysis.text[: span.start].rstrip()
    return before.endswith((":", "->", "["))


def _of_draw(analysis: Analysis, offset: int, o: Occurrence | None) -> list[str]:
    """How the draw is made whose target or `~` stands here, as `fkdsl explain` says it."""
    draws = analysis.compiled.draws
    statement = next((s for s in draws if s.start <= offset <= s.end), None)
    if statement is None or statement.source is not analysis.source:
        return []
    tilde = analysis.text.find("~", statement.start, statement.end)
    if not statement.start <= offset <= tilde + 1:
        return []
    return ["\n".join(draw_lines(draw)) for draw in dict.fromkeys(draws[statement])]


def draw_lines(draw: ir.Draw) -> list[str]:
    """A draw in words: what it draws, and what guides it."""
    words = kernel(draw)
    lines = [words[0].upper() + words[1:] + "."]
    found = guides(draw)
    if found:
        lines += ["", "Looking ahead to", ""]
    lines += [f"- line {g.span.line}, {escaped(g.words)}" for g in found]
    return lines


def _of_condition(analysis: Analysis, offset: int, span: Span) -> list[str]:
    """Why no draw looks ahead to the condition whose first word this is."""
    if span.text not in ("condition", "observe", "factor"):
        return []
    for place, why in analysis.compiled.outside.items():
        if place.source is analysis.source and place.start <= offset <= place.end:
            return [f"Not known before it is reached: {why}."]
    return []


def _of_mistakes(analysis: Analysis, offset: int) -> list[str]:
    """The codes of what is wrong here, each with the beginning of its page."""
    here = [
        d.code
        for d in (*analysis.diagnostics, *analysis.compiled.diagnostics)
        if d.span.source is analysis.source and d.span.start <= offset <= d.span.end
    ]
    return [summary(code) for code in dict.fromkeys(here)]

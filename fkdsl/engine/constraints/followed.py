"""What llguidance follows of a schema or a grammar: the whole, or a weaker one, with what is left
to the condition.

>>> from fkdsl.engine.constraints.languages import JsonText
>>> followed(JsonText('{"type": "array", "uniqueItems": true}')).left
('`uniqueItems` at $',)

Law: whatever the schema or grammar holds, what is followed of it holds too, up to what
docs/language.md says of `valid_json` and `parses`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fkdsl.engine.constraints.followed_grammars import ignores, rewritten
from fkdsl.engine.constraints.languages import GrammarText, JsonText, Language
from fkdsl.engine.constraints.matchers import UNFORCED, compile_error, examined, json_grammar
from fkdsl.engine.constraints.patterns import Unsupported
from fkdsl.engine.constraints.relaxed_schemas import relaxed
from fkdsl.engine.constraints.weaker_schemas import Weaker

LONGEST_SOURCE = 200_000
"""Characters of a schema or grammar that is read."""
UNSATISFIABLE = "Unsatisfiable schema"
LLGUIDANCE_OPTIONS = {"x-guidance": {"lenient": True, "coerce_one_of": True}}


@dataclass(frozen=True)
class Followed:
    """grammar: as llguidance reads it, "" where nothing is followed. left: what of it is left to
    the condition. mistake: why nothing is followed, in llguidance's words."""

    grammar: str
    left: tuple[str, ...] = ()
    mistake: str = ""


@lru_cache(maxsize=128)
def followed(language: Language) -> Followed:
    """What is followed of a schema or grammar."""
    match language:
        case JsonText(schema=text) | GrammarText(grammar=text) if len(text) > LONGEST_SOURCE:
            return Followed("", (), f"longer than {LONGEST_SOURCE:,} characters")
        case JsonText():
            try:
                return _schema(language)
            except RecursionError:
                return Followed("", (), "nested too deep")
        case GrammarText(grammar):
            return _grammar(grammar)
    return Followed("", (), f"no grammar: {language}")


def _grammar(grammar: str) -> Followed:
    text = f"{grammar}\n{UNFORCED}"
    if not ignores(grammar) and not compile_error(text):
        return Followed(text)
    try:
        text, left = rewritten(grammar)
    except (ValueError, Unsupported) as error:
        return Followed("", (), str(error))
    mistake = compile_error(text)
    return Followed("", (), mistake) if mistake else Followed(text, left)


def _schema(language: JsonText) -> Followed:
    try:
        value = json.loads(language.schema) if language.schema else {}
    except ValueError as error:
        return Followed("", (), str(error))
    if language.order and language.format:
        grammar = json_grammar(value)
        mistake = compile_error(grammar)
        if not mistake:
            return Followed(grammar)
        if mistake.startswith(UNSATISFIABLE):
            return Followed("", (), mistake)
    return _weaker(value, language)


def _weaker(value: Any, language: JsonText) -> Followed:
    from referencing.exceptions import Unresolvable

    try:
        made = Weaker(value, language.format, language.order)
    except Unresolvable as error:
        return Followed("", (), f"its $ref {error.ref!r} leads nowhere")
    grammar = _with_options(made.value)
    mistake, warnings = examined(grammar)
    if mistake.startswith(UNSATISFIABLE):
        return Followed("", (), mistake)
    left = list(made.left)
    if mistake:
        kept, more = relaxed(made.value, lambda s: not compile_error(_with_options(s)))
        grammar = _with_options(kept)
        mistake, warnings = examined(grammar)
        left += more
    left += [
        "`oneOf`, of which it follows that one at least fits"
        for w in warnings
        if w.startswith("oneOf")
    ]
    left += ["a bound on properties" for w in warnings if w.startswith("min/maxProperties")]
    return Followed("" if mistake else grammar, tuple(dict.fromkeys(left)), mistake)


def _with_options(schema: Any) -> str:
    return json_grammar({**schema, **LLGUIDANCE_OPTIONS} if isinstance(schema, dict) else schema)

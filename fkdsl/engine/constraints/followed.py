"""The grammar by which llguidance follows a schema or a grammar: the whole of it or a weaker one,
and what is left out.

>>> from fkdsl.engine.constraints.languages import JsonText
>>> followed(JsonText('{"type": "array", "uniqueItems": true}')).left_out
('`uniqueItems` at $',)

Law: every text of the schema or grammar is one of the grammar that is followed, up to what
docs/language.md says of `valid_json` and `parses`. The condition itself checks what is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.followed_grammars import ignores, rewritten
from fkdsl.engine.constraints.languages import LONGEST_SOURCE, GrammarText, JsonText, Language
from fkdsl.engine.constraints.matchers import UNFORCED, compile_error, compile_report, json_grammar
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.relaxed_schemas import relaxed
from fkdsl.engine.constraints.slow_schemas import MOST_JOINED, has_long_joins, is_slow
from fkdsl.engine.constraints.weaker_schemas import Weaker

UNSATISFIABLE = "Unsatisfiable schema"
JOINED = f"one text has more than {MOST_JOINED} patterns"
BOUND_ON_OTHERS = "min/maxProperties"
"""How llguidance's warning begins that it bounds the number of unnamed properties alone."""
MOST_SPACE = 0x3001
"""Beyond this code point no character is white space."""
LLGUIDANCE_OPTIONS = {"x-guidance": {"lenient": True, "coerce_one_of": True}}


@dataclass(frozen=True)
class Followed:
    """What llguidance follows. grammar: in llguidance's dialect, "" where it follows nothing.
    left_out: a line for each part that only the condition checks. mistake: why it follows nothing,
    in its own words. schema: for a schema, what is followed of it in the form that `Weaker` gives
    schemas, or a weaker one."""

    grammar: str
    left_out: tuple[str, ...] = ()
    mistake: str = ""
    schema: Any = True


@lru_cache(maxsize=128)
def followed(language: Language) -> Followed:
    """What llguidance follows of a schema or grammar."""
    match language:
        case JsonText(schema=text) | GrammarText(grammar=text) if len(text) > LONGEST_SOURCE:
            return Followed("", (), f"longer than {LONGEST_SOURCE:,} characters")
        case JsonText():
            try:
                whole = _schema(language)
                return _with_white_space(whole) if language.stripped else whole
            except RecursionError:
                return Followed("", (), "nested too deep")
        case GrammarText(grammar):
            return _grammar(grammar)
    return Followed("", (), f"no grammar: {language}")


def _with_white_space(schema: Followed) -> Followed:
    """A schema with what `strip` takes away at both ends."""
    if not schema.grammar:
        return schema
    space = "".join(rf"\u{{{i:x}}}" for i in range(MOST_SPACE) if chr(i).isspace())
    grammar = schema.grammar.replace("start: ", "start: SPACE? value SPACE?\nvalue: ", 1)
    return replace(schema, grammar=f"{grammar}SPACE: /[{space}]+/\n")


def _grammar(grammar: str) -> Followed:
    text = f"{grammar}\n{UNFORCED}"
    if not ignores(grammar) and not compile_error(text):
        return Followed(text)
    try:
        text, left_out = rewritten(grammar)
    except (ValueError, Unsupported) as error:
        return Followed("", (), str(error))
    mistake = compile_error(text)
    return Followed("", (), mistake) if mistake else Followed(text, left_out)


def _schema(language: JsonText) -> Followed:
    try:
        value = json.loads(language.schema) if language.schema else {}
    except ValueError as error:
        return Followed("", (), str(error))
    if language.order and language.format and not is_slow(value):
        normal = _normal(value)
        grammar = json_grammar(_spaced(value, language.spaces))
        mistake = JOINED if has_long_joins(normal) else compile_error(grammar)
        if not mistake:
            return Followed(grammar, schema=normal)
        if mistake.startswith(UNSATISFIABLE):
            return Followed("", (), mistake)
    return _weaker(value, language)


def _weaker(value: Any, language: JsonText) -> Followed:
    from referencing.exceptions import Unresolvable

    try:
        weaker = Weaker(value, language.format, language.order)
    except Unresolvable as error:
        return Followed("", (), f"its $ref {error.ref!r} leads nowhere")

    def written(schema: Any) -> str:
        return _with_options(schema, language.spaces)

    def compiled(schema: Any) -> tuple[Any, str, Sequence[str]]:
        """(the schema, or a weaker one that llguidance counts right; its mistake; its warnings)."""
        if has_long_joins(schema):
            return schema, JOINED, ()
        mistake, warnings = compile_report(written(schema))
        if _miscounts(mistake, warnings):
            schema = _without_least_counts(schema)
            mistake, warnings = compile_report(written(schema))
        return schema, mistake, warnings

    left_out = list(weaker.left_out)
    kept, mistake, warnings = compiled(weaker.value)
    if mistake.startswith(UNSATISFIABLE):
        return Followed("", (), mistake)
    if mistake:
        kept, more = relaxed(
            kept, lambda s: not has_long_joins(s) and not compile_error(written(s))
        )
        kept, mistake, warnings = compiled(kept)
        left_out += more
    if kept != weaker.value and '"minProperties"' not in json.dumps(kept):
        left_out += ["a lower bound on properties"] if "minProperties" in str(weaker.value) else []
    for warning in warnings:
        if warning.startswith("oneOf"):
            left_out.append("`oneOf`, of which it follows that one at least fits")
        if warning.startswith(BOUND_ON_OTHERS):
            left_out.append("a bound on properties")
    grammar = "" if mistake else written(kept)
    return Followed(grammar, tuple(dict.fromkeys(left_out)), mistake, kept)


def _miscounts(mistake: str, warnings: Sequence[str]) -> bool:
    """Whether llguidance counts the members of an object too low: where properties that a schema
    names may be left out it counts the others alone. An upper bound is then weaker, and a lower one
    would be stronger."""
    counted = "minProperties" in mistake and "number of properties" in mistake
    return counted or any(warning.startswith(BOUND_ON_OTHERS) for warning in warnings)


def _without_least_counts(schema: Any) -> Any:
    """A schema without `minProperties`, also where it stands inside."""
    if isinstance(schema, list):
        return [_without_least_counts(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        k: v if k in ("const", "enum") else _without_least_counts(v)
        for k, v in schema.items()
        if not (k == "minProperties" and isinstance(v, int | float) and v is not True)
    }


def _normal(value: Any) -> Any:
    """A schema without what decides nothing here, its references to its own definitions."""
    from referencing.exceptions import Unresolvable

    try:
        return Weaker(value).value
    except Unresolvable:
        return True


def _with_options(schema: Any, spaces: int) -> str:
    if not isinstance(schema, dict):
        return json_grammar(_spaced(schema, spaces))
    return json_grammar(_spaced({**schema, **LLGUIDANCE_OPTIONS}, spaces))


def _spaced(schema: Any, spaces: int) -> Any:
    """A schema for llguidance with a bound on white space."""
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        return schema
    bound = {"whitespace_pattern": rf"[ \t\n\r]{{1,{spaces}}}"}
    options = bound if spaces else {"whitespace_flexible": False}
    given = schema.get("x-guidance")
    return {**schema, "x-guidance": {**options, **(given if isinstance(given, dict) else {})}}

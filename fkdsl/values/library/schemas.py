"""JSON schemas and Lark grammars, read by their libraries within bounds: whether a text fits one,
and why a text is none.

>>> schema_mistake('{"type": "strng"}')
"'strng' is not valid under any of the given schemas at $.type"
>>> unsatisfiable('{"type": "string", "minLength": 3, "maxLength": 2}')
'minLength (3) is greater than maxLength (2)'
>>> grammar_mistake("start: word"), grammar_mistake('word: "a"')
("Rule 'word' used but not defined (in rule start)", 'it has no rule `start`')

The libraries are imported when they are first used.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from fkdsl.base.deadline import OutOfTime, bounded, check
from fkdsl.base.deep import on_deep_stack
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import accepts_text, mistake
from fkdsl.engine.constraints.languages import LONGEST_SOURCE, GrammarText, JsonText
from fkdsl.values.library.parsing import GRAMMAR_PATH, build_parser, parses_whole
from fkdsl.values.library.schema_patterns import with_python_patterns
from fkdsl.values.library.validation import (
    build_validator,
    pattern_mistake_in,
    validates,
    verify_schema,
    working,
)
from fkdsl.values.signatures import BuiltinError

READING_SECONDS = 10.0
"""CPU time that reading a schema or grammar may take."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
REASON_LENGTH = 200
"""Most characters of a library's reason that are shown."""


class NameTwice(ValueError):
    """A JSON object that has a name twice."""


def load_json(s: str, names_once: bool = False) -> Any:
    """The JSON value of a text. names_once: whether no object may have a name twice, however it is
    spelled. Raises ValueError if it is no JSON."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON value")

    try:
        pairs = _with_names_once if names_once else None
        return json.loads(s, parse_constant=refuse, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _with_names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise NameTwice(f"an object of it has the name {_cut(twice, 60)!r} twice")
    return value


# --------------------------------------------------------------------- schemas


@lru_cache(maxsize=32)
def _schema(text: str) -> tuple[Any, str]:
    """(the schema's validator, ""), or (None, why it is no schema)."""
    if len(text) > LONGEST_SOURCE:
        return None, f"longer than {LONGEST_SOURCE:,} characters"
    try:
        with working():
            return _validator(with_python_patterns(_json(text))), ""
    except ValueError as error:
        return None, _cut(str(error))
    except RecursionError:
        return None, "nested too deep"
    except OutOfTime as error:
        return None, f"it takes {error} to read"


def _json(text: str) -> Any:
    try:
        return load_json(text.removeprefix("\ufeff"), names_once=True)
    except NameTwice:  # which of the two is meant is not known
        raise
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None


def _validator(schema: Any) -> Any:
    """The validator of a schema. Raises ValueError with the library's reason if it is no schema."""
    import jsonschema
    from jsonschema_specifications import REGISTRY

    if not isinstance(schema, dict | bool):
        raise ValueError("a schema is an object, true or false")
    if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
        raise ValueError("its $schema is no text")
    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        verify_schema(schema)
    except jsonschema.SchemaError as error:
        where = f" at {error.json_path}" if error.absolute_path else ""
        raise ValueError(f"{_cut(error.message)}{where}") from None
    _verify_parts(schema, kind, REGISTRY)
    return build_validator(schema)


def _verify_parts(schema: Any, kind: Any, registry: Any) -> None:
    """Raises ValueError if a $ref in the schema has no target, or if a pattern is none."""
    import referencing.exceptions
    from referencing.jsonschema import specification_with

    root = specification_with(kind.META_SCHEMA["$schema"]).create_resource(schema)
    todo = [(root, registry.with_resource("", root).resolver_with_root(root))]
    while todo:
        check()
        here, resolver = todo.pop()
        if reason := pattern_mistake_in(here.contents):
            raise ValueError(reason)
        reference = here.contents.get("$ref") if isinstance(here.contents, dict) else None
        if isinstance(reference, str):
            try:
                target = resolver.lookup(reference)
                if _is_endless(here.contents, target):
                    reason = f"its $ref {_cut(reference, 60)!r} leads to itself alone"
                    raise ValueError(reason)
            except referencing.exceptions.Unresolvable:
                raise ValueError(f"its $ref {_cut(reference, 60)!r} leads nowhere") from None
        todo += [(inner, resolver.in_subresource(inner)) for inner in here.subresources()]


def _is_endless(schema: Any, target: Any) -> bool:
    """Whether one `$ref` leads to the next without end. target: what that of the schema leads to.
    Raises Unresolvable."""
    seen = {id(schema)}
    while isinstance(target.contents, dict):
        check()
        reference = target.contents.get("$ref")
        if id(target.contents) in seen:
            return True
        if not isinstance(reference, str):
            return False
        seen.add(id(target.contents))
        target = target.resolver.lookup(reference)
    return False


def validator_of(text: str) -> Any:
    """The validator of a schema; None of a text that is none."""
    return _schema(text)[0] if text else None


def schema_mistake(text: str) -> str:
    """Why a text is no JSON schema, in the library's words; "" if it is one."""
    return _schema(text)[1]


def unsatisfiable(text: str) -> str:
    """Why no text fits a schema, in llguidance's words; "" if it does not find that."""
    reason = re.search(r"Unsatisfiable schema: (.*?)(?: 1 \| .*)?$", mistake(JsonText(text)))
    return _cut(reason[1]) if reason else ""


def fits_schema(s: str, value: Any, language: JsonText) -> bool:
    """Whether a text fits a schema, for the validator and for llguidance, which makes the masks.
    value: the text's JSON value. Raises ValueError if the schema proves to be wrong."""
    if language.schema:
        try:
            if not on_deep_stack(lambda: validates(_schema(language.schema)[0], value)):
                return False
        except ValueError as error:
            raise ValueError(_cut(str(error))) from None
        except RecursionError:
            raise ValueError("it refers to itself without end") from None
    return _allowed(language, s)


def parts_left_to_trials(language: JsonText | GrammarText) -> tuple[str, ...]:
    """A line for each part of a schema or grammar that its masks do not follow."""
    result = followed(language)
    if result.mistake:
        return (f"all of it: {_cut(result.mistake)}",)
    return tuple(_cut(part) for part in result.left_out)


def json_depth(s: str) -> int:
    """The depth of nested lists and objects of a JSON text.

    >>> json_depth('[{"a": "[[["}]')
    2
    """
    deepest = depth = 0
    for bracket in _BRACKETS.findall(s):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


# -------------------------------------------------------------------- grammars


@lru_cache(maxsize=16)
def _grammar(text: str) -> tuple[Any, str]:
    """(the grammar's parser, ""), or (None, why it is no grammar)."""
    if len(text) > LONGEST_SOURCE:
        return None, f"longer than {LONGEST_SOURCE:,} characters"
    try:
        with bounded(READING_SECONDS):
            return build_parser(text), ""
    except OutOfTime as error:
        return None, f"it takes {error} to read"
    except RecursionError:
        return None, "nested too deep"
    except Exception as error:  # Lark raises many kinds, for wrong terminals and missing files too
        cause = getattr(error, "orig_exc", error)  # what a VisitError of Lark wraps
        if isinstance(cause, OutOfTime):
            return None, f"it takes {cause} to read"
        return None, _lark_reason(cause)


def _lark_reason(error: Exception) -> str:
    """The reason in an exception of Lark, without Lark's internal names."""
    import lark

    if isinstance(error, lark.exceptions.UnexpectedToken):
        token = str(error.token)
        shown = repr(token) if token.strip() else "end of the line" if token else "end"
        return f"unexpected {shown} at line {error.line}, column {error.column}"
    if isinstance(error, OSError):
        return (
            f"it imports {error.filename}, and only Lark's own grammars (common, ...) can be "
            "imported"
        )
    parts = [str(getattr(a, "name", a)) for a in error.args if a != ""] or [type(error).__name__]
    first = (
        ": ".join(parts)
        .strip()
        .split("\n")[0]
        .replace(f" in {GRAMMAR_PATH}", "")
        .replace(" in <string>", "")
        .rstrip(": ")
    )
    if first == "Using an undefined rule: NonTerminal('start')":
        return "it has no rule `start`"
    return _cut(first)


def grammar_mistake(text: str) -> str:
    """Why a text is no Lark grammar, in the library's words; "" if it is one."""
    return _grammar(text)[1]


def derives(grammar: str, s: str) -> bool:
    """Whether a grammar derives a text, for Lark and for llguidance, which makes the masks. Raises
    ValueError if Lark cannot decide it."""
    return parses_whole(_grammar(grammar)[0], s) and _allowed(GrammarText(grammar), s)


def _allowed(language: JsonText | GrammarText, s: str) -> bool:
    """Whether llguidance accepts a text; True if it cannot follow the language."""
    try:
        return bool(mistake(language)) or accepts_text(language, s)
    except OutOfTime as error:
        message = f"following a text of {len(s):,} characters takes {error}"
        raise BuiltinError(
            message, "write it so that a text has few derivations", "FK414"
        ) from None
    except UnicodeEncodeError:  # a lone surrogate, which no model's text has
        return False


def _cut(text: str, most: int = REASON_LENGTH) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."

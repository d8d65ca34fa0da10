"""Texts with a structure: JSON and grammars. The libraries behind them are imported when first used."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from fkdsl.program.signatures import BuiltinError, Parameter, pure
from fkdsl.program.types import ANY, BOOL, STR
from fkdsl.program.values import Record

S = Parameter("s", STR)
MAX_DEPTH = 100
MAX_PARSED = 20_000
"""Characters that `parses` reads."""


def _load(s: str) -> Any:
    """The JSON value of a text; ValueError if it is none."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(s, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def from_json(value: Any, depth: int = 0) -> Any:
    """A JSON value as the language has it: lists as tuples, objects as records."""
    if depth > MAX_DEPTH:
        raise BuiltinError(f"JSON nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return tuple(from_json(v, depth + 1) for v in value)
    if isinstance(value, dict):
        return Record({k: from_json(v, depth + 1) for k, v in value.items()})
    return value


@pure("parse_json", [S], ANY)
def parse_json(s: str) -> Any:
    """The value of a JSON text.

    >>> parse_json('{"a": [1, true]}')["a"]
    (1, True)
    """
    try:
        return from_json(_load(s))
    except ValueError as error:
        raise BuiltinError(f"not JSON: {error}", "guard it: `condition valid_json(s)` first") from None


def _file(folder: Path, name: str, what: str) -> str:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise BuiltinError(f"the {what} {name!r} lies outside the program's folder", "put it beside the program")
    try:
        return (folder / path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise BuiltinError(f"cannot read the {what} {name!r}", f"it is looked for in {folder}") from None


@lru_cache(maxsize=32)
def _validator(text: str, name: str) -> Any:
    import jsonschema

    try:
        schema = json.loads(text)
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
    except (ValueError, jsonschema.SchemaError) as error:
        reason = error.message if isinstance(error, jsonschema.SchemaError) else str(error)
        raise BuiltinError(
            f"{name} is no JSON schema: {reason}", "check it against json-schema.org's draft 2020-12"
        ) from None
    return kind(schema)


@lru_cache(maxsize=32)
def schema_text(folder: Path, schema: str) -> str:
    return schema if schema.lstrip().startswith("{") else _file(folder, schema, "schema")


@pure("valid_json", [S, Parameter("schema", STR, "")], BOOL, needs_folder=True)
def valid_json(s: str, schema: str, *, folder: Path) -> bool:
    """Whether a text is JSON, and fits the schema (a file beside the program, or the schema's own text)."""
    try:
        value = _load(s)
    except ValueError:
        return False
    if not schema:
        return True
    name = "the schema" if schema.lstrip().startswith("{") else schema
    return bool(_validator(schema_text(folder, schema), name).is_valid(value))


@lru_cache(maxsize=16)
def _grammar(text: str, name: str) -> Any:
    import lark

    try:
        return lark.Lark(text, parser="earley", lexer="dynamic", import_paths=[])
    except lark.exceptions.LarkError as error:
        reason = str(error).strip().splitlines()[0]
        raise BuiltinError(f"{name} is no Lark grammar: {reason}", "a grammar has a rule named `start`") from None


@pure("parses", [S, Parameter("grammar", STR)], BOOL, needs_folder=True)
def parses(s: str, grammar: str, *, folder: Path) -> bool:
    """Whether a Lark grammar (a file beside the program, or the grammar's own text) derives the whole text."""
    import lark

    if len(s) > MAX_PARSED:
        raise BuiltinError(f"parses reads at most {MAX_PARSED:,} characters", "check parts of the text")
    inline = "\n" in grammar or ":" in grammar
    parser = _grammar(grammar_text(folder, grammar), "the grammar" if inline else grammar)
    try:
        parser.parse(s)
    except lark.exceptions.LarkError:
        return False
    return True


@lru_cache(maxsize=32)
def grammar_text(folder: Path, grammar: str) -> str:
    """The text behind a `grammar=`: a file's, or its own."""
    return grammar if "\n" in grammar or ":" in grammar else _file(folder, grammar, "grammar")

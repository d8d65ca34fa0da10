"""Functions of texts with a structure: JSON, and texts of grammars. schemas.py uses the
libraries."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.files import read_text, verify_regular
from fkdsl.base.folders import Folder, OutsideRoot
from fkdsl.base.lazy import lazy_import
from fkdsl.base.surrogates import without_surrogates
from fkdsl.engine.constraints.languages import LONGEST_SOURCE, SPACES, JsonText
from fkdsl.values.library.text import REPLACEMENT_CHARACTER, S
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import ANY, BOOL, INT, STR
from fkdsl.values.values import Record

if TYPE_CHECKING:
    from fkdsl.values.library import grammar_dialect, places, schemas
else:
    grammar_dialect = lazy_import("fkdsl.values.library.grammar_dialect")
    places = lazy_import("fkdsl.values.library.places")
    schemas = lazy_import("fkdsl.values.library.schemas")

MAX_SOURCE_BYTES = 4 * LONGEST_SOURCE
"""Most bytes of the file of a schema or grammar; one of LONGEST_SOURCE characters has no more."""
MAX_JSON_DEPTH = 100
"""Most levels of lists and objects in a JSON text."""
MOST_SPACES = 1_000
"""Most characters of white space in a row that can be asked for."""
MAX_PARSED = 20_000
"""Most characters of a text for `parses`."""


def from_json(value: Any, depth: int = 0) -> Any:
    """A JSON value as a value of the language: lists as tuples, objects as records, and U+FFFD for
    a lone surrogate such as `\\ud800`, which no text has."""
    if depth > MAX_JSON_DEPTH:
        raise BuiltinError(f"JSON nested more than {MAX_JSON_DEPTH} deep")
    if isinstance(value, list):
        return tuple(from_json(v, depth + 1) for v in value)
    if isinstance(value, dict):
        return Record({without_surrogates(k): from_json(v, depth + 1) for k, v in value.items()})
    return without_surrogates(value) if isinstance(value, str) else value


@pure("parse_json", [S], ANY)
def parse_json(s: str) -> Any:
    """The value of a JSON text.

    >>> parse_json('{"a": [1, true]}')["a"]
    (1, True)
    """
    try:
        return from_json(schemas.load_json(s))
    except ValueError as error:
        raise BuiltinError(
            f"not JSON: {error}", "guard it: `condition valid_json(s)` first"
        ) from None


def _file(folder: Path | Folder, name: str, what: str) -> str:
    """The text of a file beside the program, cut after LONGEST_SOURCE + 1 characters. what:
    "schema" or "grammar", for messages. Raises BuiltinError if it cannot be read."""
    path, here = Path(name), Folder.of(folder)
    if here.root is not None and (path.is_absolute() or ".." in path.parts):
        raise _outside(name, what)
    try:
        return _read(here, name, _identity(here.path / name))
    except FileNotFoundError:
        reason, help = "there is no such file", _near(here.path, name)
    except UnicodeDecodeError:
        reason, help = "it is no UTF-8 text", "save it as UTF-8"
    except OutsideRoot:
        raise _outside(name, what) from None
    except OSError as error:
        reason, help = str(error.strerror), _where(here.path)
    raise BuiltinError(f"cannot read the {what} {name!r}: {reason}", help)


def _outside(name: str, what: str) -> BuiltinError:
    return BuiltinError(
        f"the {what} {name!r} lies outside the program's folder",
        "put it beside the program, or run with --allow-outside if you trust the program",
    )


def _identity(path: Path) -> tuple[int, ...] | None:
    """Which file a path leads to, and when that was changed; None where it leads to none."""
    try:
        at = os.stat(path)
    except (OSError, ValueError):
        return None
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns


@lru_cache(maxsize=32)
def _read(folder: Folder, name: str, identity: tuple[int, ...] | None) -> str:
    """The text of a file that may be read. Every draw asks for it, and to follow the links of its
    path takes longer than the draw: as long as it is the same file, it is examined once."""
    full = folder.find(name)
    if os.path.splitext(os.path.realpath(full))[1] != full.suffix:
        raise OSError(errno.EINVAL, "it is a link to a file of another kind", name)
    verify_regular(full, MAX_SOURCE_BYTES)
    return (
        read_text(full, MAX_SOURCE_BYTES)
        .removeprefix("\ufeff")
        .replace("\r\n", "\n")
        .replace("\r", "\n")[: LONGEST_SOURCE + 1]
    )


def _near(folder: Path, name: str) -> str:
    """Help for a file that does not exist."""
    if "\\" in name and os.sep == "/":
        slashed = name.replace("\\", "/")
        return f"write `/` between folders: {slashed!r}"
    near = near_name(name, sorted(p.name for p in islice(folder.glob("*"), 1000)))
    return f"did you mean {near!r}?" if near else _where(folder)


def _where(folder: Path) -> str:
    return f"it is looked for in {folder}, the folder of the file that names it"


def _is_schema(schema: str) -> bool:
    return schema.lstrip().startswith("{")


def _is_grammar(grammar: str) -> bool:
    return "\n" in grammar or ":" in grammar


def schema_source(folder: Path | Folder, schema: str) -> str:
    """The text of a schema. schema: a file in the folder, the text itself, or "" for any JSON.
    Raises BuiltinError for a file that cannot be read."""
    schema = schema.removeprefix("\ufeff")
    return schema if not schema or _is_schema(schema) else _file(folder, schema, "schema")


def grammar_source(folder: Path | Folder, grammar: str) -> str:
    """The text of a grammar. grammar: a file in the folder, or the text itself. Raises BuiltinError
    for a file that cannot be read."""
    if not _is_grammar(grammar):
        return _file(folder, grammar, "grammar")
    return grammar.removeprefix("\ufeff").replace("\r\n", "\n")


def no_schema(schema: str, reason: str) -> BuiltinError:
    """The error of a `schema=` that is no schema. It repeats words of a file only if that is named
    like a schema, since a stranger's program may name any file beside it."""
    name = "this" if _is_schema(schema) else repr(schema)
    shown = (
        reason if _is_schema(schema) or schema.endswith(".json") else places.schema_place(reason)
    )
    return BuiltinError(f"{name} is no JSON schema: {shown}", _schema_help(reason))


def _schema_help(reason: str) -> str:
    """What to try where a schema is refused for a reason."""
    if reason.endswith("nested too deep") or reason.startswith(("longer than", "it takes")):
        return "write it shorter: what it says more than once, say once in $defs, and $ref to it"
    if reason.startswith("it is no JSON"):
        return 'JSON has "double quotes", a comma between items, none after the last, no comments'
    if reason.endswith(" twice"):
        return "leave one of the two out, or name it otherwise"
    return "check it against json-schema.org's draft 2020-12"


def no_grammar(grammar: str, reason: str, text: str = "") -> BuiltinError:
    """The error of a `grammar=` that is no grammar. It repeats words of a file as `no_schema` does.
    text: of the grammar, for help with another dialect."""
    name = "this" if _is_grammar(grammar) else repr(grammar)
    if reason.startswith(("it takes", "longer than", "nested too deep")):
        help = "write it shorter: a rule with n optional parts stands for 2^n rules"
        return BuiltinError(f"{name} is too large a grammar: {reason}", help)
    help = (
        'rules are written `name: ... "text" ...`, terminals `NAME: /pattern/`; one is the rule '
        "`start`"
    )
    shown = (
        reason
        if _is_grammar(grammar) or grammar.endswith(".lark")
        else places.grammar_place(reason)
    )
    return BuiltinError(
        f"{name} is no Lark grammar: {shown}", grammar_dialect.dialect_help(text) or help
    )


def checked_spaces(spaces: int) -> int:
    """The number of characters, if white space can be bounded by it. Raises BuiltinError."""
    if not 0 <= spaces <= MOST_SPACES:
        raise BuiltinError(
            f"spaces={spaces} is no bound on white space",
            f"write a number from 0 to {MOST_SPACES:,}; {SPACES} by default",
        )
    return spaces


@pure(
    "valid_json",
    [
        S,
        Parameter("schema", STR, ""),
        Parameter("format", BOOL, True),
        Parameter("order", BOOL, True),
        Parameter("spaces", INT, SPACES),
    ],
    BOOL,
    needs_folder=True,
)
def valid_json(
    s: str,
    schema: str,
    format: bool = True,
    order: bool = True,
    spaces: int = SPACES,
    *,
    folder: Path | Folder,
) -> bool:
    """Whether a text is JSON that fits the schema: a file beside the program, or the schema's own
    text. Properties must be in the schema's order unless `order` is false, and formats are asserted
    unless `format` is false. At most `spaces` characters of white space may stand in a row outside
    of texts. A text with U+FFFD, which stands for bytes, is no JSON here, nor is
    one nested more than 100 deep, or with an object that has a name twice."""
    language = JsonText(schema_source(folder, schema), format, order, checked_spaces(spaces))
    reason = schemas.schema_mistake(language.schema) if schema else ""
    if reason:
        raise no_schema(schema, reason)
    if s.count("[") + s.count("{") > MAX_JSON_DEPTH and schemas.json_depth(s) > MAX_JSON_DEPTH:
        return False
    try:
        value = schemas.load_json(s, names_once=True)
    except ValueError:
        return False
    if REPLACEMENT_CHARACTER in s:
        return False
    try:
        return schemas.fits_schema(s, value, language)
    except ValueError as error:
        raise no_schema(schema, str(error)) from None


@pure("parses", [S, Parameter("grammar", STR)], BOOL, needs_folder=True)
def parses(s: str, grammar: str, *, folder: Path | Folder) -> bool:
    """Whether a Lark grammar (a file beside the program, or the grammar's own text) derives the
    whole text, its terminals by longest match. No grammar derives a text with U+FFFD, which stands
    for bytes."""
    if len(s) > MAX_PARSED:
        raise BuiltinError(
            f"parses reads at most {MAX_PARSED:,} characters", "check parts of the text"
        )
    text = grammar_source(folder, grammar)
    reason = schemas.grammar_mistake(text)
    if reason:
        raise no_grammar(grammar, reason, text)
    try:
        return REPLACEMENT_CHARACTER not in s and schemas.derives(text, s)
    except ValueError as error:
        raise no_grammar(grammar, str(error)) from None

"""Languages of JSON texts by the values in them, for conditions such as `parse_json(s).kind ==
"refund"`: built-ins that the compiler writes. Among them, whether the beginning of a text may fit
its schema."""

from __future__ import annotations

import math
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from fkdsl.base.folders import Folder
from fkdsl.base.lazy import lazy_import
from fkdsl.engine.constraints import languages as of
from fkdsl.engine.constraints.json_languages import JsonField, JsonItems
from fkdsl.engine.constraints.languages import ALL_TEXTS
from fkdsl.values.library.languages import A
from fkdsl.values.library.structured import schema_source
from fkdsl.values.library.text import S
from fkdsl.values.signatures import Parameter, pure
from fkdsl.values.types import ANY, BOOL, STR

if TYPE_CHECKING:
    from fkdsl.values.library import schema_so_far, schemas
else:
    schema_so_far = lazy_import("fkdsl.values.library.schema_so_far")
    schemas = lazy_import("fkdsl.values.library.schemas")

Path = tuple[str | int, ...]
UNKNOWN = of.Larger(ALL_TEXTS, "a test of a value in a JSON text")


@pure(".json_field", [A, A, A, A], ANY)
def json_field(path: Path, operator: Any, value: Any, negated: bool) -> of.Language:
    """The JSON texts with a value at a path of names of which a test is true, or false. operator:
    see JsonField; that of a length is ("length", the comparison)."""
    if operator in ("text", "as text"):
        return JsonField(path, operator, value, negated)
    values = value if isinstance(value, tuple) else (value,)
    if not all(map(_is_plain, values)):
        return UNKNOWN
    if isinstance(operator, tuple):
        if not all(_is_number(n) for n in values):
            return UNKNOWN
        name, compared = operator
        if name == "rest":
            by, bound = values
            is_whole = isinstance(by, int) and isinstance(bound, int) and by > 0
            return JsonField(path, name, (by, compared, bound), negated) if is_whole else UNKNOWN
        if isinstance(value, tuple) != (compared in ("in", "notin")):
            return UNKNOWN
        return JsonField(path, name, (compared, value), negated)
    return JsonField(path, operator, value, negated)


@pure(".json_items", [A, A, A], ANY)
def json_items(path: Path, every: bool, part: of.Language) -> of.Language:
    """The JSON texts with a list at a path of which every item is in a part, or some item is."""
    return JsonItems(path, every, part)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


@pure(".may_fit", [S, Parameter("schema", STR)], BOOL, needs_folder=True)
def may_fit(s: str, schema: str, *, folder: FilePath | Folder) -> bool:
    """False only if no text that begins so fits the schema of a `valid_json`, by what no mask
    follows."""
    text = schema_source(folder, schema)
    left_out = text and schemas.parts_left_to_trials(of.JsonText(text))
    return not left_out or schema_so_far.may_fit(s, text)

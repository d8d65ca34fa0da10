"""Languages of JSON texts by the values in them. Nothing follows them but the schemas beside them
(json_narrowing.py).

    JsonField(("kind",), "eq", "refund")
    JsonNumbers(((("born",), 1), (("died",), -1)), "lt", 0)
    JsonItems(("tags",), True, JsonField((), "length", ("lt", 9)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.languages import Language

if TYPE_CHECKING:
    from fkdsl.engine.constraints.json_paths import Path


@dataclass(frozen=True)
class JsonNumbers(Language):
    """The JSON texts of which a comparison is true of a sum of the numbers that they have at some
    paths: names, and places in lists. terms: each path, and what its number is multiplied with.
    operator: lt, le, gt, ge or eq. products: what is added of products of two numbers: their paths,
    and a factor."""

    terms: tuple[tuple[Path, int], ...]
    operator: str
    bound: int | float
    products: tuple[tuple[Path, Path, int], ...] = ()


@dataclass(frozen=True)
class JsonField(Language):
    """The JSON texts of which a test of the value at a path (see JsonNumbers) is true, or, if
    negated, false. operator, value: "is", True for the value itself; "eq"; "in", texts and other
    values or one text; "written in", texts or one text that what `str` makes of the value is in;
    "has", what is in the value; "starts_with", "ends_with", "contains"; "length", (a comparison,
    what with); "rest", (a divisor, a comparison, what with); "text", a language that the value is
    in if it is a text; "as text", the same where other values but lists and objects raise an
    error."""

    path: Path
    operator: str
    value: Any
    negated: bool = False


@dataclass(frozen=True)
class JsonItems(Language):
    """The JSON texts with a list at a path of which every item, or some item, is in the part: a
    language of JsonFields, JsonNumbers and JsonItems, whose paths begin at the item."""

    path: Path
    every: bool
    part: Language

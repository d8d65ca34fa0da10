"""The types of the language, and which type may stand in place of another.

    bool -> int -> float      a number may stand in place of a wider one
    token -> str              a token stands for its text
    context -> dist[token]    a context is the distribution of its next token
    mark                      a special token by its name
    document -> record        a passage that was retrieved
    image                     an image, for prompts
    index                     files that documents are retrieved from, by the declaration's name
    list[T], record           T covariant; a record's fields are `any`
    any                       of fields of records and of parse_json; checked when it is used
    none                      of a function without `return`

>>> accepts(FLOAT, BOOL), accepts(STR, TOKEN), accepts(INT, FLOAT), accepts(List(FLOAT), List(INT))
(True, True, False, True)
>>> str(List(Dist(TOKEN))), common_type(INT, FLOAT), common_type(INT, STR)
('list[dist[token]]', Simple(name='float'), None)
"""

from __future__ import annotations

from fkdsl.base.quick_dataclass import dataclass


class Type:
    """A type of the language; frozen, compared by value, printed as users write it."""


@dataclass(frozen=True)
class Simple(Type):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class List(Type):
    item: Type

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True)
class Dist(Type):
    item: Type

    def __str__(self) -> str:
        return f"dist[{self.item}]"


@dataclass(frozen=True)
class OneOf(Type):
    """One of several types, for a parameter of a built-in that takes either."""

    types: tuple[Type, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.types))


@dataclass(frozen=True)
class Pair(Type):
    """A fixed-length tuple, made by `zip` and `enumerate` and taken apart by `for a, b in ...`."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


BOOL, INT, FLOAT, STR = Simple("bool"), Simple("int"), Simple("float"), Simple("str")
TOKEN, CONTEXT, RECORD = Simple("token"), Simple("context"), Simple("record")
MARK = Simple("mark")
DOCUMENT, INDEX, IMAGE = Simple("document"), Simple("index"), Simple("image")
ANY, NONE = Simple("any"), Simple("none")
NAMED_TYPES = {
    t.name: t for t in (BOOL, INT, FLOAT, STR, TOKEN, CONTEXT, RECORD, MARK, DOCUMENT, INDEX, IMAGE)
}
"""The types with a name that a program can write; it can also write `list[T]` and `dist[T]`."""

_WIDER: dict[Type, tuple[Type, ...]] = {
    BOOL: (INT, FLOAT),
    INT: (FLOAT,),
    TOKEN: (STR,),
    CONTEXT: (Dist(TOKEN),),
    DOCUMENT: (RECORD,),
}


def accepts(wanted: Type, given: Type) -> bool:
    """Whether a value of type `given` may stand where the type `wanted` is required."""
    if wanted == given or ANY in (wanted, given) or wanted in _WIDER.get(given, ()):
        return True
    match wanted, given:
        case OneOf(types), _:
            return any(accepts(t, given) for t in types)
        case (List(a), List(b)) | (Dist(a), Dist(b)):
            return accepts(a, b)
        case Dist(a), Simple("context"):
            return accepts(a, TOKEN)
        case Pair(a), Pair(b):
            return len(a) == len(b) and all(map(accepts, a, b))
    return False


def common_type(a: Type, b: Type) -> Type | None:
    """The narrower of two types that accepts values of both; None if neither does."""
    if a == ANY or b == ANY:
        return ANY
    if accepts(a, b):
        return a
    if accepts(b, a):
        return b
    return None

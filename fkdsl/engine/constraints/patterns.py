r"""Patterns of the `regex` library as expressions: the part of them that is regular.

What is not (back-references, look-behind, word boundaries, atomic groups, fuzzy matches) raises `Unsupported` with what
it is; such a pattern is checked when the text is complete.

The standard library's parser reads the pattern; what it and `regex` read differently is refused here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from fkdsl.engine.constraints.charsets import Charset, charset

LONGEST = 5_000
"""Characters of a pattern that is read."""
REPEATED = 20_000
"""Times that a part of a pattern is repeated at least, at most: `regex` writes each of them out."""
_READ_ALIKE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?:\d+|\d*,\d*)\}", re.DOTALL)
"""Escapes, classes and plain repeats; any other `{` may be a fuzzy match."""


class Unsupported(Exception):
    """A language that no automaton here can follow; the message says what in it."""


@dataclass(frozen=True)
class Tree:
    """A parsed pattern: an operator and its parts.

    set (a Charset), seq (trees), alt (trees), repeat (tree, least, most; -1 for no bound), ahead (the tree that what
    follows must begin with, whether it must, the trees that follow).
    """

    operator: str
    parts: tuple[Any, ...]


EMPTY_TEXT = Tree("seq", ())


@lru_cache(maxsize=256)
def parse_pattern(pattern: str) -> Tree:
    """The tree of a pattern. Raises Unsupported."""
    if len(pattern) > LONGEST:
        raise Unsupported(f"the pattern is longer than {LONGEST:,} characters")
    if re.sub(_READ_ALIKE, "", pattern).count("{"):
        raise Unsupported("a `{` that begins no repeat")
    if "[:" in re.sub(r"(?s)\\.", "", pattern):
        raise Unsupported("a class with a name")
    try:
        from re import _parser  # type: ignore[attr-defined]

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parsed = _parser.parse(pattern)
        tree = _Reader(parsed.state.flags).sequence(list(parsed), parsed.state.flags, top=True)
        regex.compile(pattern)
    except (re.error, ImportError, Warning, OverflowError, RecursionError) as error:
        raise Unsupported(f"a part that only the `regex` library reads ({error})") from None
    except (regex.error, ValueError) as error:
        raise Unsupported(f"a part that the `regex` library does not read ({error})") from None
    return tree


class _Reader:
    def __init__(self, flags: int) -> None:
        self.seen, self.times = 0, 1
        self.check(flags)

    def sequence(self, items: list[Any], flags: int, *, top: bool = False, start: bool = True) -> Tree:
        parts: list[Tree] = []
        for at, (operator, value) in enumerate(items):
            name = str(operator)
            if name == "AT":
                self.edge(str(value), start and at == 0, at == len(items) - 1, top)
            elif name in ("ASSERT", "ASSERT_NOT"):
                direction, inner = value
                if direction < 0 or not top:
                    raise Unsupported("a look-behind" if direction < 0 else "a look-ahead inside a group")
                rest = self.sequence(items[at + 1 :], flags, top=True, start=start and at == 0)
                parts.append(Tree("ahead", (self.sequence(list(inner), flags), name == "ASSERT", rest)))
                break
            else:
                parts.append(self.item(name, value, flags))
        return parts[0] if len(parts) == 1 else Tree("seq", tuple(parts))

    def check(self, flags: int) -> None:
        """Raises Unsupported for flags that the libraries take differently: for x, `regex` skips other spaces; beside
        i, its a means one thing for the whole pattern and another for a group."""
        self.seen |= flags
        if self.seen & (re.LOCALE | re.MULTILINE | re.VERBOSE):
            raise Unsupported("one of the flags L, m and x")
        if self.seen & re.IGNORECASE and self.seen & re.ASCII:
            raise Unsupported("the flags a and i together")

    def edge(self, where: str, first: bool, last: bool, top: bool) -> None:
        """`^` and `$` say nothing new at the ends of a full match; elsewhere they are not read."""
        begins = where in ("AT_BEGINNING", "AT_BEGINNING_STRING") and first
        ends = where in ("AT_END", "AT_END_STRING") and last
        if not (top and (begins or ends)):
            raise Unsupported("a word boundary" if "BOUNDARY" in where else "`^` or `$` inside the pattern")

    def item(self, name: str, value: Any, flags: int) -> Tree:
        match name:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return Tree("set", (characters(name, value, flags),))
            case "BRANCH":
                return Tree("alt", tuple(self.sequence(list(b), flags) for b in value[1]))
            case "SUBPATTERN":
                _, added, removed, inner = value
                self.check(added)
                kept = flags & ~_ALPHABETS if added & _ALPHABETS else flags
                return self.sequence(list(inner), (kept | added) & ~removed)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = value
                bound = -1 if str(most) == "MAXREPEAT" else int(most)
                outside, self.times = self.times, self.times * max(int(least), 1)
                if self.times > REPEATED:
                    raise Unsupported(f"a part that is repeated more than {REPEATED:,} times")
                found = Tree("repeat", (self.sequence(list(inner), flags), int(least), bound))
                self.times = outside
                return found
        raise Unsupported(_NAMES.get(name, f"a part of it ({name.lower()})"))


_ALPHABETS = re.ASCII | re.UNICODE
"""Flags of which the inner one alone holds."""
_NAMES = {
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a test of a group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
    "ATOMIC_GROUP": "an atomic group",
}
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def characters(name: str, value: Any, flags: int) -> Charset:
    """The set that one item of a pattern matches, as the `regex` library has it."""
    letters = "".join(c for c, flag in (("i", re.IGNORECASE), ("s", re.DOTALL), ("a", re.ASCII)) if flags & flag)
    prefix = f"(?{letters})" if letters else ""
    if name == "ANY":
        return charset(prefix + ".")
    if name == "IN":
        return charset(f"{prefix}[{''.join(_class_item(str(op), v) for op, v in value)}]")
    return charset(f"{prefix}[{'^' if name == 'NOT_LITERAL' else ''}{_escaped(value)}]")


def _class_item(name: str, value: Any) -> str:
    match name:
        case "NEGATE":
            return "^"
        case "LITERAL":
            return _escaped(value)
        case "RANGE":
            return f"{_escaped(value[0])}-{_escaped(value[1])}"
        case "CATEGORY" if str(value) in _CATEGORIES:
            return _CATEGORIES[str(value)]
    raise Unsupported(f"a class with {name.lower()}")


def _escaped(point: int) -> str:
    if 0xD800 <= point < 0xE000:
        raise Unsupported("a surrogate")
    return f"\\U{point:08x}"


def text_tree(text: str) -> Tree:
    """The language of one text."""
    return Tree("seq", tuple(Tree("set", (((ord(c), ord(c) + 1),),)) for c in text))


def charsets_of(tree: Tree) -> Iterable[Charset]:
    """Every set in a tree."""
    if tree.operator == "set":
        yield tree.parts[0]
        return
    todo = list(tree.parts)
    while todo:
        part = todo.pop()
        if isinstance(part, Tree):
            yield from charsets_of(part)
        elif isinstance(part, tuple):
            todo.extend(part)

r"""Patterns of the `regex` library as trees: exact where they are regular, else in a weaker form.

The weaker form of a back-reference is any text of its group, that of a long look-behind is no
condition at all, and that of an atomic group is a plain group, unless its options have fixed
lengths. What only `regex` reads (fuzzy matches, recursion) raises `Unsupported`; such a pattern is
checked when the text is complete.

The standard library's parser reads the pattern. What it and `regex` read differently is refused
here.
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
from fkdsl.engine.constraints.regex_syntax import python_syntax

LONGEST_PATTERN = 5_000
"""Most characters of a pattern."""
REPEATED = 20_000
"""Most repetitions that a pattern may demand of one part, nested repeats multiplied: `regex` writes
each of them out."""
_READ_ALIKE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?:\d+|\d*,\d*)\}", re.DOTALL)
"""Escapes, classes and plain repeats, which both libraries read alike. Any other `{` may begin a
fuzzy match."""


class Unsupported(Exception):
    """No automaton here can follow a language; the message names the part that prevents it."""


@dataclass(frozen=True)
class Tree:
    """A parsed pattern: an operator and its parts.

    Reading characters: set (a Charset), seq (trees), alt (trees), repeat (a tree, least, most; -1
    for no bound). Assertions, which read none, with `must` False for their negations: ahead (a
    tree, must: what follows begins with it), behind (a Charset, must: the last character is in it),
    boundary (the Charset of word characters, must), start, end (the Charset of newlines if one may
    follow, else None). weaker (a larger tree, the name of the part that it replaces).
    """

    operator: str
    parts: tuple[Any, ...]


ASSERTIONS = ("ahead", "behind", "boundary", "start", "end", "weaker")
EMPTY_TEXT = Tree("seq", ())
NEWLINE: Charset = ((10, 11),)


@lru_cache(maxsize=256)
def parse_pattern(pattern: str) -> Tree:
    """The tree of a pattern. Raises Unsupported."""
    if len(pattern) > LONGEST_PATTERN:
        raise Unsupported(f"the pattern is longer than {LONGEST_PATTERN:,} characters")
    try:
        written = python_syntax(pattern)
    except (regex.error, ValueError) as error:
        raise Unsupported(str(error)) from None
    if re.sub(_READ_ALIKE, "", written).count("{"):
        raise Unsupported("a `{` that begins no repeat")
    if "[:" in re.sub(r"(?s)\\.", "", pattern):
        raise Unsupported("a class with a name")
    try:
        from re import _parser  # type: ignore[attr-defined]

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parsed = _parser.parse(written)
        tree = _Reader(parsed.state.flags).sequence(list(parsed), parsed.state.flags)
        regex.compile(pattern)
    except (re.error, ImportError, Warning, OverflowError, RecursionError) as error:
        raise Unsupported(f"a part that only the `regex` library reads ({error})") from None
    except (regex.error, ValueError) as error:
        raise Unsupported(f"a part that the `regex` library does not read ({error})") from None
    return tree


class _Reader:
    def __init__(self, flags: int) -> None:
        self.seen, self.times = 0, 1
        self.groups: dict[int, Tree] = {}
        self.check(flags)

    def sequence(self, items: list[Any], flags: int) -> Tree:
        parts = tuple(self.item(str(operator), value, flags) for operator, value in items)
        return parts[0] if len(parts) == 1 else Tree("seq", parts)

    def check(self, flags: int) -> None:
        """Raises Unsupported for flags that the two libraries treat differently: under x, `regex`
        skips other spaces; together with i, its flag a means one thing for the whole pattern and
        another for a group."""
        self.seen |= flags
        if self.seen & (re.LOCALE | re.MULTILINE | re.VERBOSE):
            raise Unsupported("one of the flags L, m and x")
        if self.seen & re.IGNORECASE and self.seen & re.ASCII:
            raise Unsupported("the flags a and i together")

    def edge(self, where: str, flags: int) -> Tree:
        match where:
            case "AT_BEGINNING" | "AT_BEGINNING_STRING":
                return Tree("start", ())
            case "AT_END":
                return Tree("end", (NEWLINE,))
            case "AT_END_STRING":
                return Tree("end", (None,))
            case "AT_BOUNDARY" | "AT_NON_BOUNDARY":
                word = charset(r"(?a)\w" if flags & re.ASCII else r"\w")
                return Tree("boundary", (word, where == "AT_BOUNDARY"))
        raise Unsupported(f"a part of it ({where.lower()})")

    def around(self, direction: int, inner: Tree, must: bool) -> Tree:
        if direction > 0:
            return Tree("ahead", (inner, must))
        if inner.operator == "set":
            return Tree("behind", (inner.parts[0], must))
        return Tree("weaker", (EMPTY_TEXT, "a look-behind of more than a character"))

    def item(self, name: str, value: Any, flags: int) -> Tree:
        match name:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return Tree("set", (characters(name, value, flags),))
            case "BRANCH":
                return Tree("alt", tuple(self.sequence(list(b), flags) for b in value[1]))
            case "SUBPATTERN":
                number, added, removed, inner = value
                self.check(added)
                kept = flags & ~_ALPHABETS if added & _ALPHABETS else flags
                group = self.sequence(list(inner), (kept | added) & ~removed)
                if number is not None:
                    self.groups[number] = group
                return group
            case "AT":
                return self.edge(str(value), flags)
            case "ASSERT" | "ASSERT_NOT":
                return self.around(value[0], self.sequence(list(value[1]), flags), name == "ASSERT")
            case "ATOMIC_GROUP":
                return atomic(self.sequence(list(value), flags))
            case "GROUPREF" if value in self.groups:
                return Tree("weaker", (self.groups[value], "a back-reference"))
            case "GROUPREF_EXISTS":
                _, yes, no = value
                options = (self.sequence(list(yes), flags), self.sequence(list(no or []), flags))
                return Tree("weaker", (Tree("alt", options), "a test of a group"))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = value
                bound = -1 if str(most) == "MAXREPEAT" else int(most)
                outside, self.times = self.times, self.times * max(int(least), 1)
                if self.times > REPEATED:
                    raise Unsupported(f"a part that is repeated more than {REPEATED:,} times")
                repeat = Tree("repeat", (self.sequence(list(inner), flags), int(least), bound))
                self.times = outside
                return possessive(repeat) if name == "POSSESSIVE_REPEAT" else repeat
        raise Unsupported(f"a part of it ({name.lower()})")


def atomic(tree: Tree) -> Tree:
    """`(?>...)`: the first option that matches, without backtracking. If all options have fixed
    lengths, that is each option under the condition that no earlier one matches."""
    if tree.operator == "seq" and tree.parts:
        *first, last = tree.parts
        if last.operator == "alt" and all(map(_is_fixed, first)):
            return Tree("seq", (*first, atomic(last)))
    options = tree.parts if tree.operator == "alt" else (tree,)
    if not all(map(_is_fixed, options)):
        return Tree("weaker", (tree, "an atomic group"))
    kept = []
    for i, option in enumerate(options):
        kept.append(
            Tree("seq", (*(Tree("ahead", (earlier, False)) for earlier in options[:i]), option))
        )
    return Tree("alt", tuple(kept))


def possessive(repeat: Tree) -> Tree:
    """A repeat without backtracking. If it repeats single characters, it ends where the next
    character does not match, or at its upper bound."""
    inner, least, most = repeat.parts
    if inner.operator != "set":
        return Tree("weaker", (repeat, "a possessive repeat"))
    stops = Tree("ahead", (inner, False))
    if most == -1:
        return Tree("seq", (repeat, stops))
    full = Tree("repeat", (inner, most, most))
    if most <= least:
        return full
    return Tree("alt", (full, Tree("seq", (Tree("repeat", (inner, least, most - 1)), stops))))


def _is_fixed(tree: Tree) -> bool:
    return tree.operator == "set" or (tree.operator == "seq" and all(map(_is_fixed, tree.parts)))


_ALPHABETS = re.ASCII | re.UNICODE
"""Flags of an alphabet: an inner group's flag replaces the outer one."""
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def characters(name: str, value: Any, flags: int) -> Charset:
    """The characters that one item of a parsed pattern matches, by the `regex` library."""
    letters = "".join(
        c for c, flag in (("i", re.IGNORECASE), ("s", re.DOTALL), ("a", re.ASCII)) if flags & flag
    )
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
    """Every charset in a tree."""
    if tree.operator in ("set", "behind", "boundary", "end"):
        if tree.parts[0] is not None:
            yield tree.parts[0]
        return
    todo = list(tree.parts)
    while todo:
        part = todo.pop()
        if isinstance(part, Tree):
            yield from charsets_of(part)
        elif isinstance(part, tuple):
            todo.extend(part)

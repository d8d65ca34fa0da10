r"""The texts of JSON values as trees of outlines: strings, constants, lists and objects. Numbers
are in number_outlines.py.

Each tree has every spelling that `json.loads` reads, but for what llguidance never follows: no
white space stands before or after a value, and only characters that must be escaped, or may be by a
short escape, are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import hexdigits
from typing import Any

from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Charset, characters_of, without_point
from fkdsl.engine.constraints.number_outlines import number
from fkdsl.engine.constraints.outlines import (
    alternatives,
    character_in,
    reference,
    repeated,
    sequence,
)
from fkdsl.engine.constraints.pattern_trees import EMPTY_TEXT, Tree, text_tree

ANY_VALUE = "value"
"""The rule of any JSON value."""
QUOTE, BACKSLASH = text_tree('"'), text_tree("\\")
PLAIN: Charset = without_point(without_point(ALL_CHARACTERS, ord('"')), ord("\\"))
"""The characters that stand for themselves in a string: also those that JSON wants escaped, which
does no harm in an outline."""
ESCAPED = characters_of("".join(map(chr, range(0x20))) + '"\\/\x7f')
"""The characters that may be written by an escape."""
ESCAPE = sequence(
    BACKSLASH,
    alternatives(
        character_in(characters_of('"\\/bfnrt')),
        sequence(text_tree("u"), repeated(character_in(characters_of(hexdigits)), 4, 4)),
    ),
)
CHARACTER = alternatives(character_in(PLAIN), ESCAPE)
"""One character of a string."""
SPACE = repeated(character_in(characters_of(" \t\n\r")))
"""White space between values."""
COMMA, COLON = sequence(SPACE, text_tree(","), SPACE), sequence(SPACE, text_tree(":"), SPACE)
EXACT_INTEGER = 10**15
"""Integers below it are written in one way."""


def string_of(contents: Tree) -> Tree:
    """A string with these contents, as they are written."""
    return sequence(QUOTE, contents, QUOTE)


def any_string(least: int = 0) -> Tree:
    """A string of at least so many characters."""
    return string_of(repeated(CHARACTER, least))


def written(runs: Charset) -> Tree:
    """How one character of a set is written in a string."""
    plain = without_point(without_point(runs, ord('"')), ord("\\"))
    tree = character_in(plain)
    if not any(first < b and a < last for first, last in runs for a, b in ESCAPED):
        return tree
    return alternatives(tree, ESCAPE) if plain else ESCAPE


def constant_string(text: str) -> Tree:
    """One text as a string."""
    return string_of(sequence(*(written(((ord(c), ord(c) + 1),)) for c in text)))


def constant(value: Any) -> Tree:
    """One value."""
    match value:
        case str():
            return constant_string(value)
        case bool() | None:
            return text_tree(json.dumps(value))
        case int() if abs(value) < EXACT_INTEGER:
            zero = (text_tree("-0"),) if value == 0 else ()
            return alternatives(text_tree(str(value)), *zero)
        case int() | float():
            return number()
        case list():
            return enclosed("[", "]", separated([(constant(item), True) for item in value]))
    members = [(member(any_string(), reference(ANY_VALUE)), True)] * len(value)
    return enclosed("{", "}", separated(members))


def enclosed(opening: str, closing: str, contents: Tree) -> Tree:
    return sequence(text_tree(opening), SPACE, contents, SPACE, text_tree(closing))


def member(key: Tree, value: Tree) -> Tree:
    """A name and a value of an object."""
    return sequence(key, COLON, value)


def separated(parts: Sequence[tuple[Tree, bool]], more: Tree | None = None, least: int = 0) -> Tree:
    """Parts in their order, with commas between them; after them, `more` at least so many times.
    Beside each part: whether it must be there."""
    after: list[Tree] = []  # what follows the first k parts, from behind, each with its comma
    if more is not None:
        after.append(repeated(sequence(COMMA, more), least))
    for part, needed in reversed(parts):
        following = sequence(COMMA, part)
        after.append(following if needed else repeated(following, 0, 1))
    after.reverse()
    options: list[Tree] = []
    for k, (part, needed) in enumerate(parts):
        options.append(sequence(part, *after[k + 1 :]))
        if needed:
            return alternatives(*options)
    if more is not None:
        options.append(sequence(more, repeated(sequence(COMMA, more), max(least - 1, 0))))
    return (
        alternatives(*options) if least and more is not None else alternatives(*options, EMPTY_TEXT)
    )


def any_values() -> dict[str, Tree]:
    """The rules of any JSON value."""
    value = reference(ANY_VALUE)
    return {
        ANY_VALUE: alternatives(
            *(text_tree(text) for text in ("null", "true", "false")),
            number(),
            any_string(),
            reference("list"),
            reference("object"),
        ),
        "list": enclosed("[", "]", separated([], value)),
        "object": enclosed("{", "}", separated([], member(any_string(), value))),
    }

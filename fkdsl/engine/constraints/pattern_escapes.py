"""Escapes of patterns outside of sets, as the `regex` library reads them."""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import cache
from typing import Any

import regex

from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, charset
from fkdsl.engine.constraints.pattern_characters import ASCII, WORD, Characters
from fkdsl.engine.constraints.pattern_trees import (
    EMPTY_TEXT,
    Tree,
    Unsupported,
    text_tree,
    weaker,
)

_LONG = (
    r"x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|N\{[A-Za-z0-9 -]*\}"
    r"|[pP](?:\{\^?[\w &.-]*(?:[:=][A-Za-z0-9 &_./-]*)?\}|[CLMNPSZ])|0[0-7]{0,2}"
)
"""Escapes of a character or of a property of more than one sign."""
_NUMBER = r"[1-7][0-7]{2}|[1-9][0-9]?"
_GROUP = r"g<([^)>]+)>"


@cache
def _compiled(pattern: str) -> Any:
    """A pattern that is compiled when an escape is first read: most programs have none, and each
    takes milliseconds."""
    return regex.compile(pattern, regex.ASCII)


class Escapes:
    """reference: makes the tree of a reference to a group, of its name and the flags."""

    def __init__(self, characters: Characters, reference: Callable[[str, int], Tree]) -> None:
        self.characters, self.reference = characters, reference

    def read(self, at: int, flags: int) -> tuple[Tree, int]:
        """The tree of the escape behind a backslash at at - 1, and where it ends."""
        pattern = self.characters.pattern
        c = pattern[at : at + 1]
        long = _compiled(_LONG).match(pattern, at)
        if long is not None:
            return self._one(pattern[at - 1 : long.end()], flags), long.end()
        group = _compiled(_GROUP).match(pattern, at)
        if group is not None and (group[1].isdigit() or group[1].isidentifier()):
            return self.reference(group[1], flags), group.end()
        number = _compiled(_NUMBER).match(pattern, at)
        if number is not None and len(number[0]) == 3:
            return self._one(
                f"\\U{int(number[0], 8) & self._octal(flags):08x}", flags
            ), number.end()
        if number is not None:
            return self.reference(number[0], flags), number.end()
        return self._short(c, flags), at + 1

    def _octal(self, flags: int) -> int:
        return 0xFF if flags & ASCII else 0x1FF

    def _one(self, written: str, flags: int) -> Tree:
        return self.characters.tree(written, flags)

    def _short(self, c: str, flags: int) -> Tree:
        match c:
            case "A" | "G":
                return Tree("start", ())
            case "Z" | "z":
                return Tree("end", (None,))
            case "b" | "B" | "m" | "M" if flags & WORD:
                return weaker(EMPTY_TEXT, f"`\\{c}` under the flag w")
            case "b" | "B":
                return Tree("boundary", (self.characters.of(r"\w", flags), c == "b"))
            case "m" | "M":
                word = Tree("set", (self.characters.of(r"\w", flags),))
                before, after = Tree("behind", (word, c == "M")), Tree("ahead", (word, c == "m"))
                return Tree("seq", (before, after))
            case "K":  # it only moves where the match begins
                return EMPTY_TEXT
            case "R":
                ends = Tree("set", (charset(r"[\n\v\f\r\x85\u2028\u2029]"),))
                return Tree("atomic", (Tree("alt", (text_tree("\r\n"), ends)),))
            case "X":
                some = Tree("repeat", (Tree("set", (ALL_CHARACTERS,)), 1, -1, True))
                return weaker(some, "a grapheme")
            case "L":
                raise Unsupported("a named list")
            case "N" | "p" | "P" | "g":
                return self.characters.literal(c, flags)
            case _ if c in string.ascii_letters:
                return self._one(f"\\{c}", flags)
        return self.characters.literal(c, flags)

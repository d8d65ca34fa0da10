"""The characters of a pattern, read one after the other, as the `regex` library reads them: under
the flag x it skips spaces and comments between any two."""

from __future__ import annotations

import string
from collections.abc import Callable

import regex

from fkdsl.engine.constraints.pattern_characters import LOCALE, VERBOSE
from fkdsl.engine.constraints.pattern_trees import Unsupported

_FLAGS = {letter: int(regex.RegexFlag[letter.upper()]) for letter in "abefimprsuwx"} | {
    "L": LOCALE, "V0": int(regex.V0), "V1": int(regex.V1)
}  # fmt: skip


class Source:
    """at: the position in the pattern. flags: those that hold there."""

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern, self.at, self.flags = pattern, 0, flags

    def skip(self) -> None:
        """Passes spaces and comments under the flag x."""
        while self.flags & VERBOSE and self.at < len(self.pattern):
            if self.pattern[self.at].isspace():
                self.at += 1
            elif self.pattern[self.at] == "#":
                end = self.pattern.find("\n", self.at)
                self.at = end if end >= 0 else len(self.pattern)
            else:
                return

    def next(self, skips: bool = True) -> str:
        """The next character, "" at the end, and moves past it."""
        if skips:
            self.skip()
        c = self.pattern[self.at : self.at + 1]
        self.at += len(c)
        return c

    def accept(self, text: str) -> bool:
        """Moves past a text if it comes next."""
        before = self.at
        if all(self.next() == c for c in text):
            return True
        self.at = before
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unsupported(f"a part without {text!r}")

    def run(self, wanted: Callable[[str], bool]) -> str:
        """The characters up to the first that is not wanted."""
        out: list[str] = []
        while True:
            self.skip()
            c = self.pattern[self.at : self.at + 1]
            if not c or not wanted(c):
                return "".join(out)
            out.append(c)
            self.at += 1

    def name(self, end: str) -> str:
        name = self.run(lambda c: c not in ")>")
        self.expect(end)
        return name

    def counts(self) -> tuple[int, int] | None:
        """The bounds in braces; None if it is something else that begins with a brace."""
        before = self.at
        least = self.run(string.digits.__contains__)
        comma = self.accept(",")
        most = self.run(string.digits.__contains__) if comma else least
        if (least or comma) and self.accept("}"):
            return int(least or 0), int(most) if most else -1
        self.at = before
        return None

    def comment(self) -> None:
        while (c := self.next(skips=False)) not in ("", ")"):
            if c == "\\":
                self.next(skips=False)

    def flag_set(self) -> int:
        flags = 0
        while True:
            before = self.at
            letter = self.next()
            if letter == "V":
                letter += self.next()
            if letter not in _FLAGS:
                self.at = before
                return flags
            flags |= _FLAGS[letter]

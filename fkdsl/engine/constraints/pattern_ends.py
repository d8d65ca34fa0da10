r"""Patterns for the beginnings of texts.

The `regex` library can say of a text whether it may be the beginning of one that matches
(`fullmatch(text, partial=True)`). But it takes the end of the text for the end: behind "foo" it
says that `foo\Bbar` cannot match any more. So the pattern is changed where it looks at what comes
next, to say yes where the text ends there:

>>> ends = TextEnds(r"foo\Bbar", True)
>>> ends.escape(3, 5)
>>> ends.beginnings()
Beginnings(pattern='foo(?:\\B|\\Z)bar', refused=())

And what a look-ahead at the front refuses, it refuses however the text goes on; but the library
says so only of the whole text. So it is asked of the beginning by itself:

>>> isogram = r"(?!.*(.).*\1)[a-z]+"
>>> ends = TextEnds(isogram, True)
>>> ends.refuse(ends.mark(), "(?s)", r".*(.).*\1")
>>> ends.beginnings().refused
('(?s)(?:.*(.).*\\1)',)

Law: what the changed pattern does not match in part, or what begins with a text that is refused,
is no beginning of a text that the pattern matches.
"""

from __future__ import annotations

from typing import NamedTuple

from fkdsl.base.quick_dataclass import dataclass


@dataclass(frozen=True)
class Beginnings:
    """pattern: its partial matches may be beginnings of texts that match. refused: patterns with
    whose texts none of these begins."""

    pattern: str
    refused: tuple[str, ...]


class Mark(NamedTuple):
    """How much of a pattern was read: how many changes, how many parts that depend on the end of
    the text, how many groups, how many patterns that are refused."""

    changes: int
    ends: int
    groups: int
    refused: int


class TextEnds:
    """What of a pattern depends on whether the text goes on, as it is read. follows: whether the
    library can follow beginnings of its texts at all."""

    def __init__(self, pattern: str, follows: bool) -> None:
        self.pattern, self.follows = pattern, follows
        self._changes: list[tuple[int, int, str]] = []
        self._refused: list[str] = []
        self._ends = self._groups = 0

    def mark(self) -> Mark:
        return Mark(len(self._changes), self._ends, self._groups, len(self._refused))

    def end(self) -> None:
        """An end of the text is demanded; where the text ends, it is there."""
        self._ends += 1

    def group(self) -> None:
        self._groups += 1

    def unknown(self) -> None:
        """The library's answers do not hold."""
        self.follows = False

    def escape(self, begins: int, ends: int) -> None:
        """An escape was read."""
        written = self.pattern[begins:ends]
        if written in (r"\b", r"\B", r"\m", r"\M"):
            self._changes.append((begins, ends, rf"(?:{written}|\Z)"))
        if written in (r"\Z", r"\z", r"\X"):
            self.end()

    def atomic(self, mark: Mark) -> None:
        """A part that is not tried again was read: it may have matched only by a change."""
        if len(self._changes) > mark.changes:
            self.unknown()

    def test(self, mark: Mark) -> None:
        """The test of a conditional was read."""
        if self.mark()[:2] != mark[:2]:
            self.unknown()
        self.end()

    def look_around(self, mark: Mark, must: bool, begins: int, ends: int) -> None:
        """A look-around was read. One that must not match, and could still come to match or not,
        asks nothing."""
        changed = self.mark()[:2] != mark[:2]
        if changed and self._groups > mark.groups:
            self.unknown()
        if changed and not must:
            self._changes[mark.changes :] = [(begins, ends, "(?:)")]
        self.end()

    def refuse(self, mark: Mark, front: str, inside: str) -> None:
        """A look-ahead at the front of the whole pattern was read, which must not match. front:
        flags. Nothing is known of it where it depends on the end of the text, or refers to groups
        before it."""
        if self.mark()[:2] == mark[:2] and not mark.groups:
            self._refused.append(f"{front}(?:{inside})")

    def undo_refused(self, kept: int) -> None:
        """What was refused is only one way to match."""
        del self._refused[kept:]

    def beginnings(self) -> Beginnings | None:
        """What is known of the beginnings of texts that match; None if nothing is."""
        if not self.follows:
            return None
        out, at = [], 0
        for begins, ends, instead in self._changes:
            out += [self.pattern[at:begins], instead]
            at = ends
        return Beginnings("".join([*out, self.pattern[at:]]), tuple(self._refused))

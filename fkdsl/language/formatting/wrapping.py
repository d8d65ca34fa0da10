"""A logical line broken into lines of at most WIDTH characters.

A line that fits is one line. Else brackets are opened from the left as far as needed, with one
argument, item or field a line; within these, texts that stand side by side, clauses, and parts of
`and` and `or` have a line each. A comma behind the last item keeps a bracket open, and so do a
comment in it and texts side by side that the author set on lines of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fkdsl.language.formatting.pieces import Piece
from fkdsl.language.formatting.spaces import (
    CALLED,
    CLOSING,
    OPENING,
    closing,
    is_sign,
    is_subscript,
    spaced,
)

WIDTH = 100
INDENT = "    "
TEXTS = frozenset({"STRING", "FSTRING"})
CLAUSES = frozenset({"FOR", "IF", "ELSE"})
JOINS = frozenset({"AND", "OR"})
SUMS = frozenset({"PLUS", "MINUS"})
PRODUCTS = frozenset({"STAR", "SLASH", "DSLASH", "PERCENT"})


class Unbreakable(Exception):
    """A comment stands where no line is broken: the line stays as its author wrote it."""


def tidy(comment: str) -> str:
    """A comment with a space behind its `#`, unless other marks or nothing follow."""
    plain = len(comment) > 1 and (comment[1].isalnum() or comment[1] in "\"'`([{")
    return f"# {comment[1:]}" if plain else comment


def wrapped(pieces: Sequence[Piece], indent: str) -> str:
    """The lines of a logical line, the first without its indentation; comments beside it are in it.
    Raises Unbreakable."""
    wrapper = _Wrapper(pieces, indent)
    wrapper.run(0, len(pieces), indent)
    if pieces[-1].beside is not None:
        wrapper.put(f"  {tidy(pieces[-1].beside)}")
    return wrapper.text


class _Wrapper:
    """text: the lines so far. start: where the last of them begins in it."""

    def __init__(self, pieces: Sequence[Piece], indent: str) -> None:
        self.pieces, self.space = pieces, spaced(pieces)
        self.text, self.indent, self.fresh = "", indent, True
        self.backslashes = len(indent) + len(self.flat(0, len(pieces))) > WIDTH

    # ----------------------------------------------------------------- output

    def put(self, text: str) -> None:
        self.text += text
        self.fresh = False

    def newline(self, indent: str) -> None:
        self.text += f"\n{indent}"
        self.fresh = True

    def token(self, i: int) -> None:
        self.put((" " if self.space[i] and not self.fresh else "") + self.pieces[i].text)

    @property
    def column(self) -> int:
        """Characters in the last line."""
        whole = self.indent + self.text
        return len(whole) - whole.rfind("\n") - 1

    # -------------------------------------------------------------- measuring

    def flat(self, start: int, stop: int) -> str:
        """The tokens of a range in one line."""
        return "".join(
            (" " if self.space[i] and i > start else "") + self.pieces[i].text
            for i in range(start, stop)
        )

    def must_break(self, start: int, stop: int) -> bool:
        """Whether a line ends within a range whatever its length: behind a comment, between texts
        that the author parted, or in a bracket whose last item has a comma."""
        for i in range(start, stop):
            piece = self.pieces[i]
            if i > start and (piece.above or self.pieces[i - 1].beside is not None):
                return True
            if i > start and piece.broken and {piece.kind, self.pieces[i - 1].kind} <= TEXTS:
                return True
            if piece.kind == "COMMA" and i + 1 < stop and self.pieces[i + 1].kind in CLOSING:
                return True
        return False

    def next_break(self, i: int, stop: int) -> int:
        """The index behind the next opening bracket at or after i, or stop."""
        return next((j + 1 for j in range(i, stop) if self.pieces[j].kind in OPENING), stop)

    # ------------------------------------------------------------------ lines

    def run(self, start: int, stop: int, indent: str) -> None:
        """The tokens of a range from left to right; brackets that do not fit are opened."""
        i = start
        while i < stop:
            piece = self.pieces[i]
            if i > start and (piece.above or self.pieces[i - 1].beside is not None):
                raise Unbreakable
            if piece.continued and self.backslashes and not self.fresh:
                self.put(" \\")
                self.newline(indent + INDENT)
            self.token(i)
            if piece.kind in OPENING:
                i = self.bracket(i, stop, indent)
            i += 1

    def bracket(self, opening: int, stop: int, indent: str) -> int:
        """What a bracket holds, and its end, whose index is given back."""
        end = closing(self.pieces, opening)
        tail = self.flat(opening + 1, self.next_break(end + 1, stop)).split("\n")[0]
        fits = self.column + len(tail) <= WIDTH or end == opening + 1
        whole = fits or self.is_long_token(opening, end, indent)
        if whole and not self.must_break(opening, end + 1):
            for i in range(opening + 1, end + 1):
                self.token(i)
        else:
            self.opened(opening, end, indent)
        return end

    def is_long_token(self, opening: int, end: int, indent: str) -> bool:
        """Whether a bracket holds one token that is too long for a line of its own too."""
        inner = self.pieces[opening + 1].text.split("\n")[0]
        return end == opening + 2 and len(indent + INDENT + inner) > WIDTH

    def opened(self, opening: int, end: int, indent: str) -> None:
        """A bracket with each of its items on a line."""
        if self.pieces[opening].beside is not None:
            self.put(f"  {tidy(self.pieces[opening].beside or '')}")
        items = self.items(opening + 1, end)
        for start, stop in items:
            has_comma = self.pieces[stop - 1].kind == "COMMA"
            stop -= has_comma
            self.item(start, stop, indent + INDENT)
            if has_comma or (len(items) > 1 and self.takes_comma(opening)):
                self.put(",")
            note = self.pieces[stop - 1].beside
            if has_comma:
                comma = self.pieces[stop]
                if comma.above or (note is not None and comma.beside is not None):
                    raise Unbreakable
                note = note if comma.beside is None else comma.beside
            if note is not None:
                self.put(f"  {tidy(note)}")
        self.comments(end, indent + INDENT)
        self.newline(indent)
        self.token(end)

    def comments(self, i: int, indent: str) -> None:
        """The comments above a token, each on a line."""
        for comment in self.pieces[i].above:
            self.newline(indent)
            self.put(tidy(comment.text))

    def item(self, start: int, stop: int, indent: str) -> None:
        """What stands between commas, on one line if it can."""
        self.comments(start, indent)
        self.newline(indent)
        self.parts(start, stop, indent)

    def parts(self, start: int, stop: int, indent: str) -> None:
        fits = len(indent) + len(self.flat(start, stop).split("\n")[0]) < WIDTH
        if fits and not self.must_break(start, stop):
            for i in range(start, stop):
                self.token(i)
            return
        parts = self.breaks(start, stop)
        for k, (a, b) in enumerate(parts):
            if k:
                before = self.pieces[a - 1].beside
                if before is not None:
                    self.put(f"  {tidy(before)}")
                self.comments(a, indent)
                self.newline(indent)
            if len(parts) > 1:
                self.parts(a, b, indent)
            else:
                self.run(a, b, indent)

    # ----------------------------------------------------------------- breaks

    def breaks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Where a range is broken: at the loosest of what binds its parts."""
        for kinds in (CLAUSES, JOINS):
            parts = self.split_before(start, stop, kinds)
            if len(parts) > 1:
                return parts
        parts = self.split_texts(start, stop)
        if len(parts) > 1:
            return parts
        if not any(self.pieces[i].kind in OPENING for i in range(start, stop)):
            for kinds in (SUMS, PRODUCTS):
                parts = self.split_before(start, stop, kinds)
                if len(parts) > 1:
                    return parts
        return [(start, stop)]

    def outermost(self, start: int, stop: int) -> list[int]:
        """The tokens of a range that stand in none of its brackets."""
        found, depth = [], 0
        for i in range(start, stop):
            kind = self.pieces[i].kind
            if depth == 0:
                found.append(i)
            depth += (kind in OPENING) - (kind in CLOSING)
        return found

    def items(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What a bracket holds, cut behind its commas. A comprehension is one item: the commas in
        it part the names of a clause."""
        outermost = self.outermost(start, stop)
        if any(self.pieces[i].kind == "FOR" for i in outermost):
            return [(start, stop)]
        cuts = [i + 1 for i in outermost if self.pieces[i].kind == "COMMA"]
        return _ranges(start, cuts, stop)

    def split_before(self, start: int, stop: int, kinds: frozenset[str]) -> list[tuple[int, int]]:
        """The range cut before its outermost tokens of some kinds, signs apart."""
        cuts = [
            i
            for i in self.outermost(start, stop)
            if i > start and self.pieces[i].kind in kinds and not is_sign(self.pieces, i)
        ]
        return _ranges(start, cuts, stop)

    def split_texts(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The range cut between texts that stand side by side."""
        cuts = [
            i
            for i in self.outermost(start, stop)
            if i > start and {self.pieces[i].kind, self.pieces[i - 1].kind} <= TEXTS
        ]
        return _ranges(start, cuts, stop)

    def takes_comma(self, opening: int) -> bool:
        """Whether a comma may stand behind a bracket's last item."""
        if is_subscript(self.pieces, opening):
            return False
        kind = self.pieces[opening].kind
        return kind != "LPAR" or (opening > 0 and self.pieces[opening - 1].kind in CALLED)


def _ranges(start: int, cuts: list[int], stop: int) -> list[tuple[int, int]]:
    bounds = [start, *cuts, stop]
    return [(a, b) for a, b in pairwise(bounds) if a < b]

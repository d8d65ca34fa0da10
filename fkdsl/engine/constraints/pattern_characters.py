r"""Single characters of patterns, as the `regex` library itself reads them under its flags.

>>> Characters(0, "abc").of("[b-d]", 0) == ((98, 101),)
True
"""

from __future__ import annotations

from functools import lru_cache

import regex

from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, SURROGATES, Charset, charset, single
from fkdsl.engine.constraints.ecma import class_items
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported, weaker

ASCII, FULLCASE, IGNORECASE = int(regex.A), int(regex.F), int(regex.I)
MULTILINE, DOTALL, UNICODE = int(regex.M), int(regex.S), int(regex.U)
VERSION1, WORD, VERBOSE, LOCALE = int(regex.V1), int(regex.W), int(regex.X), int(regex.L)
SCOPED = {"a": ASCII, "i": IGNORECASE, "s": DOTALL, "u": UNICODE, "w": WORD}
"""Flags that change which characters a part for one character matches."""
LARGE_SET = 2_000
"""Sets of more characters take the library long to read."""
LONGEST_FOLDING = 3
"""Most characters that one character becomes by full case-folding."""


class Characters:
    """The sets of characters of one pattern. flags: those of the whole pattern."""

    def __init__(self, flags: int, pattern: str) -> None:
        version = "V1" if flags & VERSION1 else "V0"
        self.front = f"(?{version}{'a' if flags & ASCII else ''})"
        self.pattern = pattern

    def of(self, written: str, flags: int) -> Charset:
        """The characters that a part of the pattern for one character matches. flags: those that
        hold where it stands."""
        letters = "".join(letter for letter, flag in SCOPED.items() if flags & flag)
        # What one character becomes by full case-folding is `tree`'s affair.
        return charset(f"{self.front}(?{letters}-f:{written})")

    def literal(self, character: str, flags: int) -> Tree:
        if SURROGATES[0] <= ord(character) < SURROGATES[1]:
            return Tree("set", ((),))
        if not flags & IGNORECASE:
            return Tree("set", (single(character),))
        return self.tree(f"\\U{ord(character):08x}", flags)

    def tree(self, written: str, flags: int) -> Tree:
        """`of` as a tree. Where full case-folding may let several characters stand for one or one
        for several, a larger one."""
        runs = self.of(written, flags)
        one = Tree("set", (runs,))
        full = flags & FULLCASE and flags & IGNORECASE and not flags & ASCII
        if not full or not any(first <= p < last for p in _folded() for first, last in runs):
            return one
        others = Tree("repeat", (Tree("set", (_folded_charset(),)), 0, LONGEST_FOLDING, True))
        return weaker(Tree("alt", (one, others)), "full case-folding (flags f and i, or V1 and i)")

    def set_end(self, at: int, flags: int) -> int:
        """Where the set that begins at a position ends: the library reads a part up to some `]` as
        a pattern only if the set ends there."""
        end = at
        while (end := self.pattern.find("]", end) + 1) > 0:
            try:
                regex.compile(
                    f"{self.front}(?{'a' if flags & ASCII else ''}:{self.pattern[at:end]})"
                )
            except (regex.error, ValueError):
                continue
            return end
        raise Unsupported("a set without an end")


@lru_cache(maxsize=1)
def _folded() -> frozenset[int]:
    """The characters that full case-folding makes several of, and those that it makes of them."""
    points = (p for p in range(0x110000) if not SURROGATES[0] <= p < SURROGATES[1])
    folded = [chr(p) + f for p in points if len(f := chr(p).casefold()) > 1]
    return frozenset(ord(c) for text in folded for c in text)


@lru_cache(maxsize=1)
def _folded_charset() -> Charset:
    """`_folded` and the same in either case."""
    return either_case(tuple((p, p + 1) for p in sorted(_folded())))


@lru_cache(maxsize=256)
def either_case(runs: Charset) -> Charset:
    """The characters of a set in either case; of a large set, all characters."""
    if sum(last - first for first, last in runs) > LARGE_SET:
        return ALL_CHARACTERS
    return charset(f"(?i)[{class_items(runs)}]") if runs else runs

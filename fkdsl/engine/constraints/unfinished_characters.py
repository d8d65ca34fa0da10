"""Bytes that are not whole characters: what they may be read as."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from fkdsl.engine.constraints.charsets import REPLACEMENT, Partition
from fkdsl.engine.constraints.tokens_left import TokensLeft


def piece_classes(
    pieces: Iterable[bytes], partition: Partition, replaced: int
) -> set[tuple[int, ...]]:
    """The classes of what tokens may read that are not whole characters, and some more: the first
    bytes of one may end any character that is not ASCII, and its last bytes may begin one.
    replaced: the class of U+FFFD."""
    fresh, after = piece_texts(pieces)
    read = {tuple(partition.classes_of(text)) for text in fresh}
    ended = {tuple(partition.classes_of(text)) for text in after}
    first = partition.classes_between(0x80, 0x10FFFF)
    read |= {(symbol, *piece) for symbol in first for piece in ended}
    return read | {(*piece, replaced) for piece in read}


def piece_texts(pieces: Iterable[bytes]) -> tuple[set[str], set[str]]:
    """(the texts of some bytes each of which is not whole characters, their texts without first
    bytes that end a character)."""
    fresh, after = set(), set()
    for raw in set(pieces):
        fresh |= _read(raw)
        tail = next((k for k, b in enumerate(raw[:4]) if not 0x80 <= b < 0xC0), min(len(raw), 4))
        for k in range(1, min(tail, 3) + 1):
            after |= _read(raw[k:])
    return fresh, after


def _read(raw: bytes) -> set[str]:
    """The texts of some bytes: without an unfinished character at the end, and with U+FFFD for
    it."""
    return {
        codecs.getincrementaldecoder("utf-8")("replace").decode(raw),
        raw.decode("utf-8", "replace"),
    }


MOST_LEFT = 3
"""Most bytes that an unfinished character lacks."""


class Unfinished:
    """What unfinished characters may become in the texts of an automaton over a vocabulary. pieces:
    the tokens that are not whole characters. silent: whether a token that ends no text has no
    text."""

    def __init__(self, partition: Partition, pieces: Iterable[bytes], silent: bool) -> None:
        self._partition, self._silent = partition, silent
        self.replaced = partition.classes_of(chr(REPLACEMENT))[0]
        self._run = finishing_run(pieces)

    def classes(self, pending: bytes) -> frozenset[int]:
        """The classes of the characters that an unfinished one may become; empty if there is no
        unfinished one. {-1} for the first bytes of a surrogate: Python waits for more bytes, and
        then reads two or three U+FFFD."""
        if not pending:
            return frozenset()
        if pending[0] == 0xED and pending[1:] >= b"\xa0":
            return frozenset({-1})
        between = self._partition.classes_between(*completions(pending))
        return frozenset({self.replaced, *between})

    def kind(self, pending: bytes) -> tuple[frozenset[int], int]:
        """All that the methods here ask of it: those that are alike go on alike."""
        return self.classes(pending), bytes_left(pending)

    def tokens(self, pending: bytes) -> int:
        """The fewest tokens that finish it, as far as it is known."""
        return 0 if self._run is None else -(-bytes_left(pending) // self._run)

    def may_stay(self, pending: bytes, left: TokensLeft) -> bool:
        """Whether it may be unfinished still where a budget of so many tokens has ended."""
        return left is None or self._silent or left < bytes_left(pending)


def finishing_run(pieces: Iterable[bytes]) -> int | None:
    r"""How many of the bytes that an unfinished character lacks one token brings at most; None if
    a token brings some and goes on with other text, so that it is not known what it saves.

    >>> finishing_run([b"\xc3", b"\xa9", b"\x82\xac"]), finishing_run([b"\xa9."])
    (2, None)
    """
    most = 1
    for raw in pieces:
        brings = next((k for k, b in enumerate(raw) if not 0x80 <= b < 0xC0), len(raw))
        if 0 < brings < len(raw):
            return None
        most = max(most, brings)
    return most


def bytes_left(pending: bytes) -> int:
    r"""The bytes that an unfinished character lacks.

    >>> [bytes_left(pending) for pending in (b"", b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0")]
    [0, 1, 2, 1, 3]
    """
    first = pending[0] if pending else 0
    length = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0x80 else 0
    return max(length - len(pending), 0)


def completions(pending: bytes) -> tuple[int, int]:
    """The least and the greatest code point of the characters that begin with these bytes."""
    return _complete(pending, range(0x80, 0xC0)), _complete(pending, range(0xBF, 0x7F, -1))


def _complete(pending: bytes, order: range) -> int:
    try:
        return ord(pending.decode("utf-8"))
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return -1
    return next(point for b in order if (point := _complete(pending + bytes([b]), order)) >= 0)

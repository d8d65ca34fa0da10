"""Bytes that are not whole characters: what they may be read as."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from fkdsl.engine.constraints.charsets import Partition


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

"""What Python's `lower` and `upper` make of each character, as sets of characters for automata.

>>> images("upper")["\\u00df"], images("lower")["A"], "a" in images("lower")
('SS', 'a', False)
>>> (ord("K"), ord("K") + 1) in preimages("lower", [((ord("k"), ord("k") + 1),)])[0]
True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from fkdsl.base.arrays import NDArray, np
from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    CODE_POINTS,
    Charset,
    all_characters,
)

SIGMA, SMALL_SIGMA, FINAL_SIGMA = "\u03a3", "\u03c3", "\u03c2"
"""The one character whose lower case depends on its neighbours: it is FINAL_SIGMA at the end of a
word."""
BLOCK = 4096


@lru_cache(maxsize=2)
def images(to: str) -> dict[str, str]:
    """The characters that have another lower or upper case, and what it is."""
    change = {"lower": str.lower, "upper": str.upper}[to]
    characters = all_characters()
    blocks = (characters[i : i + BLOCK] for i in range(0, len(characters), BLOCK))
    return {
        c: change(c) for block in blocks if change(block) != block for c in block if change(c) != c
    }


@lru_cache(maxsize=2)
def unchanged(to: str) -> Charset:
    """The characters that are their own lower or upper case."""
    inside = _inside(ALL_CHARACTERS)
    inside[[ord(c) for c in images(to)]] = False
    return _runs(inside)


def preimages(to: str, sets: Sequence[Charset]) -> list[Charset]:
    """Sets of characters by which it is known of a character which characters its image has, as far
    as the sets tell them apart."""
    moved = images(to)
    points = np.array([ord(c) for c in moved], dtype=np.int64)
    alone = [(ord(c), ord(image)) for c, image in moved.items() if len(image) == 1]
    sources, targets = np.array(alone, dtype=np.int64).T
    result = []
    for runs in sets:
        inside = _inside(runs)
        image_inside = inside[targets]
        inside[points] = False
        inside[sources[image_inside]] = True
        result.append(_runs(inside))
    groups: dict[tuple[tuple[bool, ...], ...], list[int]] = {}
    for c, image in moved.items():
        if len(image) > 1:
            groups.setdefault(tuple(_signature(i, sets) for i in image), []).append(ord(c))
    if tells_sigmas_apart(to, sets):
        groups[()] = [ord(SIGMA)]
    return result + [_of_points(group) for group in groups.values()]


def tells_sigmas_apart(to: str, sets: Sequence[Charset]) -> bool:
    """Whether the lower case of a capital sigma depends on its neighbours, as far as the sets
    tell."""
    return to == "lower" and _signature(SMALL_SIGMA, sets) != _signature(FINAL_SIGMA, sets)


def _signature(character: str, sets: Iterable[Charset]) -> tuple[bool, ...]:
    point = ord(character)
    return tuple(any(first <= point < last for first, last in runs) for runs in sets)


def _of_points(points: list[int]) -> Charset:
    return tuple((p, p + 1) for p in sorted(points))


def _inside(runs: Charset) -> NDArray[np.bool_]:
    """(CODE_POINTS,) which characters are in a set."""
    inside = np.zeros(CODE_POINTS, dtype=np.bool_)
    for first, last in runs:
        inside[first:last] = True
    return inside


def _runs(inside: NDArray[np.bool_]) -> Charset:
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    return tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

"""A vocabulary as a tree of characters, so that one walk of an automaton covers every token.

Tokens that are not whole characters (bytes of a longer one) stand apart; they are few, and are
followed one by one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.vocabulary import Vocabulary

Ints = NDArray[np.int32]
BITS = 21
"""Bits of a code point."""


class TokenTree:
    """Nodes are the prefixes of whole tokens, level by level; node 0 is the empty prefix.

    parent, point: (nodes,) the prefix one character shorter, and the last character's code point.
    levels: the first node of each length, and the end. node: (V,) each token's node, -1 for one
    that is not whole characters. broken: the ids of those.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        texts: list[str | None] = [_whole(raw) for raw in vocabulary.tokens]
        self.broken = [i for i, t in enumerate(texts) if t is None]
        whole = [t or "" for t in texts]
        lengths = np.array([len(t) for t in whole])
        begins = np.cumsum(lengths) - lengths
        characters = np.frombuffer("".join(whole).encode("utf-32-le"), dtype="<u4").astype(np.int64)
        at = np.zeros(len(texts), dtype=np.int64)
        parents, points, levels = (
            [np.zeros(1, dtype=np.int64)],
            [np.zeros(1, dtype=np.int64)],
            [0, 1],
        )
        depth = 0
        while len(left := np.flatnonzero(lengths > depth)):
            keys = at[left] << BITS | characters[begins[left] + depth]
            made, which = np.unique(keys, return_inverse=True)
            parents.append(made >> BITS)
            points.append(made & (1 << BITS) - 1)
            at[left] = levels[-1] + which
            levels.append(levels[-1] + len(made))
            depth += 1
        at[self.broken] = -1
        self.node: Ints = at.astype(np.int32)
        self.parent: Ints = np.concatenate(parents).astype(np.int32)
        self.point: NDArray[np.int64] = np.concatenate(points)
        self.levels = levels
        self.longest = depth


def _whole(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=8)
def token_tree(vocabulary: Vocabulary) -> TokenTree:
    """The tree of a vocabulary, made once."""
    return TokenTree(vocabulary)

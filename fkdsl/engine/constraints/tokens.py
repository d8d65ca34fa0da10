"""A vocabulary as a tree of characters, so that one walk of an automaton covers every token.

Tokens that are not whole characters (some bytes of one) are not in the tree. They are few, and each
is followed by itself.
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
    """The prefixes of all tokens of whole characters, numbered by length; node 0 is the empty one.

    parent, point: (nodes,) the prefix one character shorter, and the code point of the last
    character. levels: the first node of each length, then the number of nodes. node: (V,) the node
    of each token, -1 for tokens that are not whole characters. broken: the ids of these.
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
        while len(longer := np.flatnonzero(lengths > depth)):
            keys = at[longer] << BITS | characters[begins[longer] + depth]
            nodes, which = np.unique(keys, return_inverse=True)
            parents.append(nodes >> BITS)
            points.append(nodes & (1 << BITS) - 1)
            at[longer] = levels[-1] + which
            levels.append(levels[-1] + len(nodes))
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
    """The tree of a vocabulary, built once."""
    return TokenTree(vocabulary)

"""A vocabulary as a tree of characters, so that one walk of an automaton covers every token.

Tokens that are not whole characters (bytes of a longer one) stand apart; they are few, and are followed one by one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.vocabulary import Vocabulary

Ints = NDArray[np.int32]


class TokenTree:
    """Nodes are the prefixes of whole tokens, level by level; node 0 is the empty prefix.

    parent, point: (nodes,) the prefix one character shorter, and the last character's code point. levels: the first
    node of each length, and the end. node: (V,) each token's node, -1 for one that is not whole characters. broken: the
    ids of those.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        texts: list[str | None] = [_whole(raw) for raw in vocabulary.tokens]
        self.broken = [i for i, t in enumerate(texts) if t is None]
        node = np.zeros(len(texts), dtype=np.int32)
        parents, points, levels = [0], [0], [0, 1]
        at: list[int] = [0] * len(texts)
        left = [i for i, t in enumerate(texts) if t]
        depth = 0
        while left:
            made: dict[tuple[int, str], int] = {}
            for i in left:
                text = texts[i]
                assert text is not None
                key = (at[i], text[depth])
                if key not in made:
                    made[key] = len(parents)
                    parents.append(at[i])
                    points.append(ord(text[depth]))
                at[i] = made[key]
            levels.append(len(parents))
            depth += 1
            left = [i for i in left if len(texts[i] or "") > depth]
        node[:] = at
        node[self.broken] = -1
        self.node: Ints = node
        self.parent: Ints = np.array(parents, dtype=np.int32)
        self.point: NDArray[np.int64] = np.array(points, dtype=np.int64)
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

"""A vocabulary as a trie of bytes, and the symbols of byte views.

The tokens stand in the order of their bytes, so those below a node of the trie are one run of them,
and those below its children are runs of that run. What a node's children weigh is then one
`np.add.reduceat` over the node's run: no pass over the vocabulary but at the root, and nodes that
no text reaches are never made.

>>> trie = ByteTrie(Vocabulary((b"a", b"", b"ab", b"b"), ends=frozenset({1})))
>>> trie.ids.tolist()                                     # a, ab, b, and the end
[0, 2, 3, 1]
>>> a = trie.root.child(97)
>>> (a.lo, a.hi, a.complete), trie.root.symbols.tolist()
((0, 2, 1), [97, 98, 256])
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.vocabulary import Vocabulary

END = 256
"""The symbol of the end of a text, behind the 256 bytes."""
MARKERS = 255
"""Symbols behind END that stand for tokens without bytes, the first of the vocabulary's: a chat
template's, say."""
SYMBOLS = END + 1 + MARKERS

BYTES = Vocabulary(
    (*(bytes([b]) for b in range(256)), *(b"" for _ in range(1 + MARKERS))),
    ends=frozenset({END}),
)
"""The vocabulary of every byte view, so that any two can be combined."""


class ByteTrie:
    """ids: (T,) the tokens that stand for bytes, in the order of their bytes, then those that end a
    text. markers: the symbol of each token that stands for no bytes; one that ends a text has a
    marker too, by which a prompt says it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokens, ends = vocabulary.tokens, vocabulary.ends
        spelt = sorted(
            (i for i, raw in enumerate(tokens) if raw and i not in ends), key=lambda i: tokens[i]
        )
        self.ids = np.array([*spelt, *sorted(ends)], dtype=np.int64)
        self.keys: list[bytes | tuple[int, ...]] = [
            *(tokens[i] for i in spelt),
            *((END,) for _ in ends),
        ]
        silent = [i for i, raw in enumerate(tokens) if not raw][:MARKERS]
        self.markers = {i: END + 1 + n for n, i in enumerate(silent)}
        self.marked = {symbol: i for i, symbol in self.markers.items()}
        self.root = Node(self.keys, 0, len(self.ids), 0)

    def spelling(self, symbols: bytes | tuple[int, ...]) -> tuple[int, ...] | None:
        """A token for each symbol; None if some symbol is no token by itself."""
        found = []
        for symbol in symbols:
            node = self.root.child(symbol)
            if node is None or not node.complete:
                return None
            found.append(int(self.ids[node.lo]))
        return tuple(found)


class Node:
    """The tokens ids[lo:hi], which begin with the same `depth` symbols; the first `complete` of
    them have no more."""

    def __init__(self, keys: list[bytes | tuple[int, ...]], lo: int, hi: int, depth: int) -> None:
        self._keys, self.lo, self.hi, self.depth = keys, lo, hi, depth
        at = lo
        while at < hi and len(keys[at]) == depth:
            at += 1
        self.complete = at - lo
        self._children: dict[int, Node | None] = {}

    @property
    def path(self) -> bytes | tuple[int, ...]:
        """The symbols that lead to it."""
        return self._keys[self.lo][: self.depth]

    @cached_property
    def _runs(self) -> tuple[NDArray[Any], NDArray[Any]]:
        next_symbols = np.array(
            [key[self.depth] for key in self._keys[self.lo + self.complete : self.hi]], np.int64
        )
        starts = np.flatnonzero(np.diff(next_symbols, prepend=-1))
        return next_symbols[starts], starts

    @property
    def symbols(self) -> NDArray[Any]:
        """The symbols of its children, ascending."""
        return self._runs[0]

    def masses(self, p: NDArray[Any]) -> NDArray[Any]:
        """Of the probabilities of its longer tokens, ids[lo + complete:hi], the sum under each
        child."""
        masses: NDArray[Any] = np.add.reduceat(p, self._runs[1])
        return masses

    def child(self, symbol: int) -> Node | None:
        """The node one symbol deeper, the same object each time."""
        if symbol not in self._children:
            symbols, starts = self._runs
            at = int(np.searchsorted(symbols, symbol))
            node = None
            if at < len(symbols) and symbols[at] == symbol:
                first = self.lo + self.complete
                stop = self.hi if at + 1 == len(symbols) else first + int(starts[at + 1])
                node = Node(self._keys, first + int(starts[at]), stop, self.depth + 1)
            return self._children.setdefault(symbol, node)
        return self._children[symbol]


@lru_cache(maxsize=4)
def byte_trie(vocabulary: Vocabulary) -> ByteTrie:
    """The trie of a vocabulary, made once."""
    return ByteTrie(vocabulary)

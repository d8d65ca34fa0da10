"""A vocabulary as a trie of bytes, and the symbols of byte views.

The tokens are sorted by their bytes, so the tokens below a node of the trie are one slice of them,
and the tokens below its children are slices of that slice. One `np.add.reduceat` over a node's
slice gives the probabilities of its children, so only the root takes a pass over the vocabulary.
Nodes are made when a text first reaches them.

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

END_SYMBOL = 256
"""The symbol of the end of a text, behind the 256 bytes."""
MARKERS = 255
"""How many symbols above END_SYMBOL stand for tokens without bytes, such as a chat template's
marks: the first MARKERS of the vocabulary have one."""
VIEW_SYMBOLS = END_SYMBOL + 1 + MARKERS

VIEW_VOCABULARY = Vocabulary(
    (*(bytes([b]) for b in range(256)), *(b"" for _ in range(1 + MARKERS))),
    ends=frozenset({END_SYMBOL}),
)
"""The vocabulary of every byte view. All views share it, so any two can be multiplied or mixed."""


class ByteTrie:
    """A vocabulary as a trie. ids: (T,) the tokens that stand for bytes, sorted by their bytes,
    then the tokens that end a text. markers: the symbol of each token that stands for no bytes; a
    token that ends a text has a marker too, for prompts that contain it. marked: the token of each
    marker."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokens, ends = vocabulary.tokens, vocabulary.ends
        spelt = sorted(
            (i for i, raw in enumerate(tokens) if raw and i not in ends), key=lambda i: tokens[i]
        )
        self.ids = np.array([*spelt, *sorted(ends)], dtype=np.int64)
        self.keys: list[bytes | tuple[int, ...]] = [
            *(tokens[i] for i in spelt),
            *((END_SYMBOL,) for _ in ends),
        ]
        silent = [i for i, raw in enumerate(tokens) if not raw][:MARKERS]
        self.markers = {i: END_SYMBOL + 1 + n for n, i in enumerate(silent)}
        self.marked = {symbol: i for i, symbol in self.markers.items()}
        self.root = TrieNode(self.keys, 0, len(self.ids), 0)

    def spelling(self, symbols: bytes | tuple[int, ...]) -> tuple[int, ...] | None:
        """The symbols as one token each; None if some symbol is no token by itself."""
        tokens = []
        for symbol in symbols:
            node = self.root.child(symbol)
            if node is None or not node.complete:
                return None
            tokens.append(int(self.ids[node.lo]))
        return tuple(tokens)


class TrieNode:
    """The tokens ids[lo:hi], which begin with the same `depth` symbols. The first `complete` of
    these tokens end here."""

    def __init__(self, keys: list[bytes | tuple[int, ...]], lo: int, hi: int, depth: int) -> None:
        self._keys, self.lo, self.hi, self.depth = keys, lo, hi, depth
        at = lo
        while at < hi and len(keys[at]) == depth:
            at += 1
        self.complete = at - lo
        self._children: dict[int, TrieNode | None] = {}

    @property
    def path(self) -> bytes | tuple[int, ...]:
        """The symbols from the root to this node."""
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
        """The symbols of the node's children, ascending."""
        return self._runs[0]

    def masses(self, p: NDArray[Any]) -> NDArray[Any]:
        """The sums of p under each child. p: the probabilities of the node's longer tokens,
        ids[lo + complete:hi]."""
        masses: NDArray[Any] = np.add.reduceat(p, self._runs[1])
        return masses

    def child(self, symbol: int) -> TrieNode | None:
        """The child at a symbol, the same object each time; None if no token has it here."""
        if symbol not in self._children:
            symbols, starts = self._runs
            at = int(np.searchsorted(symbols, symbol))
            node = None
            if at < len(symbols) and symbols[at] == symbol:
                first = self.lo + self.complete
                stop = self.hi if at + 1 == len(symbols) else first + int(starts[at + 1])
                node = TrieNode(self._keys, first + int(starts[at]), stop, self.depth + 1)
            return self._children.setdefault(symbol, node)
        return self._children[symbol]


@lru_cache(maxsize=4)
def byte_trie(vocabulary: Vocabulary) -> ByteTrie:
    """The trie of a vocabulary, built once."""
    return ByteTrie(vocabulary)

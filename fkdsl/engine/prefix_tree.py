"""The tree of token sequences: one node a token, one node a sequence.

A `Context` is a handle to a node and stands for the whole sequence from the root. While a handle to
a sequence is alive, the tree gives the same object for the same sequence, so contexts are compared
by identity. A child holds its parent; a parent refers to its children weakly. So Python frees a
node as soon as no handle reaches it, and the tree then calls `on_release`.

>>> gone = []
>>> tree = PrefixTree(lambda node: gone.append(node.token))
>>> a = tree.extend(tree.root, (5, 6)); b = tree.extend(tree.root, (5, 7))
>>> a.parent is b.parent, a.tokens, a is tree.extend(tree.root, (5, 6)), len(tree)
(True, (5, 6), True, 3)
>>> del a, b
>>> sorted(gone), len(tree)
([5, 6, 7], 0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import ReferenceType, ref


class Context:
    """A sequence of tokens, as its last node. Immutable to its holders; compared by identity. raw:
    the sequence's bytes, None until they are first asked for. positions: where automata stand after
    its text (constraints/regular.py)."""

    __slots__ = ("__weakref__", "_tree", "length", "parent", "positions", "raw", "token")

    def __init__(self, tree: PrefixTree | None, parent: Context | None, token: int) -> None:
        self._tree = tree
        self.parent = parent
        self.token = token
        self.raw: bytes | None = None if parent else b""
        self.positions: dict[Any, Any] = {}
        self.length: int = parent.length + 1 if parent else 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole sequence of ids."""
        return tuple(node.token for node in self.path())

    def tokens_from(self, start: int) -> tuple[int, ...]:
        """The ids of the sequence but its first `start`."""
        return tuple(node.token for node in self.path(self.length - start))

    def path(self, most: int | None = None) -> list[Context]:
        """The nodes from that of the first token to this one, or the last `most` of them."""
        nodes: list[Context] = []
        node = self
        while node.parent is not None and len(nodes) != most:
            nodes.append(node)
            node = node.parent
        nodes.reverse()
        return nodes

    def __repr__(self) -> str:
        return f"Context(length={self.length})"

    def __del__(self) -> None:
        if self._tree is not None:
            self._tree.forget(self)


class PrefixTree:
    """All sequences that are alive. len() counts their nodes without the root."""

    def __init__(self, on_release: Callable[[Context], None]) -> None:
        self._on_release = on_release
        self._children: dict[tuple[int, int], ReferenceType[Context]] = {}
        # The root knows no tree: each would keep the other alive until Python looks for cycles.
        self.root = Context(None, None, -1)

    def child(self, parent: Context, token: int) -> Context:
        """The sequence one token longer."""
        # A child holds its parent, so no other object can have the parent's id() while the key is
        # in the table.
        key = (id(parent), token)
        reference = self._children.get(key)
        node = reference() if reference is not None else None
        if node is None:
            node = Context(self, parent, token)
            self._children[key] = ref(node)
        return node

    def children(self, parents: Iterable[Context], tokens: Iterable[int]) -> list[Context]:
        """`child` of each."""
        known, out = self._children, []
        for parent, token in zip(parents, tokens, strict=True):
            key = (id(parent), token)
            reference = known.get(key)
            node = None if reference is None else reference()
            if node is None:
                node = Context(self, parent, token)
                known[key] = ref(node)
            out.append(node)
        return out

    def extend(self, context: Context, tokens: Iterable[int]) -> Context:
        for token in tokens:
            context = self.child(context, token)
        return context

    def forget(self, node: Context) -> None:
        """Called by a node that is being freed."""
        key = (id(node.parent), node.token)
        reference = self._children.get(key)
        # Python's collector may free it in another thread, while this one makes its sequence anew.
        if reference is not None:
            held = reference()
            if held is None or held is node:
                self._children.pop(key, None)
        self._on_release(node)

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Context]:
        references = list(self._children.values())
        return (node for reference in references if (node := reference()) is not None)

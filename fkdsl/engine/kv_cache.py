"""The one owner of cached segments and rows: it counts who uses a segment, frees what nobody does, and keeps within a
budget of bytes.

A segment is what one forward made for one run of tokens; each of those tokens' nodes uses it. A row is the (V,)
log-probabilities after a node. When the budget is passed, least recently used rows go first, then whole segments; what
is needed for the forward at hand is never evicted. What was evicted is computed again when it is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fkdsl.models.interface import Segment

Node = int
"""A node of the prefix tree, by id(): the cache must not keep nodes alive."""


@dataclass(eq=False, slots=True)
class Block:
    """A segment and the nodes that use it, by position."""

    segment: Segment
    users: dict[Node, int]


class KVCache:
    """Segments and rows by node. `held` is their bytes, `evictions` counts what the budget drove out."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.held = 0
        self.evictions = 0
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._of: dict[Node, Block] = {}
        self._rows: OrderedDict[Node, NDArray[Any]] = OrderedDict()

    # --------------------------------------------------------------- segments

    def put(self, segment: Segment, nodes: list[Node]) -> None:
        """Keeps a segment for the nodes of its tokens, in order; they let go of what they used before."""
        for node in nodes:
            self._release_slot(node)
        if not nodes:
            return
        block = Block(segment, {node: i for i, node in enumerate(nodes)})
        self._blocks[id(block)] = block
        self._of.update(dict.fromkeys(nodes, block))
        self.held += segment.nbytes

    def slot(self, node: Node) -> tuple[Segment, int] | None:
        """The segment that holds a node's token, and the token's position in it; None if it is not cached."""
        block = self._of.get(node)
        if block is None:
            return None
        self._blocks.move_to_end(id(block))
        return block.segment, block.users[node]

    def _release_slot(self, node: Node) -> None:
        block = self._of.pop(node, None)
        if block is not None:
            del block.users[node]
            if not block.users:
                self._drop(block)

    def _drop(self, block: Block) -> None:
        for node in block.users:
            del self._of[node]
        block.users.clear()
        del self._blocks[id(block)]
        self.held -= block.segment.nbytes

    # ------------------------------------------------------------------- rows

    def put_row(self, node: Node, row: NDArray[Any]) -> None:
        self._drop_row(node)
        self._rows[node] = row
        self.held += row.nbytes

    def row(self, node: Node) -> NDArray[Any] | None:
        row = self._rows.get(node)
        if row is not None:
            self._rows.move_to_end(node)
        return row

    def _drop_row(self, node: Node) -> None:
        row = self._rows.pop(node, None)
        if row is not None:
            self.held -= row.nbytes

    # ----------------------------------------------------------------- memory

    def release(self, node: Node) -> None:
        """A node is gone: so is its row, and its segment if it was the last to use it."""
        self._drop_row(node)
        self._release_slot(node)

    def shrink(self) -> None:
        """Evicts, least recently used first, until within the budget."""
        if self.budget is None:
            return
        while self.held > self.budget and self._rows:
            self._drop_row(next(iter(self._rows)))
            self.evictions += 1
        while self.held > self.budget and self._blocks:
            self._drop(next(iter(self._blocks.values())))
            self.evictions += 1

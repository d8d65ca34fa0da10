"""The one owner of cached segments and rows: it counts who uses a segment, frees what nobody does,
and keeps within a budget of bytes.

A segment is what one forward made for one run of tokens; each of those tokens' nodes uses it, and
so do the segments that rest on it, unless they stand alone. A row is the (V,) log-probabilities
after a node. When the budget is passed, least recently used rows go first, then whole segments,
those that nothing rests on before the others; what is needed for the forward at hand is never
evicted. What was evicted is computed again when it is asked for.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.interface import Segment

Node = int
"""A node of the prefix tree, by id(): the cache must not keep nodes alive."""
ROW_BYTES = 4_000_000
"""Bytes of rows that are kept at most, beyond those just asked for: a row of a long vocabulary
takes more than a token's keys and values, and is seldom asked for twice."""


@dataclass(eq=False, slots=True)
class Block:
    """A segment, the nodes that use it, by position, the block that it rests on, and how many rest
    on it."""

    segment: Segment
    users: dict[Node, int]
    base: Block | None
    resting: int = 0


class KVCache:
    """Segments and rows by node. `row_budget` is what rows may take, ROW_BYTES but where a method
    comes back to them; `held` is their bytes, `held_rows` those of rows alone, `evictions` counts
    what the budget drove out."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.row_budget = ROW_BYTES
        self.held = 0
        self.held_rows = 0
        self.evictions = 0
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._of: dict[Node, Block] = {}
        self._rows: OrderedDict[Node, NDArray[Any]] = OrderedDict()
        self._ahead: dict[Node, Any] = {}
        self._sums: dict[Node, NDArray[np.float64]] = {}

    # --------------------------------------------------------------- segments

    def put(self, segment: Segment, nodes: list[Node], base: Node) -> None:
        """Keeps a segment for the nodes of its tokens, in order; they let go of what they used
        before. base: the node that it continues."""
        if not nodes:
            return
        under = None if segment.standalone else self._of.get(base)
        block = Block(segment, {node: i for i, node in enumerate(nodes)}, under)
        if under is not None:
            under.resting += 1
        for node in nodes:
            self._release_slot(node)
        self._blocks[id(block)] = block
        self._of.update(dict.fromkeys(nodes, block))
        self.held += segment.nbytes

    def slot(self, node: Node) -> tuple[Segment, int] | None:
        """The segment that holds a node's token, and the token's position in it; None if it is not
        cached."""
        block = self._of.get(node)
        if block is None:
            return None
        self._blocks.move_to_end(id(block))
        return block.segment, block.users[node]

    def _release_slot(self, node: Node) -> None:
        block = self._of.pop(node, None)
        if block is not None:
            del block.users[node]
            self._drop_unused(block)

    def _drop_unused(self, block: Block | None) -> None:
        """Drops a block that nothing uses, and what it rested on if nothing else does."""
        while block is not None and not block.users and not block.resting:
            block = self._drop(block)

    def _drop(self, block: Block) -> Block | None:
        """Drops a block that nothing rests on; gives the one it rested on."""
        for node in block.users:
            del self._of[node]
        block.users.clear()
        del self._blocks[id(block)]
        self.held -= block.segment.nbytes
        if block.base is not None:
            block.base.resting -= 1
        return block.base

    # ------------------------------------------------------------------- rows

    def put_row(
        self,
        node: Node,
        row: NDArray[Any],
        ahead: Any = None,
        sums: NDArray[np.float64] | None = None,
    ) -> None:
        """Keeps a row, and with it, uncounted, what the model's heads made of the node, and the
        sums of its blocks."""
        self._drop_row(node)
        self._rows[node] = row
        if ahead is not None:
            self._ahead[node] = ahead
        if sums is not None:
            self._sums[node] = sums
        self.held += row.nbytes
        self.held_rows += row.nbytes

    def row(self, node: Node) -> NDArray[Any] | None:
        row = self._rows.get(node)
        if row is not None:
            self._rows.move_to_end(node)
        return row

    def ahead(self, node: Node) -> Any:
        """What was put with a node's row; None if nothing was, or the row is gone."""
        return self._ahead.get(node)

    def sums(self, node: Node) -> NDArray[np.float64] | None:
        """The sums of a row's blocks; None if they were not put, or the row is gone."""
        return self._sums.get(node)

    def _drop_row(self, node: Node) -> None:
        self._ahead.pop(node, None)
        self._sums.pop(node, None)
        row = self._rows.pop(node, None)
        if row is not None:
            self.held -= row.nbytes
            self.held_rows -= row.nbytes

    # ----------------------------------------------------------------- memory

    def release(self, node: Node) -> None:
        """A node is gone: so is its row, and its segment if it was the last to use it."""
        self._drop_row(node)
        self._release_slot(node)

    def shrink(self, recent: int = 0) -> None:
        """Evicts, least recently used first, until within the budget, and rows until within theirs.
        recent: how many rows, the last put, are left alone unless the budget is passed."""
        while self.held_rows > self.row_budget and len(self._rows) > recent:
            self._drop_row(next(iter(self._rows)))
        if self.budget is None:
            return
        while self.held > self.budget and self._rows:
            self._drop_row(next(iter(self._rows)))
            self.evictions += 1
        ends = (
            deque(block for block in self._blocks.values() if not block.resting)
            if self.held > self.budget
            else ()
        )
        while self.held > self.budget and ends:
            base = self._drop(ends.popleft())
            self.evictions += 1
            # Back along the same sequence, before the next one: what is left of the others can be
            # gone on from.
            if base is not None and not base.resting:
                ends.appendleft(base)

"""The one owner of cached segments and rows: it frees what no context uses any more, and keeps
within a budget of bytes.

A segment is the cache that one forward made for a run of tokens. The nodes of these tokens use it,
and so do the segments that continue it, unless they are standalone. A row is the (V,)
log-probabilities after a node. Over the budget, the cache evicts rows first, least recently used
before others, then segments that no other continues, also least recently used first. It evicts
only when `shrink` is called, so never what a forward in progress needs; an evicted row or segment
is computed again when it is asked for.

A cache serves one run, in one thread. But Python's collector may free a node in any thread where
several runs go on, so what changes more than one thing is done under a lock; and in this thread
between any two instructions, so what `release` changes is gone through as a copy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.locks import locked
from fkdsl.models.interface import CacheSegment

NodeId = int
"""The id() of a node of the prefix tree: the cache must not keep nodes alive."""
Row = tuple[NodeId, NDArray[Any], Any, NDArray[np.float64] | None]
"""What `put_row` is given."""
Computed = tuple[CacheSegment, Sequence[NodeId], NodeId, Sequence[Row]]
"""What `put` is given, and the rows after the segment's nodes."""
Step = tuple[CacheSegment, NodeId, NodeId, NDArray[Any], Any, NDArray[np.float64] | None]
"""A segment of one token, the nodes of this token and of the one before it, and as in a Row what
comes after it."""
ROW_BYTES = 4_000_000
"""Most bytes of rows to keep beyond those just asked for: a row of a long vocabulary takes more
bytes than a token's keys and values, and is seldom asked for twice."""


@dataclass(eq=False, slots=True)
class SegmentEntry:
    """A segment in the cache. users: each node that uses it, with the node's position in it. base:
    the cached segment that it continues. continued_by: how many cached segments continue it."""

    segment: CacheSegment
    users: dict[NodeId, int]
    base: SegmentEntry | None
    continued_by: int = 0


class KVCache:
    """Segments and rows, by node. nbytes: the bytes of both; row_nbytes: of rows alone. row_budget:
    bytes that rows may take, ROW_BYTES unless a method asks for its rows again. evictions: rows and
    segments that the budget evicted."""

    def __init__(self, budget: int | None = None) -> None:
        self.lock = threading.RLock()
        self.budget = budget
        self.row_budget = ROW_BYTES
        self.nbytes = 0
        self.row_nbytes = 0
        self.evictions = 0
        self._segments: OrderedDict[int, SegmentEntry] = OrderedDict()
        self._segment_of: dict[NodeId, SegmentEntry] = {}
        self._rows: OrderedDict[NodeId, NDArray[Any]] = OrderedDict()
        self._head_outputs: dict[NodeId, Any] = {}
        self._sums: dict[NodeId, NDArray[np.float64]] = {}
        self._kept: set[NodeId] = set()

    # --------------------------------------------------------------- segments

    @locked
    def put_all(self, computed: Sequence[Computed]) -> None:
        """Keeps the segments and rows of a forward: `put` and `put_row` of each."""
        for segment, nodes, base, rows in computed:
            self._put(segment, nodes, base)
            for node, row, head_outputs, sums in rows:
                self._put_row(node, row, head_outputs, sums)

    @locked
    def put_steps(self, steps: Sequence[Step]) -> None:
        """`put_all` of segments of one token each."""
        segments, of, kept_rows, kept_sums = (
            self._segments,
            self._segment_of,
            self._rows,
            self._sums,
        )
        in_rows = in_segments = 0
        for segment, node, base, row, head_outputs, sums in steps:
            continued = None if segment.standalone else of.get(base)
            entry = SegmentEntry(segment, {node: 0}, continued)
            if continued is not None:
                continued.continued_by += 1
            if node in of:
                self._release_slot(node)
            of[node] = entry
            segments[id(entry)] = entry
            in_segments += segment.nbytes
            if node in kept_rows:
                self._drop_row(node)
            kept_rows[node] = row
            if head_outputs is not None:
                self._head_outputs[node] = head_outputs
            if sums is not None:
                kept_sums[node] = sums
            in_rows += row.nbytes
        self.nbytes += in_rows + in_segments
        self.row_nbytes += in_rows

    @locked
    def put(self, segment: CacheSegment, nodes: list[NodeId], base: NodeId) -> None:
        """Keeps a segment for the nodes of its tokens, in order, in place of the segments that they
        used before. base: the node after which the segment begins."""
        self._put(segment, nodes, base)

    def _put(self, segment: CacheSegment, nodes: Sequence[NodeId], base: NodeId) -> None:
        if not nodes:
            return
        continued = None if segment.standalone else self._segment_of.get(base)
        entry = SegmentEntry(segment, {node: i for i, node in enumerate(nodes)}, continued)
        if continued is not None:
            continued.continued_by += 1
        for node in nodes:
            if node in self._segment_of:
                self._release_slot(node)
            self._segment_of[node] = entry
        self._segments[id(entry)] = entry
        self.nbytes += segment.nbytes

    def slot(self, node: NodeId) -> tuple[CacheSegment, int] | None:
        """The segment that holds a node's token, and the token's position in it; None if it is not
        cached."""
        with self.lock:
            entry = self._segment_of.get(node)
            if entry is None:
                return None
            self._segments.move_to_end(id(entry))
            return entry.segment, entry.users[node]

    def place(self, node: NodeId) -> tuple[CacheSegment, int] | None:
        """`slot`, which does not count as used."""
        entry = self._segment_of.get(node)
        position = None if entry is None else entry.users.get(node)
        return None if entry is None or position is None else (entry.segment, position)

    def slots(self, nodes: Sequence[NodeId]) -> list[tuple[CacheSegment, int] | None]:
        """`slot` of each."""
        with self.lock:
            found, move = list(map(self._segment_of.get, nodes)), self._segments.move_to_end
            for entry in found:
                if entry is not None:
                    move(id(entry))
            return [
                None if entry is None else (entry.segment, entry.users[node])
                for node, entry in zip(nodes, found, strict=True)
            ]

    def _release_slot(self, node: NodeId) -> None:
        """As within `release`, which is written out, since it is called for every token."""
        entry = self._segment_of.pop(node, None)
        if entry is not None:
            del entry.users[node]
            if not entry.users and not entry.continued_by:
                self._drop_unused(entry)

    def _drop_unused(self, entry: SegmentEntry | None) -> None:
        """Drops a segment that nothing uses, then those that it continued, as far as nothing else
        uses them."""
        while entry is not None and not entry.users and not entry.continued_by:
            entry = self._drop(entry)

    def _drop(self, entry: SegmentEntry) -> SegmentEntry | None:
        """Drops a segment that no other continues; returns the one that it continued."""
        for node in entry.users:
            del self._segment_of[node]
        entry.users.clear()
        del self._segments[id(entry)]
        self.nbytes -= entry.segment.nbytes
        if entry.base is not None:
            entry.base.continued_by -= 1
        return entry.base

    # ------------------------------------------------------------------- rows

    @locked
    def put_row(
        self,
        node: NodeId,
        row: NDArray[Any],
        head_outputs: Any = None,
        sums: NDArray[np.float64] | None = None,
    ) -> None:
        """Keeps the row after a node, and for as long as the row, not counted in `nbytes`, what the
        model's heads gave for the node and the row's sums over blocks."""
        self._put_row(node, row, head_outputs, sums)

    def _put_row(
        self,
        node: NodeId,
        row: NDArray[Any],
        head_outputs: Any,
        sums: NDArray[np.float64] | None,
    ) -> None:
        if node in self._rows:
            self._drop_row(node)
        self._rows[node] = row
        if head_outputs is not None:
            self._head_outputs[node] = head_outputs
        if sums is not None:
            self._sums[node] = sums
        nbytes = row.nbytes
        self.nbytes += nbytes
        self.row_nbytes += nbytes

    @locked
    def row(self, node: NodeId) -> NDArray[Any] | None:
        row = self._rows.get(node)
        if row is not None:
            self._rows.move_to_end(node)
        return row

    @locked
    def rows(self, nodes: Sequence[NodeId]) -> list[NDArray[Any] | None]:
        """`row` of each."""
        found = [self._rows.get(node) for node in nodes]
        for node, row in zip(nodes, found, strict=True):
            if row is not None:
                self._rows.move_to_end(node)
        return found

    def sums_of(self, node: NodeId, row: NDArray[Any]) -> NDArray[np.float64] | None:
        """`sums`, if this is the node's row, which counts as used."""
        with self.lock:
            found = self._rows.get(node)
            if found is not None:
                self._rows.move_to_end(node)
            return self._sums.get(node) if found is row else None

    def head_outputs(self, node: NodeId) -> Any:
        """What the model's heads gave for a node; None if nothing was put, or its row is gone."""
        return self._head_outputs.get(node)

    def sums(self, node: NodeId) -> NDArray[np.float64] | None:
        """(blocks,) the sums over blocks of a node's row; None if none were put, or its row is
        gone."""
        return self._sums.get(node)

    def keep_row(self, node: NodeId) -> None:
        """From now on other rows do not displace the row of a node, for as long as the node is
        used. The memory budget may."""
        self._kept.add(node)

    def _drop_row(self, node: NodeId) -> None:
        if self._head_outputs:
            self._head_outputs.pop(node, None)
        self._sums.pop(node, None)
        row = self._rows.pop(node, None)
        if row is not None:
            nbytes = row.nbytes
            self.nbytes -= nbytes
            self.row_nbytes -= nbytes

    # ----------------------------------------------------------------- memory

    def release(self, node: NodeId) -> None:
        """Drops the row of a node that is gone, and its segment if no other node uses it."""
        with self.lock:
            if self._kept:
                self._kept.discard(node)
            if node in self._rows:
                self._drop_row(node)
            entry = self._segment_of.pop(node, None)
            if entry is not None:
                users = entry.users
                del users[node]
                if not users and not entry.continued_by:
                    self._drop_unused(entry)

    @locked
    def shrink(self, recent: int = 0) -> None:
        """Evicts rows down to the row budget, then rows and segments down to the budget, least
        recently used first. recent: how many of the rows put last the row budget must leave."""
        rows = [self._rows.get(node) for node in list(self._kept)]
        kept = [row.nbytes for row in rows if row is not None]
        most, fewest = self.row_budget + sum(kept), recent + len(kept)
        for node in list(self._rows) if self.row_nbytes > most and len(self._rows) > fewest else ():
            if self.row_nbytes <= most or len(self._rows) <= fewest:
                break
            if node not in self._kept:
                self._drop_row(node)
        if self.budget is None:
            return
        while self.nbytes > self.budget and self._rows:
            self._drop_row(next(iter(self._rows)))
            self.evictions += 1
        ends = (
            deque(entry for entry in list(self._segments.values()) if not entry.continued_by)
            if self.nbytes > self.budget
            else ()
        )
        while self.nbytes > self.budget and ends:
            base = self._drop(ends.popleft())
            self.evictions += 1
            # Next the segment before it in the same sequence: so the other sequences stay usable.
            if base is not None and not base.continued_by:
                ends.appendleft(base)

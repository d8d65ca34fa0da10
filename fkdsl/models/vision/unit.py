"""The unit of a prompt with images: all of it up to the end of its last image.

Families differ in what of it may be read apart: one attends both ways within an image, another
within the whole prompt, a third counts positions in three dimensions. So the model reads the unit
in one forward of its own module, as its authors meant it, and the engine has one virtual id for it.
The tokens after the unit are ordinary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fkdsl.models.interface import Past
from fkdsl.models.kv_pool import KVPool, KVSegment, Slots


@dataclass(frozen=True)
class UnitFacts:
    """What every forward after a unit needs of it. positions: what the position of a token after it
    is beyond the number of cached tokens before it. looks: what cross-attention looks at, by name;
    empty for families that have images among their tokens."""

    positions: int = 0
    looks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.looks.values())


class UnitSegment(KVSegment):
    """A segment that begins with a unit. One id of its run is the unit's, which has many slots; the
    others are ordinary tokens with a slot each.

    unit: the segment of the unit alone, None in that one. after: the segment of the tokens that
    follow it in the run.
    """

    __slots__ = ("_after", "_unit")

    def __init__(
        self,
        pool: KVPool,
        slots: Slots,
        facts: UnitFacts,
        unit: UnitSegment | None = None,
        after: KVSegment | None = None,
    ) -> None:
        super().__init__(pool, None, slots)
        self._unit, self._after = unit, after
        self.unit_facts = facts
        if after is not None:
            self.table = after.table

    @classmethod
    def joined(cls, unit: UnitSegment, after: KVSegment) -> UnitSegment:
        """The segment of a unit and the tokens that follow it."""
        return cls(unit._pool, np.empty(0, dtype=np.int32), unit.unit_facts, unit, after)

    @property
    def length(self) -> int:
        return 1 + (self._after.length if self._after is not None else 0)

    @property
    def nbytes(self) -> int:
        parts: Sequence[KVSegment] = [s for s in (self._unit, self._after) if s is not None]
        own = (
            len(self._slots) * self._pool.slot_bytes
            + int(self.table.nbytes)
            + self.unit_facts.nbytes
        )
        return sum(s.nbytes for s in parts) if parts else own


def facts_of(past: Past | None) -> UnitFacts | None:
    """The facts of the unit that a past begins with; None if it begins with no unit."""
    if past is None:
        return None
    assert isinstance(past.segment, KVSegment)
    return past.segment.unit_facts  # type: ignore[no-any-return]

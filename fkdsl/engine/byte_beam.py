"""What a byte view holds after some bytes: a beam of token sequences that cover them (see
byte_view.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fkdsl.base.logspace import Floats
from fkdsl.engine.byte_trie import Node
from fkdsl.engine.cached_transformer import Context


@dataclass(frozen=True, slots=True)
class Item:
    """A token sequence that covers the bytes so far: `context` is complete, and the token in
    progress is one of those below `node`. share: of the beam's mass. p: what each longer token of
    the node has of the share, (n,), sums to 1; None at the root, where it is the context's row."""

    context: Context
    node: Node
    share: float
    p: Floats | None


@dataclass(frozen=True, slots=True)
class Beam:
    """The sequences kept, heaviest first, whose shares sum to 1; none if the bytes so far have no
    token at all. log_kept, log_lost: log R and log L of the bytes so far (nats)."""

    items: tuple[Item, ...]
    log_kept: float = 0.0
    log_lost: float = -math.inf


@dataclass(frozen=True, slots=True)
class BeamSegment:
    """The beam after the last of its symbols. The token model's keys and values are not counted:
    its own engine holds them for as long as the beam has a handle on them."""

    beam: Beam
    length: int
    sliceable: bool = False
    standalone: bool = True

    @property
    def nbytes(self) -> int:
        return sum(200 + (0 if item.p is None else item.p.nbytes) for item in self.beam.items)


@dataclass
class LostMass:
    """Shares that beams let go: at how many bytes they were looked at, their sum, and the
    largest."""

    symbols: int = 0
    total: float = 0.0
    worst: float = 0.0

    def add(self, share: float) -> None:
        self.symbols += 1
        self.total += share
        self.worst = max(self.worst, share)

    @property
    def mean(self) -> float:
        return self.total / self.symbols if self.symbols else 0.0


def shared(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items, their shares scaled to sum to 1."""
    total = math.fsum(item.share for item in items)
    return tuple(replace(item, share=item.share / total) for item in items) if total > 0.0 else ()

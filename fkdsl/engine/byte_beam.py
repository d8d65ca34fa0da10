"""The state of a byte view after some bytes: a beam of token sequences that cover them (see
byte_view.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fkdsl.base.logspace import Floats
from fkdsl.engine.byte_trie import TrieNode
from fkdsl.engine.cached_transformer import Context


@dataclass(frozen=True, slots=True)
class Item:
    """A token sequence that covers the bytes so far. context: its complete tokens. node: where the
    token in progress stands in the trie. share: the sequence's share of the beam's probability. p:
    (n,) the conditional probabilities of the longer tokens below the node, which sum to 1; None at
    the root, where the context's row has them."""

    context: Context
    node: TrieNode
    share: float
    p: Floats | None


@dataclass(frozen=True, slots=True)
class Beam:
    """The sequences that are kept, heaviest first; their shares sum to 1. items is empty if no
    token sequence covers the bytes so far. log_kept, log_lost: log R and log L of byte_view.py for
    these bytes (nats)."""

    items: tuple[Item, ...]
    log_kept: float = 0.0
    log_lost: float = -math.inf


@dataclass(frozen=True, slots=True)
class BeamSegment:
    """The beam after a run of symbols. nbytes does not count the token model's keys and values: the
    token model's engine holds them for as long as the beam holds their contexts."""

    beam: Beam
    length: int
    sliceable: bool = False
    standalone: bool = True

    @property
    def nbytes(self) -> int:
        return sum(200 + (0 if item.p is None else item.p.nbytes) for item in self.beam.items)


@dataclass
class LostMass:
    """The shares of probability that beams dropped. symbols: at how many symbols; total: their sum;
    worst: the largest."""

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


def rescaled(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items with their shares scaled to sum to 1."""
    total = math.fsum(item.share for item in items)
    return tuple(replace(item, share=item.share / total) for item in items) if total > 0.0 else ()

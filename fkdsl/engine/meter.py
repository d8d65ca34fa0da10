"""What forwards took, prefill and decoding apart: time, tokens, and operations and bytes by the
model's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fkdsl.models.interface import ForwardRow


@dataclass
class Work:
    """Forwards of one kind. rows: of all of them; cached: tokens that their rows had behind them;
    flops and bytes None where the model's shape is not known."""

    forwards: int = 0
    rows: int = 0
    tokens: int = 0
    cached: int = 0
    seconds: float = 0.0
    flops: float | None = 0.0
    bytes: float | None = 0.0

    def add(
        self,
        pasts: Sequence[int],
        rows: Sequence[ForwardRow],
        seconds: float,
        cost: tuple[float, float] | None,
    ) -> None:
        self.forwards += 1
        self.rows += len(rows)
        self.tokens += sum(len(row.tokens) for row in rows)
        self.cached += sum(pasts)
        self.seconds += seconds
        if cost is None or self.flops is None or self.bytes is None:
            self.flops = self.bytes = None
        else:
            self.flops += cost[0]
            self.bytes += cost[1]


@dataclass
class Meter:
    """prefill: forwards with a row of more than `block` new tokens; decode: the others. block: 1,
    and more where tokens are decoded in blocks."""

    prefill: Work = field(default_factory=Work)
    decode: Work = field(default_factory=Work)
    block: int = 1

    def of(self, rows: Sequence[ForwardRow]) -> Work:
        """Where a forward belongs."""
        return self.prefill if max(len(row.tokens) for row in rows) > self.block else self.decode

"""What forwards cost, for prefill and for decoding: seconds, tokens, operations and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.attachments import EncoderWork
from fkdsl.models.interface import ForwardRow


@dataclass
class ForwardWork:
    """The sums over forwards of one kind. tokens: new ones; cached: tokens of the rows' pasts.
    flops, bytes: by the model's shape (fkdsl.models.cost), None where that is not known."""

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
class ForwardMeter:
    """The work of an engine's forwards. prefill: of forwards in which some row has more than
    `decode_length` new tokens; decode: of the others. decode_length: 1, or more where drafted
    tokens are verified several at once. encoder: what encoders did in these forwards."""

    prefill: ForwardWork = field(default_factory=ForwardWork)
    decode: ForwardWork = field(default_factory=ForwardWork)
    decode_length: int = 1
    encoder: EncoderWork = field(default_factory=EncoderWork)

    def work_of(self, rows: Sequence[ForwardRow]) -> ForwardWork:
        """The sums to which a forward over these rows is added."""
        longest = max(len(row.tokens) for row in rows)
        return self.prefill if longest > self.decode_length else self.decode

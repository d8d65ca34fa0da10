"""What a forward computes and moves, from a model's shape alone: the arithmetic intensity of
prefill and of decoding.

A pass reads every weight once, however many tokens go through; each row reads its context's keys
and values, and writes its new ones. So a prefill of many tokens does many operations for each byte,
and a decoding step as many as it has rows.

>>> small = Cost(linear=1000, head=500, attended=10, weight_bytes=3000.0, slot_bytes=40)
>>> small.forward(pasts=[0], news=[8], wanted=1)              # a prompt of 8
(18440.0, 3320.0)
>>> small.forward(pasts=[8, 8], news=[1, 1], wanted=2)        # two rows, a token each
(6720.0, 3720.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """linear: weights that each token is multiplied by, head: those of the head, for each wanted
    position. attended: heads x width x layers. weight_bytes: of one pass over all of these.
    slot_bytes: keys and values of a token."""

    linear: int
    head: int
    attended: int
    weight_bytes: float
    slot_bytes: int

    def forward(
        self, pasts: Sequence[int], news: Sequence[int], wanted: int
    ) -> tuple[float, float]:
        """(floating-point operations, bytes) of a batch whose rows have so many cached and so many
        new tokens."""
        tokens = sum(news)
        # A new token's query meets the keys, and its weights the values, of itself and all before
        # it.
        seen = sum(n * past + n * (n + 1) // 2 for past, n in zip(pasts, news, strict=True))
        flops = 2.0 * self.linear * tokens + 2.0 * self.head * wanted + 4.0 * self.attended * seen
        return flops, self.weight_bytes + float(self.slot_bytes * (sum(pasts) + tokens))

"""The operations and the memory traffic of a forward, computed from the model's shape.

A forward reads every weight once, however many tokens it has; each row reads the keys and values of
its context, and writes those of its new tokens. So a prefill of many tokens does many operations
for each byte, a decoding step only about as many as it has rows.

>>> small = Cost(linear=1000, head=500, attended=10, weight_bytes=3000.0, slot_bytes=40)
>>> small.forward(pasts=[0], news=[8], wanted=1)              # a prompt of 8
(18440.0, 3320.0)
>>> small.forward(pasts=[8, 8], news=[1, 1], wanted=2)        # two rows, a token each
(6720.0, 3720.0)
"""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.base.quick_dataclass import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of a model's forwards. linear: weights that multiply each token; head: weights of
    the head, which multiply each wanted position. attended: heads x width x layers. weight_bytes:
    bytes of all these weights; slot_bytes: bytes of a token's keys and values."""

    linear: int
    head: int
    attended: int
    weight_bytes: float
    slot_bytes: int

    def forward(
        self, pasts: Sequence[int], news: Sequence[int], wanted: int
    ) -> tuple[float, float]:
        """(floating-point operations, bytes) of a batch. pasts, news: the cached and the new tokens
        of each row; wanted: positions whose rows are computed."""
        tokens = sum(news)
        # Each new token attends to itself and to all tokens before it.
        seen = sum(n * past + n * (n + 1) // 2 for past, n in zip(pasts, news, strict=True))
        flops = 2.0 * self.linear * tokens + 2.0 * self.head * wanted + 4.0 * self.attended * seen
        return flops, self.weight_bytes + float(self.slot_bytes * (sum(pasts) + tokens))

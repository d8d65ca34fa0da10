"""What one run may send through its models, all of its engines together."""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.base.errors import BudgetEnded
from fkdsl.models.interface import ForwardRow

NUMBER = 4
"""Bytes of a number of a row."""


class TokenBudget:
    """most: tokens, None for no bound. row_bytes: of the rows that one forward gives, None for no
    bound. used: tokens so far. prompt: how many of them were the beginnings of texts.

    >>> budget = TokenBudget(3)
    >>> budget.take([ForwardRow(None, (7, 8), (1,))], 256)
    >>> budget.used
    2
    """

    def __init__(self, most: int | None = None, row_bytes: int | None = None) -> None:
        self.most, self.row_bytes, self.used, self.prompt = most, row_bytes, 0, 0

    def take(self, rows: Sequence[ForwardRow], vocabulary: int) -> None:
        """Counts the tokens of a forward. Raises BudgetEnded instead where they are too many, or
        their rows, each of `vocabulary` numbers, too large."""
        tokens = sum(len(row.tokens) for row in rows)
        if self.most is not None and self.used + tokens > self.most:
            raise BudgetEnded(
                f"the run may send {self.most:,} tokens through its models, and needs more",
                "ask for fewer particles or shorter texts",
            )
        size = NUMBER * vocabulary * sum(len(row.wanted) for row in rows)
        if self.row_bytes is not None and size > self.row_bytes:
            raise BudgetEnded(
                f"a step would read rows of {size >> 20:,} MiB, more than "
                f"{self.row_bytes >> 20:,} MiB",
                "score shorter texts, or ask for fewer particles",
            )
        self.used += tokens
        self.prompt += sum(len(row.tokens) for row in rows if row.past is None)

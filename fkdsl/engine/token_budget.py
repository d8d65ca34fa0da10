"""The tokens that one run may send through its models, all of its engines together."""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.base.errors import BudgetEnded
from fkdsl.models.interface import ForwardRow


class TokenBudget:
    """most: tokens, None for no bound. used: tokens so far. prompt: how many of them were the
    beginnings of texts.

    >>> budget = TokenBudget(3)
    >>> budget.take([ForwardRow(None, (7, 8), (1,))])
    >>> budget.used
    2
    """

    def __init__(self, most: int | None = None) -> None:
        self.most, self.used, self.prompt = most, 0, 0

    def take(self, rows: Sequence[ForwardRow]) -> None:
        """Counts the tokens of a forward. Raises BudgetEnded instead where they are too many."""
        tokens = sum(len(row.tokens) for row in rows)
        if self.most is not None and self.used + tokens > self.most:
            raise BudgetEnded(
                f"the run may send {self.most:,} tokens through its models, and needs more",
                "ask for fewer particles or shorter texts",
            )
        self.used += tokens
        self.prompt += sum(len(row.tokens) for row in rows if row.past is None)

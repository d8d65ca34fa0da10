"""The tokens that are left of a text: how many may follow the next one, None where any number may.

Law: for the number of tokens a token is refused only if no text of the language can be completed in
those that may follow it. Who knows only a lower bound of what a text still needs refuses less, and
who knows nothing refuses nothing; so bounds of different kinds may stand beside each other, and a
token is allowed where all of them allow it.

    text_masks            counts them, from where a text must stop       tokens_left
    regular, closed       the fewest tokens from each state              suffices
    least_tokens          a lower bound, in parts of tokens              suffices
    completion_bounds     the fewest characters                          characters
    completion            the messages of a text as a whole              of_whole

>>> tokens_left(stop=8, length=5), tokens_left(stop=None, length=5)
(2, None)
>>> suffices(np.array([1.0, 2.0, 3.0]), 2).tolist(), one_later(2), one_later(0) == SPENT
([True, True, False], 1, True)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.probability_blocks import Mask

TokensLeft = int | None
SPENT = -1
"""Behind the last token: not even a next one may come."""
ROUNDING = 1e-9
"""Parts of tokens add up to a little more than they are."""


def tokens_left(stop: int | None, length: int) -> TokensLeft:
    """Those after the next token of a text that is `length` long and must stop at `stop`."""
    return None if stop is None else stop - length - 1


def one_later(left: TokensLeft) -> TokensLeft:
    """Those that are left when one more token has come."""
    return None if left is None else max(left - 1, SPENT)


def is_spent(left: TokensLeft) -> bool:
    """Whether no next token may come."""
    return left is not None and left < 0


def suffices(needed: NDArray[np.float64] | NDArray[np.int32], left: TokensLeft) -> Mask:
    """Whether what is left is as many as are needed; where anything may follow, if any number is.
    needed: inf for what no number of tokens completes."""
    enough: Mask = np.isfinite(needed) if left is None else needed <= left + ROUNDING
    return enough


def characters(left: int, longest_token: int) -> int:
    """The most characters of so many tokens."""
    return left * longest_token


def of_whole(left: int, so_far: Sequence[int]) -> int:
    """The most tokens of the text as a whole, with those so far and the next one."""
    return left + 1 + len(so_far)

"""The number of particles whose run forwards about a given number of tokens, by a few pilot runs.

Tokens grow with the number of particles, but less than in proportion, since particles share what
the prefix tree computes once. So the number is multiplied until the tokens pass the budget, and
then interpolated.

>>> find_count(1000, lambda n: PilotRun(100 + 9 * n, died=False))
PilotCount(count=100, tokens=1000, note='')
>>> find_count(1000, lambda n: PilotRun(min(n, 40), died=False))
PilotCount(count=2048, tokens=40, note='more particles forward no more tokens')
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.quick_dataclass import dataclass

FIRST = 4
MOST = 4096
"""Particles that a pilot tries at most, however few tokens they forward."""
ENOUGH = 256
"""Particles below which a pilot tries more even where tokens no longer grow: small tables are soon
cached as a whole."""
GROWTH = 8
"""Times by which the count grows at most from one pilot to the next."""
PILOTS = 8
CLOSE = 0.05
"""Share of the budget by which the tokens may miss it."""


@dataclass(frozen=True)
class PilotRun:
    """tokens: forwarded from an empty cache. died: whether all particles died; then no more tokens
    were forwarded."""

    tokens: int
    died: bool


@dataclass(frozen=True)
class PilotCount:
    """count: particles. tokens: forwarded by the pilot run with that count. note: why they are far
    from the budget."""

    count: int
    tokens: int
    note: str = ""


def find_count(budget: int, run: Callable[[int], PilotRun]) -> PilotCount:
    """The count whose run forwards nearest to `budget` tokens, of at most PILOTS counts that are
    tried; the largest of those that are equally near.

    Pure if `run` is. Counts grow up to MOST, or until the tokens no longer grow; a run that died
    early does not count for the latter.
    """
    tried = {0: 0}
    n, before, still = FIRST, 0, False
    while n not in tried and len(tried) <= PILOTS:
        this = run(n)
        tried[n] = this.tokens
        under = max(m for m, tokens in tried.items() if tokens <= budget)
        over = min((m for m, tokens in tried.items() if tokens > budget), default=0)
        still = (
            not over
            and n >= max(ENOUGH, 2 * before)
            and this.tokens <= tried[before]
            and not this.died
        )
        if still or abs(this.tokens - budget) <= CLOSE * budget or under > over > 0:
            break
        # Interpolate or extrapolate linearly. Tokens are concave in the count, so extrapolation
        # falls short of the budget.
        low, high = (under, over) if over else (before, n)
        slope = (tried[high] - tried[low]) / (high - low)
        wanted = low + round((budget - tried[low]) / slope) if slope > 0 else MOST
        n, before = (max(1, wanted) if over else min(MOST, GROWTH * n, max(n + 1, wanted))), n
    del tried[0]
    count = max(tried, key=lambda m: (-abs(tried[m] - budget), m))
    return PilotCount(count, tried[count], _note(count, tried[count], budget, still))


def _note(count: int, tokens: int, budget: int, still: bool) -> str:
    """Why a count's tokens are far from the budget, '' where they are not."""
    if count == 1 and tokens > budget:
        return "one particle alone forwards more tokens"
    if still:
        return "more particles forward no more tokens"
    if count == MOST and tokens < (1 - CLOSE) * budget:
        return f"no more than {MOST} particles are tried"
    return ""

"""How many particles forward about so many tokens: a few pilot runs find the count.

Tokens grow with the count, but less than in proportion: particles share what a prefix tree computes
once. So the count is multiplied until the tokens pass the budget, and then interpolated.

>>> find_count(1000, lambda n: PilotRun(100 + 9 * n, died=False))
Pilot(count=100, tokens=1000, note='')
>>> find_count(1000, lambda n: PilotRun(min(n, 40), died=False))
Pilot(count=2048, tokens=40, note='more particles forward no more tokens')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST = 4
MOST = 4096
"""Particles that a pilot tries at most, however few tokens they forward."""
ENOUGH = 256
"""Particles below which a count is raised even where tokens stand still: small tables are soon all
cached."""
GROWTH = 8
"""Times by which the count grows at most from one pilot to the next."""
PILOTS = 8
CLOSE = 0.05
"""Share of the budget by which a count's tokens may miss it."""


@dataclass(frozen=True)
class PilotRun:
    """tokens: forwarded from an empty cache. died: whether all particles did, after which no more
    are forwarded."""

    tokens: int
    died: bool


@dataclass(frozen=True)
class Pilot:
    """count: particles. tokens: what the pilot run with that count forwarded. note: why that is not
    the budget."""

    count: int
    tokens: int
    note: str = ""


def find_count(budget: int, run: Callable[[int], PilotRun]) -> Pilot:
    """The count, of the at most PILOTS tried, whose run forwards nearest to `budget` tokens; the
    largest of such.

    Pure if `run` is. Growth ends where tokens end growing (a run that died early says nothing of
    that), or at MOST.
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
        # Along the line through two counts. Tokens grow ever less, so beyond the two it falls short
        # of the budget.
        low, high = (under, over) if over else (before, n)
        slope = (tried[high] - tried[low]) / (high - low)
        wanted = low + round((budget - tried[low]) / slope) if slope > 0 else MOST
        n, before = (max(1, wanted) if over else min(MOST, GROWTH * n, max(n + 1, wanted))), n
    del tried[0]
    count = max(tried, key=lambda m: (-abs(tried[m] - budget), m))
    return Pilot(count, tried[count], _note(count, tried[count], budget, still))


def _note(count: int, tokens: int, budget: int, still: bool) -> str:
    """Why a count's tokens are not the budget, '' where they are or could be."""
    if count == 1 and tokens > budget:
        return "one particle alone forwards more tokens"
    if still:
        return "more particles forward no more tokens"
    if count == MOST and tokens < (1 - CLOSE) * budget:
        return f"no more than {MOST} particles are tried"
    return ""

"""The count of particles that forwards about a budget of tokens."""

import math

import pytest

from fkdsl.api.pilot import MOST, PilotRun, find_count


@pytest.mark.parametrize(
    "tokens",
    [
        lambda n: 100 + 9 * n,
        lambda n: 11 * n,
        lambda n: int(100 * math.sqrt(n)),
        lambda n: int(20 * n**0.8),
    ],
)
def test_the_count_is_found_in_a_few_pilots(tokens):
    tried = []

    def run(n):
        tried.append(n)
        return PilotRun(tokens(n), died=False)

    found = find_count(1000, run)
    assert abs(found.tokens - 1000) <= 50
    assert found.note == ""
    assert len(tried) <= 8
    assert tokens(max(tried)) <= 8000


def test_growth_ends_where_tokens_do_and_says_so():
    assert find_count(1000, lambda n: PilotRun(7, died=False)).count == 256
    assert "no more tokens" in find_count(1000, lambda n: PilotRun(7, died=False)).note
    assert find_count(1000, lambda n: PilotRun(7, died=True)).count == MOST
    assert "no more than 4096" in find_count(10**6, lambda n: PilotRun(n, died=False)).note
    alone = find_count(1000, lambda n: PilotRun(3000 + n, died=False))
    assert (alone.count, alone.note) == (1, "one particle alone forwards more tokens")

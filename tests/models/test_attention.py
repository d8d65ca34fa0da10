"""Attention of ragged batches against one token after another, by the formula."""

import numpy as np
import pytest
import torch

from fkdsl.models import attention
from fkdsl.models.attention import attend_apart, queries_of

HEADS, KV_HEADS, WIDTH = 6, 2, 8
CASES = {
    "a prompt": ([0], [11]),
    "prompts of one length": ([0, 0], [11, 11]),
    "prompts of several lengths": ([0, 0, 0], [11, 3, 1]),
    "one token each": ([5, 2, 9], [1, 1, 1]),
    "texts after one past": ([7], [11]),
    "texts after pasts": ([6, 0, 13], [11, 2, 9]),
}


def reference(q, keys, values, positions, row):
    """Each query by itself, in float64."""
    found = []
    for i, x in enumerate(q.double()):
        n = positions[i] + 1
        y = [
            torch.softmax(
                keys[row[i], h // (HEADS // KV_HEADS), :n].double() @ x[h] / WIDTH**0.5, 0
            )
            @ values[row[i], h // (HEADS // KV_HEADS), :n].double()
            for h in range(HEADS)
        ]
        found.append(torch.cat(y))
    return torch.stack(found)


def batch_of(pasts, counts):
    """(queries, keys, values, positions, the row of each token) of a ragged batch."""
    torch.manual_seed(len(pasts))
    longest, m = max(map(sum, zip(pasts, counts, strict=True))), sum(counts)
    q = 3 * torch.randn(m, HEADS, WIDTH)
    keys, values = torch.randn(2, len(pasts), KV_HEADS, longest, WIDTH)
    positions = np.concatenate([np.arange(p, p + n) for p, n in zip(pasts, counts, strict=True)])
    return q, keys, values, positions, np.repeat(np.arange(len(pasts)), counts)


def found(q, keys, values, positions, counts):
    queries = queries_of(
        positions, np.array(counts), keys.shape[2], None, torch.from_numpy, q.dtype
    )
    return attend_apart(q, keys, values, queries), queries


@pytest.mark.parametrize("block", [4, 256])
@pytest.mark.parametrize("case", CASES)
def test_each_token_attends_to_its_row_up_to_itself(case, block, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", block)
    pasts, counts = CASES[case]
    q, keys, values, positions, row = batch_of(pasts, counts)
    y, queries = found(q, keys, values, positions, counts)
    error = (y.double() - reference(q, keys, values, positions, row)).abs().max()
    assert error <= 1e-5
    # No mask is made over all pairs where none is needed.
    if not any(pasts) and max(counts) > 1:
        assert [b.mask for b in queries.blocks] == [None]
    if block < max(counts) and any(pasts):
        assert len(queries.blocks) == -(-max(counts) // block)


def test_the_comparison_sees_a_key_too_many(monkeypatch):
    """A planted bug: tokens that see one key beyond themselves."""
    pasts, counts = CASES["texts after pasts"]
    q, keys, values, positions, row = batch_of(pasts, counts)
    y, _ = found(q, keys, values, np.minimum(positions + 1, keys.shape[2] - 1), counts)
    assert (y.double() - reference(q, keys, values, positions, row)).abs().max() > 0.1

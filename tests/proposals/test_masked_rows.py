"""What masks leave of rows: the same for a whole population at once as for each draw alone."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.probability_blocks import BLOCK, ProbabilityBlocks, masked_sums
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.cpu_rows import masked_block_sums
from fkdsl.models.table import TableModel


@given(
    st.integers(0, 2**32),
    st.sampled_from([5, BLOCK - 1, BLOCK, 3 * BLOCK + 7]),
    st.sampled_from([np.float32, np.float64]),
)
def test_what_masks_leave_of_rows_is_the_same_for_many_at_once(seed, size, dtype):
    rng = np.random.default_rng(seed)
    rows = [np.log(rng.dirichlet(np.ones(size))).astype(dtype) for _ in range(3)]
    masks = [rng.random(size) < share for share in (0.0, 0.5, 1.0)]
    for row, mask, together in zip(rows, masks, masked_block_sums(rows, masks), strict=True):
        alone = masked_sums(row, mask)
        assert together.dtype == alone.dtype == np.float64
        np.testing.assert_allclose(together, alone, atol=1e-6)
        p = np.exp(row.astype(np.float64)) * mask
        np.testing.assert_allclose(
            alone, [p[i : i + BLOCK].sum() for i in range(0, size, BLOCK)], atol=1e-6
        )
        blocks = ProbabilityBlocks.of_masked(row, mask, together)
        np.testing.assert_allclose(np.asarray(blocks), p, atol=1e-7)
        assert {i for i, _ in blocks.descending(0.01)} == set(np.flatnonzero(p))
        assert [blocks[i] > 0 for i in range(0, size, 7)] == (p[::7] > 0).tolist()
    assert masked_block_sums([], []) == []


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_run_is_the_same_whether_rows_are_masked_together_or_each_at_its_draw(seed):
    """On a vocabulary that is long enough for it."""
    rng = np.random.default_rng(seed)
    texts = [*(chr(97 + i % 26) + chr(97 + i // 26) for i in range(600)), " ", None]
    model = TableModel(
        "m", {"": dict(zip(texts, rng.dirichlet(np.ones(602)).tolist(), strict=True))}
    )
    text = (
        'program main() -> str:\n    lm = prompt("")\n    while lm.tokens < 3:\n        t ~ lm\n'
        "        condition t != EOS and all(letters(w) <= 3 for w in words(lm.text)) and not "
        'contains(lm.text, "q")\n'
        "    return lm.text\n"
    )
    asked = []
    masked_sums_of = CachedTransformer.masked_block_sums
    with patch.object(
        CachedTransformer,
        "masked_block_sums",
        lambda self, rows, masks: asked.extend(rows) or masked_sums_of(self, rows, masks),
    ):
        together = fkdsl.parse(text).run("smc", model=model, particles=6, seed=seed)
    assert asked
    with patch("fkdsl.proposals.open_draw.OpenDraw.parts_of_row", lambda draw: None):
        apart = fkdsl.parse(text).run("smc", model=model, particles=6, seed=seed)
    assert together.log_z == pytest.approx(apart.log_z, abs=1e-12)
    assert [p.value for p in together.particles] == [p.value for p in apart.particles]


def test_parts_of_one_row_are_summed_to_the_last_bit_as_each_alone():
    rng = np.random.default_rng(0)
    rows = [np.log(rng.dirichlet(np.ones(700))).astype(np.float32) for _ in range(2)]
    masks = [rng.random(700) < 0.5 for _ in range(3)]
    pairs = [(rows[i], masks[j]) for i, j in [(0, 0), (1, 2), (0, 1), (0, 2), (1, 0)]]
    together = masked_block_sums(*zip(*pairs, strict=True))
    for (row, mask), sums in zip(pairs, together, strict=True):
        assert sums.tolist() == masked_block_sums([row], [mask])[0].tolist()


def test_a_row_that_continues_asks_about_is_read_once():
    """And its parts are those that each draw would sum for itself."""
    rng = np.random.default_rng(3)
    texts = [*(chr(97 + i % 26) + chr(97 + i // 26) for i in range(600)), " ", None]
    p = rng.dirichlet(np.ones(602))
    model = TableModel("m", {"": dict(zip(texts, p.tolist(), strict=True))})
    text = (
        'program main() -> str:\n    lm = prompt("")\n    while lm.tokens < 4:\n        t ~ lm\n'
        "        more ~ continues(lm)\n        if not more:\n            s ~ lm\n"
        "    return lm.text\n"
    )
    asked = []
    masked_sums_of = CachedTransformer.masked_block_sums
    with patch.object(
        CachedTransformer,
        "masked_block_sums",
        lambda self, rows, masks: (
            asked.extend(zip(rows, masks, strict=True)) or masked_sums_of(self, rows, masks)
        ),
    ):
        together = fkdsl.parse(text).run("smc", model=model, particles=6, seed=1)
    assert len(asked) == len({(id(row), id(mask)) for row, mask in asked}) > 0
    with patch("fkdsl.proposals.open_draw.OpenDraw.parts_of_row", lambda draw: None):
        apart = fkdsl.parse(text).run("smc", model=model, particles=6, seed=1)
    assert together.log_z == pytest.approx(apart.log_z, abs=1e-12)
    assert [p.value for p in together.particles] == [p.value for p in apart.particles]


def test_rows_of_a_file_can_be_masked():
    row = np.log(np.full(300, 1 / 300, dtype=np.float32))
    row.flags.writeable = False
    (found,) = masked_block_sums([row], [np.arange(300) < 3])
    assert torch.allclose(
        torch.from_numpy(found), torch.tensor([0.01, 0.0], dtype=torch.float64), atol=1e-6
    )

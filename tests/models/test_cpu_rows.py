"""Rows of the vocabulary on a processor, against torch's log-softmax in double precision."""

import threading
import tracemalloc

import numpy as np
import pytest
import torch

from fkdsl.base.errors import InternalError
from fkdsl.base.probability_blocks import block_sums
from fkdsl.models import cpu_rows
from fkdsl.models.interface import ForwardRow
from fkdsl.models.tokenized import forward_results, row_log_probs


@pytest.mark.parametrize("size", [1, 255, 256, 600])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_models_sums_are_those_of_its_rows(size, dtype):
    torch.manual_seed(0)
    wanted = [(0,), (), (0, 2), (0, 1, 2, 3)]
    logits = (torch.randn(7, size) * 4).to(dtype)
    rows = [ForwardRow(None, (1, 2, 3, 4), w) for w in wanted]
    answers = forward_results(logits, rows, [None] * 4)
    whole = np.concatenate([a.log_probs for a in answers])
    assert whole.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    exact = torch.log_softmax(logits.double(), -1).numpy()
    np.testing.assert_allclose(whole, exact, rtol=1.2e-7, atol=1e-6)
    assert [len(a.log_probs) for a in answers] == [len(a.sums) for a in answers] == [1, 0, 2, 4]
    for sums, row in zip(np.concatenate([a.sums for a in answers]), whole, strict=True):
        assert sums.dtype == np.float64
        np.testing.assert_allclose(sums, block_sums(np.exp(row)), atol=1e-6)


def test_long_rows_of_both_ways_add_up_to_one():
    """float32's own log-softmax is off by 7e-6 of SmolLM2's rows, and a text has one a token."""
    logits = torch.randn(6, 49_152, generator=torch.Generator().manual_seed(1)) * 3
    rows = [ForwardRow(None, (1, 2), (0, 1))] * 3
    answers = [a.log_probs for a in forward_results(logits, rows, [None] * 3)]
    for found in (answers, row_log_probs(logits, rows)):
        sums = np.exp(np.concatenate(found).astype(np.float64)).sum(axis=1)
        assert np.abs(np.log(sums)).max() <= 5e-7


def test_rows_of_a_long_text_take_no_more_memory_than_its_logits_and_a_few_rows():
    """Beside the logits of 1000 positions of SmolLM2, of 197 MB, row_log_probs took 790."""
    V, n = 1000, 100
    logits, rows = torch.randn(n, V), [ForwardRow(None, tuple(range(n)), tuple(range(n)))]
    for overwrite, most in ((False, n + 10), (True, 10)):
        tracemalloc.start()
        (answer,) = forward_results(logits, rows, [None], overwrite)
        assert tracemalloc.get_traced_memory()[1] <= 4 * V * most + 8 * n * 8 + 20_000
        tracemalloc.stop()
        assert np.shares_memory(answer.log_probs, logits.numpy()) == overwrite


@pytest.mark.parametrize("by_numpy", [True, False])
@pytest.mark.parametrize("shift", [0.0, 79.0, 3e4, -60.0, -3e4])
def test_rows_do_not_depend_on_the_level_of_their_logits(monkeypatch, by_numpy, shift):
    monkeypatch.setattr(cpu_rows, "_BY_NUMPY", by_numpy)
    x = np.random.default_rng(0).normal(size=(3, 700)).astype(np.float32) * 4 + np.float32(shift)
    x[0, 3:600] = -np.inf
    exact = torch.log_softmax(torch.from_numpy(x).double(), -1).numpy()
    found, sums = cpu_rows.log_softmax(x, InternalError)
    np.testing.assert_allclose(found, exact, rtol=1.2e-7, atol=2e-6)
    whole = np.pad(np.exp(exact), [(0, 0), (0, 68)]).reshape(3, 3, 256)
    np.testing.assert_allclose(sums, whole.sum(-1), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_without_a_distribution_is_refused(bad):
    x = np.zeros((9, 600), np.float32)
    x[4, :: 1 if bad < 0 else 99] = bad
    with pytest.raises(ZeroDivisionError):
        cpu_rows.log_softmax(x, ZeroDivisionError)


def test_many_rows_are_computed_by_threads_to_the_same_bits(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 700)).astype(np.float32) * 4
    masks = [row > k for k, row in enumerate(x[:5])] * 10
    alone = cpu_rows.log_softmax(x, InternalError)
    sums = cpu_rows.masked_block_sums(list(alone[0]), masks)
    threads = set()
    scratch = cpu_rows._scratch
    noting = lambda *args: threads.add(threading.get_ident()) or scratch(*args)  # noqa: E731
    monkeypatch.setattr(cpu_rows, "_scratch", noting)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(alone, cpu_rows.log_softmax(x, InternalError), strict=True):
        assert one.tobytes() == other.tobytes()
    again = cpu_rows.masked_block_sums(list(alone[0]), masks)
    assert [s.tobytes() for s in sums] == [s.tobytes() for s in again]
    assert len(threads) > 1
    x[49, 7] = np.nan
    with pytest.raises(ZeroDivisionError):
        cpu_rows.log_softmax(x, ZeroDivisionError)

"""What all rows begin with is read once, and the rows are those of the library's own module."""

import numpy as np
import pytest
import torch

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import decoder, shared_attention
from fkdsl.models.compat import kernels
from fkdsl.models.shared_attention import attend, gathered, shared_beginning
from tests.models.test_decoder import CONFIGS, V, both

PROMPT = tuple(i * 7 % V for i in range(70))


def population(engine, rng, steps=4):
    """Rows of 9 contexts that begin with a prompt, of several lengths, some of them forks."""
    held = [
        engine.extend(engine.root, PROMPT + tuple(rng.integers(V, size=n % 3))) for n in range(9)
    ]
    found = [*engine.log_probs(held)]
    for _ in range(steps):
        held = [engine.extend(held[i], (int(rng.integers(V)),)) for i in rng.integers(9, size=9)]
        found += engine.log_probs(held)
    return np.stack(found)


@pytest.fixture
def calls(monkeypatch):
    made = []

    def counted(*args):
        made.append(1)
        return attend(*args)

    monkeypatch.setattr(decoder, "attend", counted)
    return made


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("private", [True, False])
def test_what_is_read_once_changes_no_row(name, private, calls, monkeypatch):
    if not private:
        monkeypatch.setattr(kernels, "attends", lambda dtype: False)
    elif not kernels.attends(torch.float32):
        pytest.skip("this torch has no attention with log-sums")
    plain, fast = (
        np.exp(population(CachedTransformer(m), np.random.default_rng(3))) for m in both(name)
    )
    assert len(calls) == 4 * 3  # steps times layers
    assert np.abs(plain - fast).max() <= 1e-4
    assert plain.max() > 0.1


def test_in_bfloat16_it_is_as_near_as_one_attention(monkeypatch):
    exact, _ = both("llama")
    _, fast = both("llama", "bfloat16")
    rows = [population(CachedTransformer(exact), np.random.default_rng(3))]
    for saved in (0, 10**9):
        monkeypatch.setattr(shared_attention, "SAVED", saved)
        rows.append(population(CachedTransformer(fast), np.random.default_rng(3)))
    exact, once, apart = map(np.exp, rows)
    assert np.abs(once - exact).mean() <= 1.2 * np.abs(apart - exact).mean()


def alone(engine, gap):
    """Rows of one context that goes on by itself. gap: whether another context takes the slots
    after its prompt."""
    held = engine.extend(engine.root, PROMPT)
    found = [*engine.log_probs([held])]
    others = engine.extend(engine.root, PROMPT[::-1])
    if gap:
        engine.log_probs([others])
    for t in range(4):
        held = engine.extend(held, (3 * t + 1,))
        found += engine.log_probs([held])
    return np.stack(found)


@pytest.mark.parametrize("gap", [True, False])
def test_a_single_row_is_not_copied_where_its_slots_follow_each_other(gap, calls, monkeypatch):
    monkeypatch.setattr(shared_attention, "UNCOPIED", 8)
    copied = []
    monkeypatch.setattr(
        decoder, "gathered", lambda *args: copied.append(args[1]) or gathered(*args)
    )
    plain, fast = (np.exp(alone(CachedTransformer(m), gap)) for m in both("qwen3"))
    assert np.abs(plain - fast).max() <= 1e-4
    assert len(calls) == (4 * 3 if gap else 0)  # steps times layers
    assert all(isinstance(index, slice) for index in copied)


def put(array):
    return torch.from_numpy(array)


def test_nothing_is_shared_but_what_all_rows_begin_with():
    index = np.array([[*range(40), 50, 51], [*range(40), 52, 0], [*range(40), 53, 54]])
    found = shared_beginning(index, np.array([42, 41, 42]), put, torch.float32)
    assert found is None  # 40 tokens of three rows are too few
    index = np.repeat(index, 8, axis=0)
    lengths = np.repeat([42, 41, 42], 8)
    found = shared_beginning(index, lengths, put, torch.float32)
    assert (found.at, found.longest) == (slice(0, 40), 2)
    assert found.index.view(24, 2)[8].tolist() == [52, 0]
    assert found.mask.isinf().sum() == 8
    index[5, 35] = 90
    assert shared_beginning(index, lengths, put, torch.float32).at == slice(0, 35)
    index[5, 20] = 90
    assert shared_beginning(index, lengths, put, torch.float32) is None


def test_a_planted_bug_in_the_shares_is_caught(monkeypatch):
    """Two attentions whose halves count the same."""
    monkeypatch.setattr(torch, "sigmoid", lambda x: torch.full_like(x, 0.5))
    plain, fast = (
        np.exp(population(CachedTransformer(m), np.random.default_rng(3))) for m in both("llama")
    )
    assert np.abs(plain - fast).max() > 1e-2

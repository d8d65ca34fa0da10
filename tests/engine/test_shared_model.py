"""One model for runs in several threads: merged forwards, fairly, and shared prompts."""

import threading
import time

import numpy as np
import pytest

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.shared_model import Question, SharedForwards, fair_batch
from fkdsl.engine.shared_prompts import SharedPrompts
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.registry import load_model
from fkdsl.models.table import TableModel

BITS = {"": {"0": 0.4, "1": 0.6}, "0": {"0": 0.9, "1": 0.1}, "1": {"0": 0.5, "1": 0.5}}


def row(*tokens):
    return ForwardRow(None, tokens, (len(tokens) - 1,))


class Slow:
    """A table whose forwards wait until they are let go, and which keeps their batches."""

    def __init__(self):
        self.table = TableModel("bits", BITS)
        self.batches, self.go = [], threading.Semaphore(0)

    def __getattr__(self, name):
        return getattr(self.table, name)

    def forward(self, rows):
        self.go.acquire()
        self.batches.append([r.tokens for r in rows])
        if any(9999 in r.tokens for r in rows):
            raise CallError("no such token")
        return self.table.forward(rows)


def asked(forwards, rows, out, name, deadline=None):
    """A thread that asks for rows and puts what it gets, or the error, under its name."""

    def work():
        try:
            with until(deadline or Deadline()):
                out[name] = forwards.forward(rows)
        except BaseException as error:
            out[name] = error

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    assert condition()


@pytest.mark.parametrize("sizes", [(1,), (5, 1), (1, 5), (9, 9, 1), (3, 2, 1, 7)])
@pytest.mark.parametrize("most", [1, 2, 4, 100])
def test_each_waiting_run_has_its_share_of_a_batch(sizes, most):
    waiting = [Question.of([row(i)] * n) for i, n in enumerate(sizes)]
    batch = fair_batch(waiting, most)
    taken = [sum(q is of for q, _ in batch) for of in waiting]
    assert sum(taken) == min(most, sum(sizes))
    for got, wanted in zip(taken, sizes, strict=True):
        assert got >= min(wanted, most // len(sizes))
    assert len(set(batch)) == len(batch)


def test_long_rows_fill_a_batch_by_their_tokens():
    waiting = [Question.of([row(*range(60))] * 3), Question.of([row(1)])]
    assert [at for _, at in fair_batch(waiting, 100, most_tokens=100)] == [0, 0]
    assert len(fair_batch(waiting[:1], 100, most_tokens=10)) == 1  # at least one row


def test_a_large_population_holds_up_a_small_one_for_one_batch():
    model, out = Slow(), {}
    forwards = SharedForwards(model, most_rows=4)
    large = asked(forwards, [row(1, i % 2) for i in range(40)], out, "large")
    wait_for(lambda: forwards._waiting and not model.batches and forwards._waiting[0].taken == 4)
    small = asked(forwards, [row(0), row(0)], out, "small")
    wait_for(lambda: len(forwards._waiting) == 2)
    model.go.release(2)
    small.join(10)
    assert len(model.batches) == 2
    assert len(out["small"]) == 2
    assert "large" not in out
    model.go.release(20)
    large.join(10)
    assert len(out["large"]) == 40
    for got, tokens in zip(out["large"], [(1, i % 2) for i in range(40)], strict=True):
        np.testing.assert_array_equal(
            got.log_probs, model.table.forward([row(*tokens)])[0].log_probs
        )
    forwards.close()


def test_a_row_that_fails_fails_its_own_run_alone():
    model, out = Slow(), {}
    forwards = SharedForwards(model)
    first = asked(forwards, [row(1)], out, "first")  # the others wait while it is computed
    wait_for(lambda: not forwards._waiting and first.is_alive())
    others = [
        asked(forwards, [row(9999)], out, "wrong"),
        asked(forwards, [row(0), row(1)], out, "right"),
    ]
    wait_for(lambda: len(forwards._waiting) == 2)
    model.go.release(20)
    for thread in (first, *others):
        thread.join(10)
    assert isinstance(out["wrong"], CallError)
    assert len(out["right"]) == 2
    forwards.close()


def test_a_run_that_is_cancelled_leaves_the_queue():
    model, out = Slow(), {}
    forwards = SharedForwards(model)
    deadline = Deadline()
    first = asked(forwards, [row(1)], out, "first")
    wait_for(lambda: not forwards._waiting and first.is_alive())
    left = asked(forwards, [row(0)], out, "left", deadline)
    wait_for(lambda: len(forwards._waiting) == 1)
    deadline.cancel()
    left.join(10)
    assert isinstance(out["left"], DeadlinePassed)
    assert forwards._waiting == []
    model.go.release(5)
    first.join(10)
    assert len(model.batches) == 1
    forwards.close()


def test_equal_prompts_that_come_together_are_computed_once():
    model, out = Slow(), {}
    forwards = SharedForwards(model)
    threads = [asked(forwards, [row(1)], out, "first")]
    wait_for(lambda: not forwards._waiting and threads[0].is_alive())
    threads += [asked(forwards, [row(0, 1, 1)], out, i) for i in range(3)]
    wait_for(lambda: len(forwards._waiting) == 3)
    model.go.release(5)
    for thread in threads:
        thread.join(10)
    assert model.batches[1] == [(0, 1, 1)]
    assert out[0][0] is out[1][0] is out[2][0]
    forwards.close()


def test_the_engine_of_a_further_run_computes_only_what_no_other_has():
    model = load_model("tiny")
    prompts, alone = SharedPrompts(1 << 24), CachedTransformer(model)
    first, second = CachedTransformer(model), CachedTransformer(model)
    first.prompts = second.prompts = prompts
    texts = [
        "The sea is wide and the sky",
        "The sea is wide and deep",
        "The sea is wide and the sky",
    ]
    expected = [alone.log_probs([alone.start(text)])[0] for text in texts]
    (row_of_first,) = first.log_probs([first.start(texts[0])])
    before = second.stats.forwarded_tokens
    got = [second.log_probs([second.start(text)])[0] for text in texts[1:]]
    for a, b in zip([row_of_first, *got], expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert np.array_equal(got[1], row_of_first)  # the very row, not only one that is close
    assert second.stats.forwarded_tokens - before == len("deep")
    size = prompts.nbytes
    del first, second, alone
    assert model.pool.used * model.pool.slot_bytes <= size
    prompts.budget = 0
    prompts.keep(tuple(range(20)), model.forward([row(*range(20))])[0].segment, None, None)
    assert size == prompts.nbytes  # larger than the budget: not kept


def test_segments_are_freed_in_any_thread_while_others_are_taken():
    model, wrong = load_model("tiny"), []

    def work(seed):
        rng = np.random.default_rng(seed)
        engine = CachedTransformer(forwards.front())
        for _ in range(20):
            tokens = tuple(int(i) for i in rng.integers(97, 120, 6))
            context = engine.extend(engine.start("a"), tokens)
            got = engine.log_probs([context])[0]
            reference = CachedTransformer(model)
            del context
            wrong.append((tokens, got, reference))

    forwards = SharedForwards(model)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forwards.close()
    for tokens, got, engine in wrong:
        (expected,) = engine.log_probs([engine.extend(engine.start("a"), tokens)])
        np.testing.assert_allclose(got, expected, atol=1e-4)
    wrong.clear()
    del engine
    assert model.pool.used == 0


def test_a_run_may_send_so_many_tokens_and_no_more():
    engine = CachedTransformer(TableModel("bits", BITS))
    engine.token_budget = TokenBudget(3)
    engine.log_probs([engine.start("01")])
    with pytest.raises(BudgetEnded, match="3 tokens"):
        engine.log_probs([engine.start("1111")])
    assert engine.stats.forwarded_tokens == engine.token_budget.used == 2


def test_a_past_goes_through_the_front():
    model = load_model("tiny")
    forwards = SharedForwards(model)
    front = forwards.front()
    ids = front.start("The sea")
    (whole,) = front.forward([ForwardRow(None, ids, (len(ids) - 1,))])
    (part,) = front.forward([ForwardRow(None, ids[:3], ())])
    (rest,) = front.forward([ForwardRow(Past(part.segment, 3), ids[3:], (len(ids) - 4,))])
    np.testing.assert_allclose(whole.log_probs, rest.log_probs, atol=1e-4)
    forwards.close()


def test_no_rows_wait_for_nothing():
    forwards = SharedForwards(TableModel("bits", BITS))
    with until(Deadline(5.0)):
        assert forwards.front().forward([]) == []
    forwards.close()


def test_who_asks_after_the_end_is_told_at_once():
    forwards = SharedForwards(TableModel("bits", BITS))
    forwards.close()
    forwards._thread.join(5.0)
    with until(Deadline(1.0)), pytest.raises(CallError, match="ending"):
        forwards.front().forward([row(0)])

"""Runs in several threads on one loaded model, or one engine, have the answers that each has
alone."""

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.table import TableModel

SHORT = fkdsl.parse("""
program p(n: int = 6) -> str:
    lm = prompt("a")
    while not lm.done and lm.tokens < n:
        t ~ lm
        condition not contains(lm.text, "bb")
    return lm.text
""")
ROWS = {"": {"a": 0.5, "b": 0.4, None: 0.1}, "a": {"a": 0.3, "b": 0.7}}


class Watched(TableModel):
    """A table that takes a while, and knows how many threads are in it at once."""

    within = most = 0

    def forward(self, rows):
        self.within += 1
        self.most = max(self.most, self.within)
        time.sleep(0.001)
        results = super().forward(rows)
        self.within -= 1
        return results


def answers_in_threads(model, seeds=range(8)):
    """(log Z, values) of a run for each seed, four at a time."""

    def answer(seed):
        result = SHORT.run("smc", model=model, particles=4, seed=seed, lookahead="none")
        return result.log_z, [p.value for p in result.particles]

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(answer, seeds)), [answer(seed) for seed in seeds]


@pytest.mark.parametrize("given", [lambda m: m, CachedTransformer], ids=["model", "engine"])
def test_runs_in_threads_share_a_model_and_are_those_that_each_is_alone(given):
    model = Watched("m", ROWS)
    together, alone = answers_in_threads(given(model))
    assert together == alone
    assert model.most == 1


def test_a_model_that_writes_into_its_own_buffers_is_used_by_one_thread_at_a_time(monkeypatch):
    """Without turns, runs on one decoder got each other's rows: 9 of 24 answers were wrong."""
    out_of_turn = "fkdsl.engine.cached_transformer.in_turn"
    monkeypatch.setattr(out_of_turn, lambda shared, call, *args: call(*args))
    model = Watched("m", ROWS)
    answers_in_threads(model)
    assert model.most > 1  # the test above can fail


def test_a_model_that_has_run_can_be_pickled_and_copied_as_before():
    model = Watched("m", ROWS)
    answers_in_threads(model, range(1))
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert answers_in_threads(other, range(2)) == answers_in_threads(model, range(2))


def test_runs_on_the_tiny_decoder_in_threads_are_those_alone():
    from fkdsl.models.registry import load_model

    together, alone = answers_in_threads(load_model("tiny"), range(6))
    assert [v for _, v in together] == [v for _, v in alone]
    assert [z for z, _ in together] == pytest.approx([z for z, _ in alone], abs=1e-4)


def test_a_run_that_waits_for_an_engine_heeds_its_deadline():
    engine = CachedTransformer(Watched("m", ROWS))
    begun, end = threading.Event(), threading.Event()

    def first():
        def hold(step):
            begun.set()
            end.wait(10)

        SHORT.run("smc", model=engine, particles=2, observer=hold)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(10)
    with pytest.raises(fkdsl.BudgetEnded, match="another thread used the same engine"):
        SHORT.run("smc", model=engine, particles=2, timeout=0.1)
    end.set()
    thread.join()
    SHORT.run("smc", model=engine, particles=2, timeout=10)


def test_a_run_that_its_caller_cancelled_is_not_told_to_take_longer():
    deadline = fkdsl.Deadline()
    with pytest.raises(fkdsl.BudgetEnded, match="cancelled, past step 0") as ended:
        SHORT.run(
            model=TableModel("m", ROWS), timeout=deadline, observer=lambda step: deadline.cancel()
        )
    assert ended.value.help == ""

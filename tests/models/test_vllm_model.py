"""Which session of vLLM continues which segment, against an engine that is scripted: vLLM need not
be installed. tests/models/test_vllm.py has vLLM itself, and tests/engine/test_cached_transformer.py
the laws of both."""

import gc
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.vllm import VllmError
from fkdsl.models.vllm.check import verify_rows
from fkdsl.models.vllm.model import VllmModel
from fkdsl.models.vllm.session import SessionEngine, StepError
from tests.engine.tiny import V, letters
from tests.models.session_engine import ScriptedEngine, row_of, scripted


def law(text):
    """The slow reference: the scripted row of a whole text, normalised."""
    z = row_of(text).astype(np.float64)
    return z - np.log(np.exp(z).sum())


def step(engine, contexts, rng, lengths=(1,)):
    return [
        engine.extend(c, [rng.randrange(V) for _ in range(rng.choice(lengths))]) for c in contexts
    ]


def check(engine, contexts):
    for context, row in zip(contexts, engine.log_probs(contexts), strict=True):
        assert np.abs(row - law(context.tokens)).max() <= 1e-5


@pytest.mark.parametrize(
    "bounds",
    [{}, {"max_sessions": 3}, {"memory": 150}, {"budget": 4}, {"max_sessions": 5, "memory": 90}],
    ids=str,
)
def test_populations_of_several_prompts_have_the_rows_of_whole_texts(bounds):
    model, rng = scripted(**bounds), random.Random(0)
    engine = CachedTransformer(model)
    particles = [engine.extend(engine.root, [rng.randrange(V)] * n) for n in (2, 9, 14)] * 4
    idle = engine.extend(engine.root, (5, 6, 7))
    check(engine, [idle])
    for t in range(12):
        particles = step(engine, particles, rng, (1, 1, 3))
        if t % 3 == 1:  # resampling: some die, others have several children
            particles = [rng.choice(particles[:8]) for _ in particles]
        check(engine, particles)
        assert model.sessions == model.engine.sessions <= model.engine.max_sessions
    check(engine, step(engine, [idle, idle], rng))
    text = [rng.randrange(V) for _ in range(6)]
    whole = sum(law([*idle.tokens, *text[:k]])[text[k]] for k in range(6))
    assert engine.logprob_of(idle, text) == pytest.approx(whole, abs=1e-4)
    del particles, idle
    gc.collect()
    assert (model.sessions, model.engine.sessions, len(engine.tree)) == (0, 0, 0)


def test_one_child_of_a_context_goes_on_in_its_session_and_the_others_begin_their_own():
    model = scripted()
    engine = CachedTransformer(model)
    a = engine.extend(engine.root, (1, 2, 3))
    engine.log_probs([a])
    children = [engine.extend(a, (t,)) for t in (4, 5, 6)]
    check(engine, children)
    assert model.engine.begun == 3
    for _ in range(5):
        children = [engine.extend(c, (7,)) for c in children]
        check(engine, children)
    assert model.engine.begun == 3
    assert model.engine.steps == 7
    assert model.engine.computed == 3 + 3 * 6  # a fork reads its own tokens alone


def test_a_context_whose_session_went_on_is_forked_at_its_place():
    model = scripted()
    engine = CachedTransformer(model)
    a = engine.extend(engine.root, (1, 2, 3))
    check(engine, [a])
    b = engine.extend(a, (4, 5, 6))
    check(engine, [b])
    check(engine, [engine.extend(a, (7,))])
    assert model.engine.computed == 7


def test_a_context_goes_on_after_a_text_was_scored_that_took_its_session():
    model = scripted()
    engine = CachedTransformer(model)
    a = engine.extend(engine.root, (1, 2, 3))
    check(engine, [a])
    engine.logprob_of(a, (4, 5, 6))
    assert model.engine.computed == 3 + 2
    check(engine, [engine.extend(a, (7,))])
    assert model.engine.computed == 3 + 2 + 1
    for t in range(6):
        check(engine, [engine.extend(a, (t,))])
    assert model.engine.computed == 3 + 2 + 1 + 6
    assert model.engine.sessions <= 5
    for _ in range(4):
        check(engine, [engine.extend(engine.root, (8,))])
    assert model.engine.sessions <= 4
    check(engine, [engine.extend(a, (9,))])  # its session has ended: it is read again, once
    check(engine, [engine.extend(a, (10,))])
    assert model.engine.computed == 3 + 2 + 1 + 6 + 4 + 4 + 1


def test_a_context_is_asked_again_after_its_session_went_on():
    model = scripted()
    engine = CachedTransformer(model)
    a = engine.extend(engine.root, (1, 2, 3))
    b = engine.extend(a, (4,))
    check(engine, [a])
    check(engine, [b])
    engine.cache.row_budget = 0
    engine.cache.shrink()
    check(engine, [a, b, engine.extend(a, (9,))])


def test_a_past_in_the_middle_of_a_segment_begins_a_session():
    model = scripted()
    (whole,) = model.forward([ForwardRow(None, (1, 2, 3, 4), (1, 3))])
    (cut,) = model.forward([ForwardRow(Past(whole.segment, 2), (9, 8), (0, 1))])
    assert np.abs(whole.log_probs[0] - law((1, 2))).max() <= 1e-5
    assert np.abs(cut.log_probs[1] - law((1, 2, 9, 8))).max() <= 1e-5
    assert whole.segment.owner.session is not None


def test_a_session_that_was_ended_for_room_is_begun_again():
    model = scripted(max_sessions=2)
    results = model.forward([ForwardRow(None, (k, 1), (1,)) for k in range(5)])
    assert model.engine.sessions == 2
    assert [r.segment.owner.session is None for r in results] == [True, True, True, False, False]
    for k, result in enumerate(results):
        (next_,) = model.forward([ForwardRow(Past(result.segment, 2), (3,), (0,))])
        assert np.abs(next_.log_probs[0] - law((k, 1, 3))).max() <= 1e-5


def test_a_context_that_never_fits_is_a_clear_error_and_leaves_no_session():
    model = scripted(memory=20)
    (small,) = model.forward([ForwardRow(None, (1, 2), (1,))])
    with pytest.raises(CallError, match="does not fit into vLLM's memory"):
        model.forward([ForwardRow(None, (1,) * 30, (29,)), ForwardRow(None, (4,), (0,))])
    assert model.sessions == model.engine.sessions == 0
    assert model.forward([ForwardRow(Past(small.segment, 2), (3,), (0,))])


def test_rows_with_many_wanted_positions_share_a_memory_that_is_too_small_for_all():
    model = scripted(memory=45)
    texts = [tuple((k + i) % V for i in range(30)) for k in range(6)]
    wanted = (3, 9, 28, 29)
    results = model.forward([ForwardRow(None, text, wanted) for text in texts])
    for text, result in zip(texts, results, strict=True):
        for w, row in zip(wanted, result.log_probs, strict=True):
            assert np.abs(row - law(text[: w + 1])).max() <= 1e-5
    del results, result
    assert model.sessions == 0


def test_ids_out_of_range_and_segments_of_others_are_clear_errors():
    model = scripted()
    with pytest.raises(CallError, match="no token 40"):
        model.forward([ForwardRow(None, (1, 40), (1,))])
    with pytest.raises(CallError, match="prefill"):
        model.forward([ForwardRow(Past(object(), 1), (1,), (0,))])
    assert model.sessions == 0


class Interrupted(ScriptedEngine):
    """Ctrl-C comes in the middle of its second step."""

    def step(self):
        result = super().step()
        if self.steps == 2:
            signal.raise_signal(signal.SIGINT)
            self.finished_the_step = True
        return result


@pytest.fixture
def python_takes_interrupts():
    """A shell that starts the tests in the background has interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_takes_interrupts")
def test_an_interrupt_comes_after_the_step_in_which_it_was_sent_and_leaves_no_session():
    model = VllmModel(Interrupted(budget=4), letters("interrupted", 128))
    text = tuple(range(1, 13))
    with pytest.raises(KeyboardInterrupt):
        model.forward([ForwardRow(None, text, (11,))])
    assert model.engine.finished_the_step
    assert model.engine.steps == 2
    assert model.sessions == model.engine.sessions == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (result,) = model.forward([ForwardRow(None, text, (11,))])
    assert np.abs(result.log_probs[0] - law(text)).max() <= 1e-5


HANGS = """
import ctypes, os, signal, sys, threading, time
from fkdsl.models.vllm import interrupts

interrupts.GRACE = 0.2
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGUSR1, lambda *_: None)
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)

def press():
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # impatient: too early to count
    time.sleep(0.6)
    print(os.read(read, 9), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

for hangs in (False, True):
    try:
        with interrupts.interrupts_wait():
            if not hangs:
                os.kill(os.getpid(), signal.SIGINT)
                continue
            threading.Thread(target=press, daemon=True).start()
            lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            library.pthread_mutex_lock(lock)
            library.pthread_mutex_lock(lock)  # for ever, in code that is not Python's
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_a_step_that_hangs_says_so_and_can_be_ended():
    command = [sys.executable, "-c", HANGS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 130
    assert ran.stdout == f"interrupted\n{bytes([signal.SIGUSR1])}\n"
    assert ran.stderr.count("Ctrl-C once more ends the process") == 1


class Broken(ScriptedEngine):
    """It fails in its second step, and does not end requests afterwards."""

    def step(self):
        result = super().step()
        if self.steps >= 2:
            raise StepError("CUDA out of memory")
        return result

    def close(self, names):
        super().close(names)
        if names and self.steps >= 2:
            raise StepError("no request of that name")


def test_a_step_that_fails_is_told_where_its_requests_cannot_be_ended_either():
    model = VllmModel(Broken(budget=4), letters("broken", 128))
    for _ in range(2):
        with pytest.raises(StepError, match="CUDA out of memory"):
            model.forward([ForwardRow(None, tuple(range(1, 13)), (11,))])
        assert model.sessions == model.engine.sessions == 0


class Unready:
    """Of vLLM's core, what fails: everything."""

    def step_fn(self):
        raise RuntimeError("CUDA out of memory")

    def abort_requests(self, names):
        raise KeyError(names)

    def post_step(self, model_executed):
        raise AssertionError("nothing was executed")


def test_what_failed_first_is_what_an_engine_says_from_then_on():
    engine = object.__new__(SessionEngine)
    engine._core, engine._sampling, engine._failure = Unready(), {"1": None, "2": None}, None
    for call in (engine.step, lambda: engine.close(["1"]), engine.step):
        with pytest.raises(StepError, match="CUDA out of memory"):
            call()
    assert list(engine._sampling) == ["2"]


class Swapped(ScriptedEngine):
    """A planted bug: rows come in another order than they were asked for."""

    def logits(self, names):
        return super().logits(names).flip(0)


class Forgetful(ScriptedEngine):
    """A planted bug: a session loses its last token when it goes on."""

    def feed(self, name, tokens, *, new=False, **settings):
        if not new:
            self.texts[name].pop()
            self.read[name] -= 1
        super().feed(name, tokens, new=new, **settings)


class Uncopied(ScriptedEngine):
    """A planted bug: the last of the tokens that a fork takes over is another's."""

    def _take_over(self, name):
        read = self.read[name]
        super()._take_over(name)
        if self.read[name] > read:
            self.texts[name][self.read[name] - 1] ^= 1


@pytest.mark.parametrize("planted", [Swapped, Forgetful, Uncopied])
def test_planted_bugs_show(planted):
    engine = CachedTransformer(VllmModel(planted(), letters("planted", 128)))
    rng = random.Random(1)
    first = [engine.extend(engine.root, (1, 2)), engine.extend(engine.root, (3,))]
    engine.log_probs(first)
    with pytest.raises(AssertionError):
        check(engine, step(engine, first * 2, rng))
    with pytest.raises(VllmError, match="other probabilities than whole texts"):
        verify_rows(engine.model, "float32")


def test_a_model_whose_rows_are_right_passes_the_check_and_it_leaves_no_session():
    model = scripted()
    verify_rows(model, "float32")
    assert model.sessions == model.engine.sessions == 0

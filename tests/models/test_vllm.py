"""vLLM as an engine: rows against transformers, and what is used of vLLM beyond its documented
interface. tests/models/test_vllm_loading.py has what a user is told, test_vllm_forks.py forks."""

import gc
import inspect
import os
import random
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.registry import load_model
from fkdsl.models.vllm import VllmError, loading
from fkdsl.models.vllm.check import verify_rows
from tests.engine.tiny import V, skip_without_vllm, tiny_vllm, tiny_vllm_module

TOLERANCE = 1e-6
"""Of log-probabilities, in nats, against transformers' in float32."""


def reference(tokens, family="llama"):
    """(length, V) transformers' log-probabilities after each token of a text, in float32."""
    with torch.inference_mode():
        logits = tiny_vllm_module(family)(torch.tensor([tokens])).logits[0]
    return torch.log_softmax(logits, -1).numpy()


def check(engine, contexts):
    """Asserts that rows are transformers'; the worst difference."""
    worst = 0.0
    for context, row in zip(contexts, engine.log_probs(contexts), strict=True):
        worst = max(worst, np.abs(row - reference(context.tokens)[-1]).max())
    assert worst <= TOLERANCE


# (sessions, bytes of keys and values): with room; with fewer slots than particles; with so little
# memory that sessions are ended for it.
@pytest.mark.parametrize("bounds", [(16, 16 << 20), (5, 16 << 20), (16, 800 << 10)], ids=str)
def test_rows_are_transformers_through_forks_merges_and_deaths(bounds):
    model, rng = tiny_vllm(*bounds), random.Random(3)
    engine = CachedTransformer(model)
    prompts = [
        engine.extend(engine.root, [rng.randrange(V) for _ in range(n)]) for n in (1, 33, 64)
    ]
    particles = prompts * 5
    other = engine.extend(engine.root, (1, 2, 3))  # a second context of the program
    for t in range(9):
        particles = [
            engine.extend(c, [rng.randrange(V) for _ in range(rng.choice((1, 1, 1, 4)))])
            for c in particles
        ]
        if t % 3 == 2:
            particles = [rng.choice(particles) for _ in particles]
        check(engine, particles)
        if t % 4 == 1:
            other = engine.extend(other, (rng.randrange(V),))
            check(engine, [*particles[:3], other])
    text = [rng.randrange(V) for _ in range(12)]
    rows = reference([*other.tokens, *text])[other.length - 1 : -1]
    whole = sum(row[i] for row, i in zip(rows, text, strict=True))
    assert engine.logprob_of(other, text) == pytest.approx(whole, abs=1e-5)
    assert model.sessions == model.engine.sessions > 0
    del particles, other, prompts
    gc.collect()
    assert (model.sessions, model.engine.sessions, model.engine.used) == (0, 0, 0.0)


def test_vllm_interrupts_what_does_not_fit_and_gives_every_row_all_the_same():
    model = tiny_vllm(16, 800 << 10)
    texts = [tuple((k * 7 + i) % V for i in range(100)) for k in range(12)]
    results = model.forward([ForwardRow(None, text, (60, 99)) for text in texts])
    for text, result in zip(texts, results, strict=True):
        assert np.abs(result.log_probs - reference(text)[[60, 99]]).max() <= TOLERANCE
    del results, result


def test_the_check_of_a_loaded_model_passes_and_leaves_no_session():
    model = tiny_vllm()
    verify_rows(model, "float32")
    assert model.sessions == model.engine.sessions == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "mistral", "gemma2", "gpt2"])
def test_rows_of_other_families_are_transformers(family):
    model, rng = tiny_vllm(family=family), random.Random(0)
    verify_rows(model, "float32")
    engine = CachedTransformer(model)
    particles = [engine.extend(engine.root, [rng.randrange(V) for _ in range(40)])] * 6
    for t in range(9):
        particles = [engine.extend(c, (rng.randrange(V),)) for c in particles]
        if t % 3 == 2:
            particles = [rng.choice(particles) for _ in particles]
        for context, row in zip(particles, engine.log_probs(particles), strict=True):
            expected = reference(context.tokens, family)[-1]
            # Gemma 2 bends its logits, which both round.
            assert np.abs(row - expected).max() <= TOLERANCE * (5 if family == "gemma2" else 1)


def test_the_runner_is_the_one_that_was_asked_for():
    expected = {"0": "V1", "1": "V2"}.get(os.environ.get("VLLM_USE_V2_MODEL_RUNNER", ""))
    assert tiny_vllm().engine.runner in ({expected} if expected else {"V1", "V2"})


@pytest.mark.slow
def test_the_second_runner_gives_the_same_rows():
    """All that stands above and below, in another process."""
    skip_without_vllm()
    if find_spec("triton") is None:
        pytest.skip("vLLM's second model runner needs triton")
    command = [sys.executable, "-m", "tests.models.second_runner", __file__]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.slow
def test_layers_that_two_processes_share_give_the_same_rows(tmp_path):
    """Tensor parallelism, as on several GPUs: vLLM's workers are processes of their own. They
    compile a kernel first."""
    model = tiny_vllm(tensor_parallel=2)
    try:
        rows = [ForwardRow(None, (1,) * n, (n - 1,)) for n in (3, 40)]
        first = model.forward(rows)
        pasts = [Past(r.segment, r.segment.length) for r in first]
        second = model.forward([ForwardRow(past, (5, 6), (0, 1)) for past in pasts])
        for row, result in zip(rows, second, strict=True):
            expected = reference((*row.tokens, 5, 6))[-2:]
            assert np.abs(result.log_probs - expected).max() <= TOLERANCE
    finally:
        model.engine.shutdown()


@pytest.mark.smollm2
def test_smollm2_in_vllm_is_the_model_of_fkdsls_own_decoder_and_prints_nothing(smollm2, capfd):
    skip_without_vllm()
    model = load_model("smollm2", engine="vllm", options={"sessions": 8})
    assert capfd.readouterr() == ("", "")
    ids = model.start("The capital of France is Paris, and that of Italy")
    assert ids == smollm2.start("The capital of France is Paris, and that of Italy")
    assert model.chat("Hello", "Be kind.") == smollm2.chat("Hello", "Be kind.")
    assert model.vocabulary.tokens == smollm2.vocabulary.tokens
    assert model.vocabulary.ends == smollm2.vocabulary.ends
    facts, own = model.describe(), smollm2.describe()
    assert {k: facts[k] for k in ("family", "parameters", "context")} == {
        "family": own["family"], "parameters": own["parameters"], "context": own["context"] - 1,
    }  # fmt: skip
    row = ForwardRow(None, ids, (3, len(ids) - 1))
    (a,), (b,) = model.forward([row]), smollm2.forward([row])
    assert np.abs(a.log_probs - b.log_probs).max() <= 2e-4


def test_a_context_may_have_as_many_tokens_as_the_model_reads():
    model = tiny_vllm()
    text = tuple(i % V for i in range(model.max_length))
    (result,) = model.forward([ForwardRow(None, text, (len(text) - 1,))])
    assert np.abs(result.log_probs[0] - reference(text)[-1]).max() <= TOLERANCE


def test_where_memory_is_short_a_model_reads_shorter_texts():
    model = tiny_vllm(16, 96 << 10)
    assert 8 <= model.max_length < tiny_vllm().max_length
    text = tuple(i % V for i in range(model.max_length))
    (result,) = model.forward([ForwardRow(None, text, (len(text) - 1,))])
    assert np.abs(result.log_probs[0] - reference(text)[-1]).max() <= TOLERANCE


def test_an_engine_that_ends_or_does_not_start_leaves_the_others_running():
    """vLLM's engines of a process share its groups of processes, which an engine of vLLM ends when
    it is shut down or collected."""
    model = tiny_vllm()
    with pytest.raises(VllmError, match="too little memory"):
        tiny_vllm(16, 100)
    tiny_vllm.__wrapped__(sessions=3).engine.shutdown()
    tiny_vllm.__wrapped__(sessions=3)
    gc.collect()
    (result,) = model.forward([ForwardRow(None, (1, 2, 3), (2,))])
    assert np.abs(result.log_probs[0] - reference((1, 2, 3))[-1]).max() <= TOLERANCE


def test_a_row_does_not_depend_on_what_was_computed_before():
    """vLLM's prefix cache must not confuse texts that end alike."""
    model = tiny_vllm()
    a, b = (1,) * 40, (2,) * 40
    one, two = model.forward([ForwardRow(None, t, (39,)) for t in (a, b)])
    rows = [ForwardRow(Past(r.segment, 40), (3,) * 5, (4,)) for r in (two, one, one)]
    for text, result in zip((b, a, a), model.forward(rows), strict=True):
        assert np.abs(result.log_probs[0] - reference((*text, *(3,) * 5))[-1]).max() <= TOLERANCE


def test_an_engine_that_failed_once_says_so_and_computes_no_more(monkeypatch):
    """What vLLM planned and did not compute stands in its prefix cache."""
    model = tiny_vllm.__wrapped__(sessions=4)

    def short(*args, **kwargs):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(model.engine._core.model_executor, "execute_model", short)
    for _ in range(2):
        with pytest.raises(VllmError, match="out of memory"):
            model.forward([ForwardRow(None, (1, 2, 3), (2,))])
        monkeypatch.undo()
    assert model.sessions == model.engine.sessions == 0


@pytest.fixture
def counted(monkeypatch):
    """A model of its own, and a list to which vLLM adds how many tokens each step computes."""
    model = tiny_vllm(sessions=24)
    counts, schedule = [], model.engine._core.scheduler.schedule

    def counting(*args):
        output = schedule(*args)
        counts.append(output.total_num_scheduled_tokens)
        return output

    monkeypatch.setattr(model.engine._core.scheduler, "schedule", counting)
    return model, counts


@pytest.mark.parametrize("length", [31, 32, 45])
def test_a_fork_computes_its_own_tokens_alone(length, counted):
    """Its source's last block is copied, in the middle of a block and at its end; also where the
    source goes on in the same step, and where it went on before and its text is gone."""
    model, computed = counted
    prompt = tuple((3 * i + length) % V for i in range(length))
    (begun,) = model.forward([ForwardRow(None, prompt, ())])
    past = Past(begun.segment, length)
    for more in (0, 1):
        rows = [ForwardRow(past, (k + 9 * more,) * (1 + more), (more,)) for k in range(5)]
        for row, result in zip(rows, model.forward(rows), strict=True):
            expected = reference((*prompt, *row.tokens))[-1]
            assert np.abs(result.log_probs[0] - expected).max() <= TOLERANCE
        del result
    assert sum(computed) == length + 5 + 10
    assert model.engine.forks
    del begun, past, rows
    assert model.sessions == model.engine.sessions == 0


def test_a_fork_whose_source_has_ended_takes_what_the_prefix_cache_has(counted):
    model, computed = counted
    prompt = tuple((3 * i + 1) % V for i in range(45))
    (begun,) = model.forward([ForwardRow(None, prompt, ())])
    others = model.forward([ForwardRow(None, (k,), (0,)) for k in range(24)])
    assert begun.segment.owner.session is None
    del computed[:]
    (result,) = model.forward([ForwardRow(Past(begun.segment, 45), (1,), (0,))])
    assert np.abs(result.log_probs[0] - reference((*prompt, 1))[-1]).max() <= TOLERANCE
    assert sum(computed) == 14
    del others


# ------------------------------------------------------------------ what is used of vLLM


def test_the_parts_that_are_used_of_vllm_are_there():
    skip_without_vllm()
    from vllm import SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.core import single_type_kv_cache_manager
    from vllm.v1.core.kv_cache_manager import KVCacheManager
    from vllm.v1.core.single_type_kv_cache_manager import SingleTypeKVCacheManager
    from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
    from vllm.v1.engine.core import EngineCore
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.sample.logits_processor import LogitsProcessor
    from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality

    from fkdsl.models.vllm.forks import COPIED

    loading.verify_installed()
    assert "resumable" in EngineCoreRequest.__struct_fields__
    assert {"request_id", "new_token_ids"} <= set(EngineCoreOutput.__struct_fields__)
    assert "extra_args" in SamplingParams.__struct_fields__
    for name in ("add_request", "preprocess_add_request", "abort_requests", "step", "post_step"):
        assert callable(getattr(EngineCore, name))
    assert list(inspect.signature(EngineCore.post_step).parameters) == ["self", "model_executed"]
    assert list(inspect.signature(KVCacheManager.get_computed_blocks).parameters)[1] == "request"
    for name in COPIED:
        assert isinstance(getattr(single_type_kv_cache_manager, name), type)
    for name in ("_apply_cow", "get_num_skipped_tokens", "take_pending_cow_copies"):
        assert callable(getattr(SingleTypeKVCacheManager, name))
    assert callable(EngineArgs.create_engine_config)
    assert callable(LLMEngine.from_vllm_config)
    assert LogitsProcessor.__abstractmethods__ == {
        "__init__", "apply", "is_argmax_invariant", "update_state",
    }  # fmt: skip
    assert {"removed", "added", "moved"} <= set(BatchUpdate.__dataclass_fields__)
    assert {m.name for m in MoveDirectionality} == {"UNIDIRECTIONAL", "SWAP"}


def test_rows_follow_their_requests_as_the_first_runner_moves_them():
    skip_without_vllm()
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality

    from fkdsl.models.vllm.rows import fetch
    from fkdsl.models.vllm.runner_v1 import RowsOfV1

    def added(i, name):
        return (i, SamplingParams(extra_args=name and {"fkdsl": name}), [], [])

    processor = RowsOfV1(None, torch.device("cpu"), False)
    first = [added(0, "a"), added(1, "b"), added(2, None), added(3, "d")]
    processor.update_state(BatchUpdate(4, [], first, []))
    logits = torch.arange(12.0).view(4, 3)
    assert processor.apply(logits) is logits
    assert fetch(None, ["d", "a"], False).tolist() == [[9, 10, 11], [0, 1, 2]]
    swap = (0, 1, MoveDirectionality.SWAP)
    move = (3, 2, MoveDirectionality.UNIDIRECTIONAL)
    processor.update_state(BatchUpdate(3, [2], [], [swap, move]))
    processor.update_state(None)
    processor.apply(logits[:3])
    assert fetch(None, ["d", "a", "b"], True)[:, 0].tolist() == [6, 3, 0]
    with pytest.raises(KeyError):
        fetch(None, ["c"], False)


def test_rows_follow_their_requests_through_the_slots_of_the_second_runner():
    """Its processor alone, as the runner uses it."""
    skip_without_vllm()
    from vllm import SamplingParams
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext

    from fkdsl.models.vllm.rows import fetch
    from fkdsl.models.vllm.runner_v2 import RowsOfV2

    processor = RowsOfV2(None, None)
    for slot, name in ((7, "v2-a"), (2, "v2-b"), (7, "v2-c")):
        assert processor.add_request(slot, SamplingParams(extra_args={"fkdsl": name}))
    empty = torch.tensor([])
    slots = np.array([2, 7])
    context = LogitsContext(empty, empty, slots, empty, empty, empty, slots)
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert processor.apply(logits, context).equal(logits)
    assert fetch(None, ["v2-c", "v2-b"], False).tolist() == [[3, 4], [1, 2]]

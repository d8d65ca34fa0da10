"""The engine's laws, for a table and tiny random transformers: cached equals uncached, each context
once, no leaks."""

import gc
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import CallError
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer, Stats
from fkdsl.models.interface import ForwardRow
from fkdsl.models.linear import packs
from fkdsl.models.registry import load_model
from fkdsl.models.table import TableModel
from tests.engine.readers import READERS, SLOW_READERS, begins, reader, reader_rows
from tests.engine.tiny import FAMILIES, SLOW_FAMILIES, V, tiny, tiny_vllm
from tests.models.session_engine import scripted
from tests.models.tiny_gguf import needs_library, tiny_gguf

TABLE = TableModel(
    "t", {"": {"a": 0.5, "b": 0.3, None: 0.2}, "a": {"a": 0.1, "b": 0.9}, "bb": {"a": 1.0}}
)
CODES = TableModel(
    "c",
    {
        "": {"\0": 0.4, "\0\1": 0.1, "\1": 0.2, "\1\2": 0.1, "\2": 0.1, None: 0.1},
        "\0": {"\1\0": 1.0},
    },
)
"""Tokens of the bytes 0, 1 and 2."""
VIEW = ByteView(CachedTransformer(CODES))
SESSIONS = scripted(max_sessions=4, memory=100, budget=5)
"""The model that vLLM computes, over an engine that is scripted; the tests skip `vllm` where it is
not installed."""
TOLERANCE = 5e-5
"""Rounding in float32, amplified by the weights that `tiny` scales up; a wrong cache is off by 1e-3
and more."""


REFERENCES = {}
"""(model, tokens) -> its row: drawn cases ask for the same contexts again and again."""


def uncached(model, tokens):
    key = (model, tuple(tokens))
    if key not in REFERENCES:
        REFERENCES[key] = reference_row(model, tokens)
    return REFERENCES[key]


def reference_row(model, tokens):
    """The slow reference: the whole sequence through the model, nothing kept; of an
    encoder-decoder through the library's module, of a byte-level model with eyes by its
    formulas."""
    if model.name in (*READERS, *SLOW_READERS):
        return reader_rows(model.name, tokens)[-1]
    if model.name == "seeing":
        return plain_row(tokens)
    row = ForwardRow(None, tuple(tokens), (len(tokens) - 1,) if tokens else ())
    return model.forward([row])[0].log_probs[0]


def seeing():
    """A byte-level model with random eyes, whose contexts begin with an image."""
    from tests.models.vision.test_tiny_vision import PLAIN, fast

    return fast(PLAIN)


def plain_row(tokens):
    from tests.models.vision.test_tiny_vision import plain_logits

    return plain_logits(tokens)[-1].log_softmax(-1).numpy()


def models():
    return {"table": TABLE, **{name: tiny(name) for name in FAMILIES}}


LLAMA_CPP = pytest.param("llamacpp", marks=needs_library)
NARROW = ("int8", "int4")
"""Precisions in which a gguf file's matrices stay narrow."""


@pytest.fixture(
    scope="module",
    params=[
        "table",
        "bytes",
        "sessions",
        "vllm",
        LLAMA_CPP,
        "seeing",
        *NARROW,
        *FAMILIES,
        *READERS[:2],
    ],
)
def model(request, tmp_path_factory):
    own = {"table": TABLE, "bytes": VIEW, "sessions": SESSIONS}
    if request.param == "vllm":
        return tiny_vllm()
    if request.param == "seeing":
        return seeing()
    if request.param in NARROW:
        if not packs(request.param):
            pytest.skip(f"this machine has no linear maps in {request.param}")
        file = tiny_gguf(tmp_path_factory.mktemp("gguf") / "w.gguf", "Q4_1")
        return load_model(str(file), dtype=request.param)
    if request.param == "llamacpp":
        file = tiny_gguf(tmp_path_factory.mktemp("gguf") / "w.gguf")
        return load_model(str(file), engine="llamacpp", options={"sequences": 4})
    return own.get(request.param) or any_tiny(request.param)


def any_tiny(family):
    return tiny(family) if family in (*FAMILIES, *SLOW_FAMILIES) else reader(family)


def begun(engine):
    """The context from which a test goes on: the empty one, or that of a source and the decoder's
    start, whose row is cached and not counted."""
    context = engine.extend(engine.root, begins(engine.model))
    if context.length:
        engine.log_probs([context])
        engine.stats = Stats()
    return context


moves = st.lists(
    st.tuples(
        st.sampled_from(("extend", "fork", "query", "release", "evict")), st.integers(0, 1_000)
    ),
    min_size=1,
    max_size=25,
)


def play(engine, ops, vocabulary):
    """Extends, forks, queries, releases and evicts; checks each answer against the reference."""
    one, two = begins(engine.model), begins(engine.model, "b another source")
    held = [engine.extend(engine.root, (*one, 1, 2)), engine.extend(engine.root, (*two, 1, 0, 2))]
    held.append(engine.extend(engine.root, (*one, 1)))
    for op, n in ops:
        at = n % len(held)
        rng = random.Random(n)
        if op == "extend":
            held[at] = engine.extend(
                held[at], [rng.randrange(vocabulary) for _ in range(1 + n % 3)]
            )
        elif op == "fork":
            held.append(engine.extend(held[at], (rng.randrange(vocabulary),)))
        elif op == "release" and len(held) > 1:
            del held[at]
        elif op == "evict":
            engine.cache.budget = n
            engine.cache.shrink()
            engine.cache.budget = None
        elif op == "query":
            asked = [held[at], held[0], held[-1]]
            for context, row in zip(asked, engine.log_probs(asked), strict=True):
                assert np.allclose(
                    np.exp(row),
                    np.exp(uncached(engine.model, context.tokens)),
                    rtol=0,
                    atol=TOLERANCE,
                )
    return held


@settings(max_examples=25)
@given(ops=moves)
def test_cached_equals_uncached_and_nothing_leaks(model, ops):
    engine = CachedTransformer(model)
    held = play(engine, ops, 3 if model in (TABLE, VIEW) else V - 2)
    assert held
    del held
    assert len(engine.tree) == 0
    assert engine.cache.nbytes == (
        0 if engine.cached(engine.root) is None else engine.cached(engine.root).nbytes
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", [*SLOW_FAMILIES, *READERS[2:], *SLOW_READERS])
def test_cached_equals_uncached_for_other_families(family):
    rng = random.Random(0)
    for _ in range(10):
        ops = [
            (rng.choice(("extend", "fork", "query", "release", "evict")), rng.randrange(1_000))
            for _ in range(25)
        ]
        play(CachedTransformer(any_tiny(family)), ops, V - 2)


@pytest.mark.parametrize("budget", [1, 5_000])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_budget_and_the_batch_change_no_answer(model, budget, batch):
    free, bound = (
        CachedTransformer(model),
        CachedTransformer(model, memory_budget=budget, max_batch=batch),
    )
    sequences = [(1,), (1, 2), (1, 2, 0), (2, 1), (1, 2, 0, 1), (1, 2)]
    for start in range(3):
        asked = sequences[start:]
        a = free.log_probs([free.extend(free.root, (*begins(model), *s)) for s in asked])
        b = bound.log_probs([bound.extend(bound.root, (*begins(model), *s)) for s in asked])
        assert np.allclose(np.exp(a), np.exp(b), rtol=0, atol=TOLERANCE)
        assert bound.cache.nbytes <= budget


def test_each_context_is_computed_once_however_many_ask(model):
    engine = CachedTransformer(model)
    root = begun(engine)
    contexts = [engine.extend(root, (1, 2)) for _ in range(50)]
    engine.log_probs(contexts)
    engine.log_probs(contexts[:7])
    assert engine.stats.forwarded_tokens == 2
    assert engine.stats.model_calls == 1


def test_fifty_steps_after_a_prompt_of_ten_forward_at_most_sixty_tokens(model):
    engine = CachedTransformer(model)
    context = engine.extend(begun(engine), [1, 2, 0] * 3 + [1])
    for _ in range(50):
        row = engine.log_probs([context])[0]
        context = engine.extend(context, (int(np.argmax(row[:3])),))
    assert engine.stats.forwarded_tokens <= 60


def test_fixed_text_is_one_forward(model):
    engine = CachedTransformer(model)
    root = begun(engine)
    path = [engine.extend(root, (1, 2, 0, 1)[:k]) for k in range(1, 5)]
    engine.log_probs(path)
    assert engine.stats.model_calls == 1
    assert engine.stats.forwarded_tokens == 4


def test_a_shared_prefix_goes_through_the_model_once(model):
    engine = CachedTransformer(model)
    root = begun(engine)
    engine.log_probs([engine.extend(root, (1, 2, 0, t)) for t in (0, 1, 2)])
    assert engine.stats.forwarded_tokens == 3 + 3


def test_two_prompts_with_the_same_new_suffix_keep_their_own_distributions(model):
    """genlm-backend 0.3.1 gives each the other's: 12 nats off."""
    engine = CachedTransformer(model)
    root, other = begun(engine), begins(model, "another source")
    a, b = engine.extend(root, (1, 1)), engine.extend(engine.root, (*other, 2, 0))
    engine.log_probs([a, b])
    a, b = engine.extend(a, (2,)), engine.extend(b, (2,))
    rows = engine.log_probs([b, a])
    assert np.allclose(np.exp(rows[0]), np.exp(uncached(model, b.tokens)), rtol=0, atol=TOLERANCE)
    assert np.allclose(np.exp(rows[1]), np.exp(uncached(model, a.tokens)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_query_leaves_cached_tensors_byte_identical(family):
    engine = CachedTransformer(tiny(family))
    a = engine.extend(engine.root, (1, 2, 3))
    engine.log_probs([a])
    segment, _ = engine.cache.slot(id(a))

    def tensors():
        return (
            segment.tensors()
            if hasattr(segment, "tensors")
            else [t for s in segment.layers for t in flat(s)]
        )

    before = [t.clone() for t in tensors()]
    engine.log_probs([engine.extend(a, (4,)), engine.extend(a, (5, 6))])
    assert all(x.equal(y) for x, y in zip(before, tensors(), strict=True))


def flat(value):
    if isinstance(value, dict):
        return [t for v in value.values() for t in flat(v)]
    return [value] if hasattr(value, "equal") and hasattr(value, "clone") else []


def test_a_handle_outlives_eviction(model):
    engine = CachedTransformer(model)
    a = engine.extend(begun(engine), (1, 2, 0))
    before = engine.log_probs([a])[0]
    engine.cache.budget = 0
    engine.cache.shrink()
    assert engine.cached(a) is None
    assert np.allclose(np.exp(engine.log_probs([a])[0]), np.exp(before), rtol=0, atol=TOLERANCE)


def test_forking_costs_no_memory_and_release_gives_it_back(model):
    engine = CachedTransformer(model)
    a = engine.extend(begun(engine), (1, 2, 0))
    engine.log_probs([a])
    held = engine.cache.nbytes
    forks = [engine.extend(a, ()) for _ in range(100)]
    assert engine.cache.nbytes == held
    assert all(f is a for f in forks)
    longer = engine.extend(a, (1,))
    engine.log_probs([longer])
    assert engine.cache.nbytes > held
    del longer
    gc.collect(0)
    assert engine.cache.nbytes == held


def test_a_context_longer_than_the_model_reads_is_a_clear_error():
    engine = CachedTransformer(tiny("gpt2"))
    with pytest.raises(CallError, match=r"129 tokens.*at most 128"):
        engine.extend(engine.root, [1] * 129)


def test_a_table_without_a_row_says_so():
    engine = CachedTransformer(TableModel("gap", {"a": {"a": 1.0}}))
    with pytest.raises(CallError, match="no row"):
        engine.log_probs([engine.root])


def test_rows_are_kept_for_the_last_question_and_a_few_megabytes_more():
    engine = CachedTransformer(tiny("llama"))
    engine.cache.row_budget = 3 * 4 * V
    first = [engine.extend(engine.root, (1, t)) for t in range(5)]
    engine.log_probs(first)
    assert all(engine.cached(c) is not None for c in first)
    second = [engine.extend(c, (2,)) for c in first[:2]]
    engine.log_probs(second)
    assert all(engine.cached(c) is not None for c in second)
    assert sum(engine.cached(c) is not None for c in first) == 1
    forwarded = engine.stats.forwarded_tokens
    row = engine.log_probs([first[0]])[0]
    assert engine.stats.forwarded_tokens == forwarded + 1
    assert np.allclose(np.exp(row), np.exp(uncached(engine.model, (1, 0))), rtol=0, atol=TOLERANCE)

"""The fast decoder and packed maps against the library's own modules, family by family and
precision by precision."""

import copy
import random

import numpy as np
import pytest
import torch
import transformers as tf

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import linear
from fkdsl.models.attention import Queries, QueryBlock, attend_apart
from fkdsl.models.decoder import EXACT_ROWS
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.decoder_weights import FAMILIES, has_decoder_form
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.loading import model_of
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vocabulary import Vocabulary

V = 50
VOCABULARY = Vocabulary(tuple(bytes([97 + i % 26]) for i in range(V)), ends=frozenset({V - 1}))
SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 600,
    "eos_token_id": V - 1,
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
CONFIGS = {
    "llama": lambda: tf.LlamaConfig(**SIZES),
    "llama with biases, a wide head and tied weights": lambda: tf.LlamaConfig(
        **SIZES, attention_bias=True, mlp_bias=True, head_dim=16, tie_word_embeddings=True
    ),
    "llama with llama3 positions": lambda: tf.LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "llama with one key for all": lambda: tf.LlamaConfig(**{**SIZES, "num_key_value_heads": 1}),
    "llama with a key for each": lambda: tf.LlamaConfig(**{**SIZES, "num_key_value_heads": 4}),
    "mistral": lambda: tf.MistralConfig(**SIZES, sliding_window=None),
    "qwen2": lambda: tf.Qwen2Config(**SIZES),
    "qwen3": lambda: tf.Qwen3Config(**SIZES, head_dim=8),
}


def module_of(name):
    torch.manual_seed(3)
    module = tf.AutoModelForCausalLM.from_config(CONFIGS[name]()).float()
    with torch.no_grad():
        for p in module.parameters():
            # Weights that leave rows far from uniform, norms and biases that are not all one and
            # zero.
            p.mul_(8.0) if p.ndim == 2 else p.add_(torch.randn_like(p) * 0.3)
    return module


def both(name, precision="float32"):
    """(the library's own module, the fast one of the same weights)."""
    module = module_of(name)
    texts = ModelTexts(VOCABULARY, lambda text: [ord(c) - 97 for c in text], bos=0, max_length=600)
    return HuggingFaceModel(copy.deepcopy(module), texts), model_of(module, texts, precision)


def walk(engine, rng):
    """Rows of contexts that extend, part and jump by several tokens, at once and again."""
    held = [engine.extend(engine.root, (1, 2, 3)), engine.extend(engine.root, (4,))]
    found = []
    for _ in range(8):
        found.extend(engine.log_probs(held))
        held = [
            engine.extend(c, [rng.randrange(V) for _ in range(rng.choice((1, 1, 1, 4)))])
            for c in held
        ]
        held.append(engine.extend(rng.choice(held), (rng.randrange(V),)))
        if len(held) > 5:
            held.pop(0)
    return np.exp(np.stack(found))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fast_decoder_is_the_librarys_module(name):
    plain, fast = both(name)
    assert isinstance(fast, DecoderModel)
    a, b = (walk(CachedTransformer(m), random.Random(5)) for m in (plain, fast))
    assert np.abs(a - b).max() <= 1e-4
    assert a.max() > 0.1  # rows that a wrong decoder could not meet by being nearly uniform


def test_every_family_that_is_claimed_is_tested():
    assert {CONFIGS[name]().model_type for name in CONFIGS} == set(FAMILIES)


@pytest.mark.parametrize(
    "config",
    [
        tf.MistralConfig(**SIZES, sliding_window=8),
        tf.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1),
        tf.Gemma2Config(**SIZES),
        tf.LlamaConfig(**SIZES, hidden_act="gelu"),
        tf.LlamaConfig(
            **SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
        ),
        tf.GPT2Config(),
    ],
)
def test_what_the_decoder_would_get_wrong_goes_by_the_library(config):
    assert not has_decoder_form(config)


def test_a_long_prompt_and_a_long_text_are_right():
    """Past the 256 positions that are turned at first, and past the pool's first slots."""
    plain, fast = both("llama")
    rng = random.Random(0)
    tokens = [rng.randrange(V) for _ in range(580)]
    rows = []
    for model in (plain, fast):
        engine = CachedTransformer(model)
        context = engine.extend(engine.root, tokens[:560])
        found = engine.log_probs([context])
        for t in tokens[560:]:
            context = engine.extend(context, (t,))
            found += engine.log_probs([context])
        rows.append(np.exp(np.stack(found)))
    assert np.abs(rows[0] - rows[1]).max() <= 2e-4


def test_a_rows_answer_does_not_depend_on_its_batch():
    for precision in filter(linear.packs, ("float32", "int8", "int4")):
        _, fast = both("llama", precision)
        row = ForwardRow(None, (1, 2, 3), (2,))
        others = [ForwardRow(None, (5, 6, 7, 8, 9, 10), (0, 5)), ForwardRow(None, (3,), (0,))]
        alone = fast.forward([row])[0].log_probs
        together = fast.forward([others[0], row, others[1]])[1].log_probs
        assert np.abs(np.exp(alone) - np.exp(together)).max() <= 1e-5


@pytest.mark.parametrize("rows", [1, EXACT_ROWS, EXACT_ROWS + 1, EXACT_ROWS + 2, EXACT_ROWS + 4])
def test_rows_that_fill_up_a_batch_change_nothing_and_leave_nothing(rows, monkeypatch):
    """Of one token each, and of several of which not all are wanted."""
    _, fast = both("llama")
    seen = []
    packed = type(fast.decoder.head).__call__
    monkeypatch.setattr(
        type(fast.decoder.head), "__call__", lambda f, x: seen.append(len(x)) or packed(f, x)
    )
    first = fast.forward([ForwardRow(None, (i % V, 3), (1,)) for i in range(rows)])
    for tokens, wanted in [((5,), (0,)), ((5, 6, 7), (0, 2)), ((5, 6), ())]:
        batch = [ForwardRow(Past(a.segment, 2), tokens, wanted) for a in first]
        answers = fast.forward(batch)
        alone = [fast.forward([row])[0] for row in (batch[0], batch[-1])]
        for one, among in zip(alone, (answers[0], answers[-1]), strict=True):
            np.testing.assert_allclose(one.log_probs, among.log_probs, atol=1e-5)
        assert [len(a.log_probs) for a in answers] == [len(wanted)] * rows
        assert fast.pool.used == rows * (2 + len(tokens)) + 2 * len(tokens)
        del answers, alone
    assert all(n <= EXACT_ROWS or n % 4 == 0 for n in seen)


def test_a_pool_that_grows_keeps_what_it_holds(monkeypatch):
    plain, _ = both("llama")
    monkeypatch.setattr("fkdsl.models.kv_pool.MOST_FIRST_SLOTS", 4)
    _, fast = both("llama")
    engines = [CachedTransformer(m) for m in (plain, fast)]
    a, b = (walk(e, random.Random(9)) for e in engines)
    assert fast.decoder.pool.first == 4
    assert np.abs(a - b).max() <= 1e-4
    before = fast.decoder.pool.capacity
    held = [engines[1].extend(engines[1].root, (t, 1, 2)) for t in range(9)]
    engines[1].log_probs(held)
    assert fast.decoder.pool.capacity > max(4, before - 1)
    del held
    assert fast.decoder.pool.capacity == 4  # empty again


def test_slots_go_back_when_segments_go():
    _, fast = both("llama")
    pool = fast.decoder.pool
    first = fast.forward([ForwardRow(None, (1, 2, 3), (2,))])[0].segment
    second = fast.forward([ForwardRow(Past(first, 2), (4,), (0,))])[0].segment
    assert pool.used == 4
    assert second.table.tolist() == [*first.table[:2].tolist(), *second.table[-1:].tolist()]
    del first
    assert pool.used == 4  # the second still rests on it
    del second
    assert pool.used == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 70])
def test_packed_maps_are_plain_maps(dtype, bias, rows):
    torch.manual_seed(0)
    w, b = torch.randn(24, 40, dtype=dtype), torch.randn(24, dtype=dtype) if bias else None
    x, y = torch.randn(rows, 40, dtype=dtype), torch.randn(rows, 24, dtype=dtype)
    plain, packed = linear.PlainLinear(w, b), linear.pack(w, b, str(dtype).removeprefix("torch."))
    close = 1e-4 if dtype == torch.float32 else 0.3
    for f in (lambda m: m(x), lambda m: m.swish(x), lambda m: m.plus(x, y)):
        assert (f(plain) - f(packed)).abs().max() <= close
    assert (plain.times(x, y) - packed.times(x, y)).abs().max() <= 3 * close
    assert packed.plain().equal(w)


@pytest.mark.parametrize("family", ["gpt2", "mamba", "gemma2", "mixtral", "jamba"])
def test_packed_maps_in_the_librarys_modules_change_nothing(family):
    from tests.engine.tiny import config

    torch.manual_seed(1)
    module = tf.AutoModelForCausalLM.from_config(config(family)).float()
    vocabulary = Vocabulary(tuple(bytes([97 + i % 26]) for i in range(40)), ends=frozenset({39}))
    row = ForwardRow(None, (1, 2, 3, 4), (1, 3))
    before = (
        HuggingFaceModel(copy.deepcopy(module), ModelTexts(vocabulary, list))
        .forward([row])[0]
        .log_probs
    )
    fast = model_of(module, ModelTexts(vocabulary, list), "float32")
    assert isinstance(fast, HuggingFaceModel)
    assert np.abs(np.exp(before) - np.exp(fast.forward([row])[0].log_probs)).max() <= 1e-5


@pytest.mark.parametrize(
    "name", ["llama", "llama with one key for all", "llama with a key for each"]
)
@pytest.mark.parametrize("masked", [False, True])
def test_one_query_a_row_attends_alike_in_either_precision(name, masked):
    """bfloat16 goes by torch's own grouped queries on a CPU, float32 by a group's queries as a
    sequence."""
    decoder = both(name)[1].decoder
    H, K, W = decoder.heads, decoder.kv_heads, decoder.width
    torch.manual_seed(2)
    q, keys, values = (
        torch.randn(shape).bfloat16() for shape in ((5, H, W), (5, K, 7, W), (5, K, 7, W))
    )
    q *= 4.0  # some keys matter more than others
    mask = torch.zeros(5, 1, 1, 7, dtype=torch.bfloat16)
    mask[2:, :, :, 4:] = -torch.inf
    found = [
        attend_apart(
            q.to(dtype), keys.to(dtype), values.to(dtype),
            Queries(None, (QueryBlock(0, 1, 7, mask.to(dtype) if masked else None),), None, None),
        ).float()
        for dtype in (torch.float32, torch.bfloat16)
    ]  # fmt: skip
    assert (found[0] - found[1]).abs().max() <= 0.03
    # A planted bug: heads in another order would share the wrong keys.
    assert (
        H == K
        or K == 1
        or (found[0] - found[1].view(5, H, W).flip(1).view(5, -1)).abs().max() > 0.3
    )

"""A model is held to the library's uncached rows when it is loaded: a wrong way is not taken, or
the model refused."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
import torch
import transformers as tf

from fkdsl.api.engines import Engines
from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import checked, loading
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.linear import DTYPES
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.uncached import UncachedModel
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.tiny import FAMILIES, V, config

VOCABULARY = Vocabulary(tuple(bytes([97 + i % 26]) for i in range(V)), ends=frozenset({V - 1}))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Planted(tf.GPT2LMHeadModel):
    """A family whose forward does something else with its cache."""

    def prepared(self, cache, given):
        return cache, given

    def forward(self, input_ids=None, use_cache=None, **given):
        name = next((n for n in ("cache", "past_key_values") if n in given), "cache")
        cache, given = self.prepared(given.pop(name, None), given)
        return super().forward(
            input_ids=input_ids,
            use_cache=use_cache,
            **({} if cache is None else {name: cache}),
            **given,
        )


class Swallows(Planted):
    def prepared(self, cache, given):
        return None, {k: v for k, v in given.items() if k not in ("attention_mask", "position_ids")}


class Forgets(Planted):
    def prepared(self, cache, given):
        if cache is not None and cache.get_seq_length():
            for layer in cache.layers:
                layer.values.zero_()
        return cache, given


class Shifts(Planted):
    """Positions are off by one where a cache is given."""

    def prepared(self, cache, given):
        if cache is not None and cache.get_seq_length():
            given["position_ids"] = given["position_ids"] + 1
        return cache, given


class SeesPadding(Planted):
    def prepared(self, cache, given):
        if "attention_mask" in given:
            given["attention_mask"] = torch.ones_like(given["attention_mask"])
        return cache, given


class Raises(Planted):
    def prepared(self, cache, given):
        if cache is not None:
            raise IndexError("tuple index out of range")
        return cache, given


class NoCache(Planted):
    def forward(self, input_ids=None, use_cache=None, **given):
        return super().forward(input_ids=input_ids, use_cache=False)


class Random(Planted):
    """Not the same answer twice, whatever way."""

    def forward(self, input_ids=None, use_cache=None, **given):
        output = super().forward(input_ids=input_ids, use_cache=use_cache, **given)
        output.logits = output.logits + 3.0 * torch.randn_like(output.logits)
        return output


def module_of(kind=None, family="gpt2"):
    torch.manual_seed(7)
    module = kind(config(family)) if kind else tf.AutoModelForCausalLM.from_config(config(family))
    with torch.no_grad():
        for p in module.float().parameters():
            if p.ndim == 2:
                p.mul_(8.0)
    return module.eval()


def load(module, precision="float32", longest=128):
    texts = ModelTexts(
        VOCABULARY,
        lambda text: [ord(c) - 97 for c in text],
        name="planted",
        bos=0,
        max_length=longest,
    )
    return loading.checked_model(copy.deepcopy(module), texts, precision, "float32")


def rows_of(model, text):
    engine = CachedTransformer(model)
    contexts = [engine.extend(engine.root, text[:k]) for k in range(1, len(text) + 1)]
    return [engine.log_probs([c])[0] for c in contexts]


@pytest.mark.parametrize("kind", [Swallows, Forgets, Shifts, SeesPadding, Raises, NoCache])
def test_a_family_whose_cache_is_wrong_reads_whole_texts_instead(kind):
    module, plain = module_of(kind), module_of()
    model = load(module)
    assert isinstance(model, UncachedModel)
    assert "whole text" in model.describe()["cache"]
    text = (3, 9, 4, 1, 30, 7)
    for k, row in enumerate(rows_of(model, text)):
        with torch.inference_mode():
            expected = torch.softmax(plain(torch.tensor([text[: k + 1]])).logits[0, -1], -1).numpy()
        assert np.abs(np.exp(row) - expected).max() <= 1e-4
    assert isinstance(load(module), UncachedModel)


def test_a_run_without_the_cache_says_so(tmp_path):
    engines = Engines({}, tmp_path, override=load(module_of(Swallows)))
    _ = engines[""]
    assert (
        "planted was run without its cache, which gives other probabilities" in engines.notes()[0]
    )


def test_a_context_that_is_too_short_to_check_the_cache_by_is_no_reason_to_doubt_it(tmp_path):
    model = load(module_of(), longest=3)
    assert isinstance(model, UncachedModel)
    assert "too few to check a cache by" in model.describe()["cache"]
    engines = Engines({}, tmp_path, override=model)
    _ = engines[""]
    (note,) = engines.notes()
    assert "planted was run without its cache, since it reads at most 3 tokens" in note
    assert "other probabilities" not in note
    assert isinstance(load(module_of(), longest=4), HuggingFaceModel)


def test_without_the_check_a_cache_that_forgets_gives_wrong_rows():
    """So that the tests above would fail without it."""
    texts = ModelTexts(VOCABULARY, list, name="planted", bos=0, max_length=128)
    rows = rows_of(HuggingFaceModel(module_of(Forgets), texts), (3, 9, 4, 1))
    with torch.inference_mode():
        expected = torch.softmax(
            module_of()(torch.tensor([[3, 9, 4, 1]])).logits[0, -1], -1
        ).numpy()
    assert np.abs(np.exp(rows[-1]) - expected).max() > 0.05


def test_a_family_without_a_right_way_is_refused_with_versions_that_work():
    with pytest.raises(
        CallError, match=r"the family gpt2[\s\S]*transformers 5\.\d+ to 5\.\d+"
    ) as caught:
        load(module_of(Random))
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("family", [*FAMILIES, "mistral", "qwen3", "jamba"])
def test_families_as_the_library_has_them_keep_their_cache(family):
    model = load(module_of(family=family))
    assert not isinstance(model, UncachedModel)
    assert isinstance(model, DecoderModel) == (family in ("llama", "qwen3"))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_rounding_is_no_reason_to_refuse_a_cache(precision):
    module = module_of()
    texts = ModelTexts(VOCABULARY, list, name="planted", bos=0, max_length=128)
    module = module.to(DTYPES[precision])
    assert isinstance(loading.checked_model(module, texts, precision, precision), HuggingFaceModel)


def test_the_check_is_made_once_and_remembered(monkeypatch, folder):
    calls = []
    own = checked.cache_error
    monkeypatch.setattr(loading, "cache_error", lambda *args: calls.append(args) or own(*args))
    module = module_of()
    load(module), load(module)
    assert len(calls) == 1
    load(module, precision=None)
    assert len(calls) == 2
    monkeypatch.setattr(loading, "version", lambda name: "9.9")
    load(module)
    assert len(calls) == 3
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # as on another machine: other kernels
    load(module)
    assert len(calls) == 4
    assert all(oct(p.stat().st_mode)[-3:] == "600" for p in (folder / "checks").iterdir())


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"key": {}, "found": "cached"}', "[" * 100_000])
def test_a_damaged_memory_means_another_check(folder, text):
    load(module_of(Swallows))
    (file,) = (folder / "checks").iterdir()
    file.write_text(text)
    assert isinstance(load(module_of(Swallows)), UncachedModel)


def test_a_folder_that_cannot_be_written_costs_only_the_memory(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "file" / "below"))
    assert isinstance(load(module_of(Swallows)), UncachedModel)


@pytest.mark.parametrize("longest", [1, 3, 4, 5, 8])
def test_short_contexts_are_checked_as_far_as_they_go(longest):
    model = load(module_of(Swallows), longest=longest)
    assert isinstance(model, UncachedModel)


def test_weights_that_are_not_numbers_are_named():
    module = module_of()
    with torch.no_grad():
        module.transformer.h[1].mlp.c_fc.weight[3, 5] = float("nan")
    with pytest.raises(CallError, match=r"gives NaN.*transformer\.h\.1\.mlp\.c_fc\.weight"):
        load(module)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba"])
def test_a_model_that_gives_nan_says_so_though_its_family_was_checked(family):
    module = module_of(family=family)
    load(module)
    with torch.no_grad():
        module.get_output_embeddings().weight[2, 0] = float("nan")
    with pytest.raises(CallError, match="gives NaN"):
        rows_of(load(module), (3, 4))


def test_the_check_of_a_small_model_takes_milliseconds():
    module = module_of()
    load(module)
    start = time.process_time()
    law = checked.reference_rows(module, 128)
    texts = ModelTexts(VOCABULARY, list, name="planted", bos=0, max_length=128)
    assert checked.cache_error(HuggingFaceModel(module, texts), law, "float32") == ""
    assert time.process_time() - start <= 0.5

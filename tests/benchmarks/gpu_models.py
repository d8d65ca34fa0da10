"""Llamas of random weights for gpu.py, as transformers' module and our decoder; its program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

import fkdsl
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.decoder_weights import DecoderShape
from fkdsl.models.device.decode_step import DecodeStep
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vocabulary import Vocabulary

PROGRAM = """\
model "smollm2"

program p(text: str, n: int) -> str:
    lm = prompt(text)
    while lm.tokens < n:
        t ~ lm
        condition t != EOS and all(letters(w) <= 9 for w in words(lm.text))
    return lm.text
"""


@dataclass(frozen=True)
class Size:
    """The shape of a Llama. tied: whether the embedding is its head too."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool

    @property
    def slot_bytes(self) -> int:
        """Bytes of a token's keys and values in bfloat16."""
        return 2 * self.kv_heads * self.head * self.layers * 2

    def config(self) -> Any:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head,
            tie_word_embeddings=self.tied,
            max_position_embeddings=8192,
            eos_token_id=self.vocabulary - 1,
        )


SIZES = {
    "small": Size(64, 128, 2, 4, 2, 16, 1000, True),
    "135M": Size(576, 1536, 30, 9, 3, 64, 49_152, True),
    "1B": Size(2048, 8192, 16, 32, 8, 64, 128_256, True),
    "8B": Size(4096, 14_336, 32, 32, 8, 128, 128_256, False),
}


def vocabulary_of(size: int) -> Vocabulary:
    """256 bytes, then words of one to twelve letters, then the end."""
    words = [b" " + b"abcdefghijkl"[: 1 + i % 12] for i in range(size - 257)]
    return Vocabulary((*(bytes([b]) for b in range(256)), *words, b""), ends=frozenset({size - 1}))


def random_module(size: Size, device: str, dtype: torch.dtype) -> Any:
    """transformers' module with random weights, made on the device."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            module = LlamaForCausalLM(size.config())
    finally:
        torch.set_default_dtype(before)
    return module.eval()


def texts_of(size: Size) -> ModelTexts:
    return ModelTexts(
        vocabulary_of(size.vocabulary), lambda text: list(text.encode()), bos=0, max_length=8192
    )


def model_of(module: Any, size: Size, precision: str) -> DecoderModel:
    """Our decoder over a module's weights, which decodes by the same steps on every device."""
    rotary = module.model.rotary_emb
    shape = DecoderShape.of(module.config, rotary.inv_freq, float(rotary.attention_scaling))
    model = DecoderModel(Decoder(shape, module.state_dict(), precision), texts_of(size))
    model.step = model.step or DecodeStep(model.decoder)
    return model


def steered(model: Any, particles: int, tokens: int, prompt: str, seed: int = 1) -> Any:
    return fkdsl.parse(PROGRAM)(text=prompt, n=tokens).run(
        "smc", model=model, particles=particles, seed=seed, lookahead="none"
    )

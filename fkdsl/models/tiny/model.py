"""`tiny`, and any model that `fkdsl train` made, as a LanguageModel: trunk and first head, run by
fkdsl.models.decoder.

`ByteModel.with_heads` gives the same weights as a model that runs the other heads too
(fkdsl.models.tiny.heads).

A token is a byte, so the model can read and write every text; END ends a text and stands before a
prompt. Loading reads one file of a few megabytes and imports nothing but torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.decoder_weights import DecoderShape
from fkdsl.models.digest import digest_of
from fkdsl.models.linear import DTYPES, verify_precision
from fkdsl.models.tiny.files import read_model_file
from fkdsl.models.tiny.header import made_facts
from fkdsl.models.tiny.heads import TinyDraftModel
from fkdsl.models.tiny.links import Links, filled_links
from fkdsl.models.tiny.transformer import END, TinyShape, weight_shapes
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vocabulary import Vocabulary

TINY_VOCABULARY = Vocabulary((*(bytes([b]) for b in range(256)), b""), ends=frozenset({END}))
"""The 256 bytes by their values, and END."""


class ByteModel(DecoderModel):
    """The model of a file. It runs the first head alone, and keeps the weights of the others and
    their links for `with_heads`."""

    def __init__(
        self,
        decoder: Decoder,
        texts: ModelTexts,
        shape: TinyShape,
        weights: Mapping[str, Tensor],
        links: Links,
    ) -> None:
        super().__init__(decoder, texts)
        self._shape, self._links = shape, links
        self._heads = {name: t for name, t in weights.items() if name.startswith("heads.")}

    def with_heads(self) -> TinyDraftModel:
        """See HasHeads."""
        if self._shape.ahead < 2:
            raise CallError(
                f"{self.name} has one head, of the next byte: there is none to draft with",
                "train a model with --ahead 4, or take the drafts from another source",
            )
        return self._draft_model

    @cached_property
    def _draft_model(self) -> TinyDraftModel:
        return TinyDraftModel(self.decoder, self._shape, self._heads, self._links, self._texts)


def load_bytes(
    file: Path, *, dtype: str = "float32", device: str = "cpu", name: str = ""
) -> ByteModel:
    """The model of a file that `fkdsl train` wrote. Raises CallError for a file that is damaged or
    not of the shape that it names, and for a dtype or device that cannot be used."""
    verify_precision(dtype, device)
    facts, shape, tensors = read_model_file(file)
    weights = on_device({n: tensors[n] for n in weight_shapes(shape)}, dtype, device)
    texts = byte_texts(
        name or file.name,
        shape.context,
        {
            "family": "bytes",
            "parameters": sum(t.numel() for t in weights.values()),
            "dtype": dtype,
            "device": device,
            "digest": digest_of(weights),  # without the links, on which no row or cache depends
            **made_facts(facts),
        },
    )
    decoder = Decoder(decoder_shape(shape, device), weights, dtype)
    return ByteModel(decoder, texts, shape, weights, filled_links(shape, tensors))


def on_device(weights: Mapping[str, Tensor], dtype: str, device: str) -> dict[str, Tensor]:
    """The weights in a precision on a device. Raises CallError if the device cannot be used."""
    try:
        return {name: tensor.to(device, DTYPES[dtype]) for name, tensor in weights.items()}
    except (RuntimeError, AssertionError) as error:
        raise CallError(
            f"the device `{device}` cannot be used: {error}", "run with --device cpu"
        ) from None


def byte_texts(name: str, context: int, facts: dict[str, Any]) -> ModelTexts:
    """The texts of a byte-level model. context: most symbols of a text."""
    return ModelTexts(
        TINY_VOCABULARY,
        lambda text: list(text.encode("utf-8", "surrogatepass")),
        name,
        bos=END,
        prefix=(END,),
        max_length=context,
        facts=facts,
    )


def decoder_shape(shape: TinyShape, device: str = "cpu") -> DecoderShape:
    """The decoder's shape of trunk and first head."""
    return DecoderShape(
        layers=shape.layers,
        heads=shape.heads,
        kv_heads=shape.heads,
        width=shape.head_width,
        eps=shape.eps,
        frequencies=shape.frequencies().to(device),
        scaling=1.0,
    )

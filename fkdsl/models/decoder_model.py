"""A decoder of the Llama family as a LanguageModel, from a transformers module or straight from
files.

Reading the files directly needs neither transformers nor a module, which halves the time to a first
token. fkdsl does so for folders that it has written itself (the cache of `smollm2`), whose form is
known; a test compares the tokens and the rows of both ways.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from fkdsl.base.errors import InternalError
from fkdsl.base.files import read_text
from fkdsl.models.chat import templated
from fkdsl.models.compat.huge_pages import LongUsed
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_weights import DecoderShape, WeightsFile, has_decoder_form
from fkdsl.models.digest import digest_of
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.linear import NARROW
from fkdsl.models.packed_file import PackedFile, packed_path
from fkdsl.models.plain_text import PlainText
from fkdsl.models.reference import MOST_FILE_BYTES
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, forward_results
from fkdsl.models.tokenizer import vocabulary_of

if TYPE_CHECKING:
    from fkdsl.models.device.decode_step import DecodeStep


class DecoderModel(TokenizedModel):
    """A LanguageModel over a Decoder."""

    def __init__(self, decoder: Decoder, texts: ModelTexts) -> None:
        super().__init__(texts)
        self.decoder = decoder
        self.cost = decoder.cost
        self.step = step_of(decoder)
        self._memory = LongUsed(decoder.weights_at) if decoder.device.type == "cpu" else None

    @property
    def pool(self) -> KVPool:
        return self.decoder.pool

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """One batch; rows may differ in their numbers of new tokens."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        if self._memory is not None:
            self._memory.forward()
        with torch.inference_mode():
            if self.step is not None and self.step.fits(rows):
                logits, segments = self.step.forward(rows)
                is_own = self.step.graphs is None  # else they lie where the next step's will
            else:
                logits, segments = self.decoder.forward(rows)
                is_own = True
            return forward_results(logits, rows, segments, overwrite=is_own)


def step_of(decoder: Decoder) -> DecodeStep | None:
    """What decodes on a device other than the processor; None on the processor, whose own way needs
    no padding, and for kinds of decoders that do more between their layers."""
    if decoder.device.type == "cpu" or type(decoder) is not Decoder:
        return None
    from fkdsl.models.device.decode_step import DecodeStep

    return DecodeStep(decoder)


def decoder_from_files(
    folder: Path, precision: str, dtype: torch.dtype, name: str, device: str = "cpu"
) -> DecoderModel | None:
    """The model of a folder that fkdsl has written, on a device; None if this function cannot read
    its form."""
    config = SimpleNamespace(**_json(folder / "config.json"))
    rotary = getattr(config, "rope_parameters", None) or {}
    weights_file = folder / "model.safetensors"
    if not (
        has_decoder_form(config) and rotary.get("rope_type") == "default" and weights_file.exists()
    ):
        return None
    from fkdsl.models.stored_weights import StoredWeights

    weights = StoredWeights(weights_file)
    shape = DecoderShape.of(config, default_frequencies(config).to(device), 1.0)
    digest = digest_of(weights, dtype)
    # Maps of other forms than oneDNN's are not kept.
    keeps = device == "cpu" and precision not in NARROW
    packed = PackedFile(packed_path(name, dtype), digest, dtype) if keeps else None
    decoder = Decoder(shape, weights, precision, WeightsFile(dtype, device, packed))
    if packed is not None:
        packed.save()
    facts = {
        "family": config.model_type,
        "parameters": sum(t.numel() for t in weights.values()),
        "dtype": precision,
        "device": device,
        "digest": digest,
    }
    size = weights["model.embed_tokens.weight"].shape[0]
    return DecoderModel(decoder, _texts(folder, config, size, name, facts))


def _texts(folder: Path, config: Any, size: int, name: str, facts: dict[str, Any]) -> ModelTexts:
    """The ModelTexts of a folder's tokenizer, without transformers. size: of the vocabulary."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = _json(folder / "tokenizer_config.json")
    ends = {
        i
        for source in (_json(folder / "generation_config.json"), vars(config))
        for i in _ids(source)
    }
    if (eos := backend.token_to_id(str(settings.get("eos_token")))) is not None:
        ends.add(eos)
    plain, framed = (backend.encode("a", add_special_tokens=flag).ids for flag in (False, True))
    bos = backend.token_to_id(str(settings.get("bos_token")))
    longest = getattr(config, "max_position_embeddings", None)
    vocabulary = vocabulary_of(_Tokenizer(backend, settings), size, ends)
    encode = PlainText(backend, vocabulary, name)
    return ModelTexts(
        vocabulary,
        encode,
        name,
        begin=encode.start,
        bos=bos if bos is not None else next(iter(sorted(ends)), None),
        prefix=framed[: len(framed) - len(plain)] if framed[-len(plain) :] == plain else [],
        chat=_chat(folder, name, encode),
        max_length=longest if isinstance(longest, int) and longest > 0 else None,
        facts=facts,
    )


def default_frequencies(config: Any) -> torch.Tensor:
    """(width of a head / 2,) radians a position, of the rotary kind `default`."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    powers = torch.arange(0, width, 2, dtype=torch.float) / width
    frequencies: torch.Tensor = 1.0 / config.rope_parameters["rope_theta"] ** powers
    return frequencies


class _Tokenizer:
    """The part of a transformers tokenizer that `vocabulary_of` uses, from its backend alone."""

    def __init__(self, backend: Any, settings: dict[str, Any]) -> None:
        self.backend_tokenizer = backend
        self.added_tokens_decoder = backend.get_added_tokens_decoder()
        named = [
            backend.token_to_id(v)
            for k, v in settings.items()
            if k.endswith("_token") and isinstance(v, str)
        ]
        self.all_special_ids = [i for i in named if i is not None]

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab()
        return vocabulary


def _chat(folder: Path, name: str, encode: PlainText) -> Any:
    """(user, system) -> ids of a chat. transformers is imported when a program first chats."""

    @cache
    def tokenizer() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )

    return lambda user, system: templated(tokenizer(), name, user, system, encode)


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(read_text(path, MOST_FILE_BYTES)) if path.exists() else {}
    return value


def _ids(source: dict[str, Any]) -> list[int]:
    value = source.get("eos_token_id")
    return [] if value is None else value if isinstance(value, list) else [int(value)]

"""Causal language models of transformers as LanguageModels: any family of AutoModelForCausalLM.

Attention families are batched with pasts padded on the left and new tokens on the right; caches of other kinds
(recurrent, hybrid) are batched by equal lengths. Weights are safetensors or gguf only, and no remote code runs.

Decoders of the Llama family go by fkdsl.models.decoder instead; what is here is its reference.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicIndexedLayer, DynamicLayer, LinearAttentionCacheLayerMixin

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.decoder import Decoder, fits
from fkdsl.models.interface import Answer, ForwardRow, Rows
from fkdsl.models.kv_batch import Layout, assemble, layout_of, store
from fkdsl.models.kv_pool import KVPool, table_of
from fkdsl.models.linear import pack_modules, packs_int8
from fkdsl.models.state_batch import StateSegment, restore, snapshot
from fkdsl.models.tokenizer import vocabulary_of
from fkdsl.models.vocabulary import Vocabulary

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64,
          "int8": torch.float32}  # fmt: skip
"""Precisions, and the dtype that weights are loaded in for each."""


class HuggingFaceModel:
    """A LanguageModel over a transformers module.

    encode: text to ids that continue another text. start_ids: what stands before a prompt (BOS), or where the prompt
    is empty; a model that has neither cannot begin from nothing. fast: whether weights are packed, and families that
    have a decoder here go by it; the module is changed by it, or no longer needed. precision: a key of DTYPES.
    """

    allows_empty = False

    def __init__(
        self,
        module: Any,
        vocabulary: Vocabulary,
        encode: Callable[[str], Sequence[int]],
        name: str = "model",
        *,
        bos: int | None = None,
        prefix: Sequence[int] = (),
        chat: Callable[[str, str], Sequence[int]] | None = None,
        max_length: int | None = None,
        facts: dict[str, Any] | None = None,
        fast: bool = False,
        precision: str = "float32",
    ) -> None:
        self.module, self.vocabulary, self.name = module.eval(), vocabulary, name
        self._encode, self._chat = encode, chat
        self._prefix = tuple(prefix)
        self._bos = bos
        self.max_length = max_length
        self._facts = facts or {}
        parameters = inspect.signature(module.forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in parameters else "cache_params"
        self._keeps = "logits_to_keep" in parameters
        self._positions = "position_ids" in parameters
        self._layout: Layout | None = None
        self._pool: KVPool | None = None
        self.device = module.device
        self._decoder = Decoder(module, precision) if fast and fits(module.config) else None
        if fast and self._decoder is None:
            pack_modules(module, precision)
        self.plain_attention = all(_is_attention(layer) for layer in DynamicCache(config=module.config).layers)

    # ---------------------------------------------------------------- loading

    @classmethod
    def load(
        cls,
        path_or_id: str,
        *,
        gguf_file: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        local_files_only: bool = False,
        name: str | None = None,
        origin: Mapping[str, Any] | None = None,
        fast: bool = True,
    ) -> HuggingFaceModel:
        """The model of a folder or a hub id. `origin` is told by `describe`. fast: False for the library's own module.

        Raises CallError for a dtype or device that cannot be used, and for weights that lack some of its tensors.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        if dtype not in DTYPES:
            raise CallError(f"there is no precision `{dtype}`", f"one of {', '.join(DTYPES)}")
        if dtype == "int8" and not (fast and device == "cpu" and packs_int8()):
            raise CallError("this machine has no 8-bit linear maps for the device", "use --dtype bfloat16 or float32")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        common: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
        if gguf_file is not None:
            common["gguf_file"] = gguf_file
        else:
            common["use_safetensors"] = True
        module, report = AutoModelForCausalLM.from_pretrained(
            path_or_id, dtype=DTYPES[dtype], output_loading_info=True, **common
        )
        if missing := sorted(report["missing_keys"]):
            # The library would fill them with random numbers and say so only in a warning.
            raise CallError(
                f"the weights lack {len(missing)} of the model's tensors, such as {missing[0]}",
                "the configuration and the weights are of different models, or the weights are of no language model",
            )
        common.pop("use_safetensors", None)
        tokenizer = AutoTokenizer.from_pretrained(path_or_id, **common)
        try:
            module = module.to(device)
        except (RuntimeError, AssertionError) as error:
            raise CallError(f"the device `{device}` cannot be used: {error}", "run with --device cpu") from None
        model = cls.of(module, tokenizer, name or Path(path_or_id).name, dtype=dtype, fast=fast)
        model._facts.update(origin or {})
        if model._decoder is not None:
            module.to("meta")  # its weights are packed: they need not be held twice
        return model

    @classmethod
    def of(cls, module: Any, tokenizer: Any, name: str, dtype: str = "float32", fast: bool = False) -> HuggingFaceModel:
        """A module with its tokenizer."""
        size = module.get_output_embeddings().weight.shape[0]
        config = module.config.get_text_config(decoder=True)
        ends = _ids(getattr(module.generation_config, "eos_token_id", None)) | _ids(config.eos_token_id)
        if tokenizer.eos_token_id is not None:
            ends.add(tokenizer.eos_token_id)
        plain, framed = (tokenizer("a", add_special_tokens=flag)["input_ids"] for flag in (False, True))
        prefix = framed[: len(framed) - len(plain)] if framed[-len(plain) :] == plain else []

        def encode(text: str) -> Sequence[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        def chat(user: str, system: str) -> Sequence[int]:
            if not tokenizer.chat_template:
                raise CallError(f"{name} has no chat template", "use prompt(...) with the model's own format")
            turns = [{"role": "system", "content": system}] if system else []
            turns.append({"role": "user", "content": user})
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return encode(text)

        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else next(iter(sorted(ends)), None)
        facts = {
            "family": config.model_type,
            "parameters": sum(p.numel() for p in module.parameters()),
            "dtype": dtype,
            "device": str(module.device),
        }
        longest = getattr(config, "max_position_embeddings", None)
        return cls(
            module,
            vocabulary_of(tokenizer, size, ends),
            encode,
            name,
            bos=first,
            prefix=prefix,
            chat=chat,
            max_length=longest if isinstance(longest, int) and longest > 0 else None,
            facts=facts,
            fast=fast,
            precision=dtype,
        )

    # --------------------------------------------------------------- protocol

    def start(self, text: str) -> tuple[int, ...]:
        ids = (*self._prefix, *self._encode(text))
        if not ids and self._bos is None:
            raise CallError(f"{self.name} cannot begin from an empty prompt", "give the prompt some text")
        return ids or (self._bos or 0,)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._encode(text)) if text else ()

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        if self._chat is None:
            raise CallError(f"{self.name} has no chat template", "use prompt(...)")
        return tuple(self._chat(user, system))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "vocabulary": self.vocabulary.size, "context": self.max_length, **self._facts}

    def forward(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        """One batch of attention rows, or one for each pair of lengths of other caches."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        with torch.inference_mode():
            if self._decoder is not None:
                return self._decoded(self._decoder, rows)
            return self._attention(rows) if self.plain_attention else self._recurrent(rows)

    # ----------------------------------------------------------------- forward

    def _decoded(self, decoder: Decoder, rows: Sequence[ForwardRow]) -> list[Answer]:
        logits, segments = decoder.forward(rows)
        return [Answer(p, s) for p, s in zip(_normalised(logits, rows), segments, strict=True)]

    def _attention(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        cache, longest = assemble([row.past for row in rows], self._layout, self._pool)
        lengths = [len(row.tokens) for row in rows]
        pasts = [len(table_of(row.past)) for row in rows]
        B, L = len(rows), max(lengths)
        ids = np.zeros((B, L), dtype=np.int64)
        mask = np.zeros((B, longest + L), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row.tokens
            mask[i, longest - pasts[i] : longest + L] = 1
        # Padding on the right is attended by itself alone: the causal mask keeps it from every token before it.
        positions = np.minimum(np.array(pasts)[:, None] + np.arange(L), (self.max_length or 1 << 30) - 1)
        given: dict[str, Any] = {"attention_mask": self._tensor(mask), self._cache_name: cache}
        if self._positions:
            given["position_ids"] = self._tensor(positions)
        log_probs = self._run(ids, rows, given)
        if self._layout is None or self._pool is None:
            self._layout = layout_of(cache.layers)
            self._pool = KVPool(self._layout.shapes, cache.layers[0].keys.dtype, self.device)
        segments = store(cache.layers, self._layout, self._pool, [row.past for row in rows], longest, lengths)
        return [Answer(p, s) for p, s in zip(log_probs, segments, strict=True)]

    def _recurrent(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            groups[(_total(row), len(row.tokens))].append(i)
        answers: dict[int, Answer] = {}
        for (seen, length), members in groups.items():
            batch = [rows[i] for i in members]
            config = self.module.config
            cache = restore(config, [_state(row) for row in batch]) if seen else DynamicCache(config=config)
            # Mamba's full-sequence form starts from a zero state: what continues a state goes token by token.
            ends = range(1, length + 1) if seen else [length]
            found: list[list[Rows]] = [[] for _ in batch]
            for begin, end in zip([0, *ends], ends, strict=False):
                part = [_part(row, begin, end) for row in batch]
                given: dict[str, Any] = {self._cache_name: cache}
                if self._positions:
                    places = np.arange(seen + begin, seen + end)
                    given["position_ids"] = self._tensor(np.tile(places, (len(batch), 1)))
                for rows_found, log_probs in zip(
                    found, self._run(np.array([p.tokens for p in part]), part, given), strict=True
                ):
                    rows_found.append(log_probs)
            for k, i in enumerate(members):
                rows_of: Any = np.concatenate(found[k])
                answers[i] = Answer(rows_of, snapshot(cache, k, len(batch), length, seen + length))
        return [answers[i] for i in range(len(rows))]

    def _run(self, ids: Any, rows: Sequence[ForwardRow], given: dict[str, Any]) -> list[Rows]:
        """log-probabilities (wanted, V) of each row; the head computes only positions that some row wants."""
        keep = sorted({w for row in rows for w in row.wanted})
        if self._keeps:
            given["logits_to_keep"] = self._tensor(np.array(keep or [0]))
        logits = self.module(input_ids=self._tensor(ids), use_cache=True, **given).logits
        if not self._keeps:
            logits = logits[:, keep]
        at = {w: k for k, w in enumerate(keep)}
        flat = [(i, at[w]) for i, row in enumerate(rows) for w in row.wanted]
        if not flat:
            return [np.zeros((0, self.vocabulary.size), dtype=np.float32) for _ in rows]
        index = torch.tensor(flat, device=logits.device)
        return _normalised(logits[index[:, 0], index[:, 1]], rows)

    def _tensor(self, array: Any) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)


def _normalised(logits: torch.Tensor, rows: Sequence[ForwardRow]) -> list[Rows]:
    """(wanted, V) log-probabilities of each row, of the logits of all wanted positions in order."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    chosen = torch.log_softmax(logits.to(wide), dim=-1).cpu().numpy()
    ends = np.cumsum([len(row.wanted) for row in rows])
    return [chosen[end - len(row.wanted) : end] for end, row in zip(ends, rows, strict=True)]


def _is_attention(layer: Any) -> bool:
    return isinstance(layer, DynamicLayer) and not isinstance(
        layer, LinearAttentionCacheLayerMixin | DynamicIndexedLayer
    )


def _ids(value: Any) -> set[int]:
    return set() if value is None else set(value) if isinstance(value, list | tuple) else {int(value)}


def _state(row: ForwardRow) -> StateSegment:
    assert row.past is not None
    segment = row.past.segment
    assert isinstance(segment, StateSegment)
    return segment


def _part(row: ForwardRow, begin: int, end: int) -> ForwardRow:
    """Tokens [begin, end) of a row, and what is wanted of them."""
    return ForwardRow(None, row.tokens[begin:end], tuple(w - begin for w in row.wanted if begin <= w < end))


def _total(row: ForwardRow) -> int:
    return _state(row).total if row.past is not None else 0

"""Causal language models of transformers as LanguageModels: any family of AutoModelForCausalLM.

Rows of attention families go into one batch, with pasts padded on the left and new tokens on the
right. Rows of families with caches of other kinds (recurrent, hybrid) are batched with rows of the
same lengths. Weights are safetensors or gguf only, and no remote code runs.

Decoders of the Llama family are run by fkdsl.models.decoder_model instead; this module is the
reference in its tests.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import InternalError
from fkdsl.models.compat.caches import cache_name, empty_cache, keeps_keys_and_values
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows, Past
from fkdsl.models.kv_batch import CacheLayout, assemble, layout_of, store
from fkdsl.models.kv_pool import KVPool, table_of
from fkdsl.models.linear import pack_modules
from fkdsl.models.state_batch import StateSegment, restore, snapshot
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, row_log_probs


class HuggingFaceModel(TokenizedModel):
    """A LanguageModel over a transformers module of any family. precision: the key of linear.DTYPES
    for which its linear maps are packed, in place; None leaves the module unchanged."""

    def __init__(self, module: Any, texts: ModelTexts, precision: str | None = None) -> None:
        super().__init__(texts)
        self.module = module.eval()
        parameters = inspect.signature(module.forward).parameters
        self._keeps = "logits_to_keep" in parameters
        self._positions = "position_ids" in parameters
        self._layout: CacheLayout | None = None
        self._pool: KVPool | None = None
        self.device = module.device
        self.precision = precision
        if precision is not None:
            pack_modules(module, precision)
        self._cache_name = cache_name(module, **self.beside_tokens([], 1))
        self.plain_attention = keeps_keys_and_values(module.config)

    @property
    def pool(self) -> KVPool | None:
        return self._pool

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch, or, of caches that are not plain attention, one for each
        pair of lengths of past and new tokens."""
        return [result for result, _ in self.read(rows)]

    def read(
        self, rows: Sequence[ForwardRow], hidden: bool = False
    ) -> list[tuple[ForwardResult, torch.Tensor | None]]:
        """The results of `forward`, each with the row's last hidden states, (len(tokens), width),
        or None if not `hidden`."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        with torch.inference_mode():
            return (
                self._attention(rows, hidden)
                if self.plain_attention
                else self._recurrent(rows, hidden)
            )

    # What follows is for families of whose contexts more is known than their tokens
    # (fkdsl.models.vision).

    other_layers: Collection[int] = ()
    """The numbers of layers whose keys and values are not of the tokens."""

    def beside_tokens(self, rows: Sequence[ForwardRow], length: int) -> dict[str, Any]:
        """What the module takes beside tokens, padded to a length; no rows: one row of padding."""
        return {}

    def first_positions(self, pasts: Sequence[Past | None]) -> list[int]:
        """The position of the first token after each past."""
        return [len(table_of(past)) for past in pasts]

    def fill_other_layers(self, cache: Any, rows: Sequence[ForwardRow]) -> None:
        """Puts the keys and values of `other_layers` into a cache of the rows' pasts."""

    # ----------------------------------------------------------------- forward

    def _attention(
        self, rows: Sequence[ForwardRow], hidden: bool
    ) -> list[tuple[ForwardResult, torch.Tensor | None]]:
        cache, longest = assemble([row.past for row in rows], self._layout, self._pool)
        self.fill_other_layers(cache, rows)
        lengths = [len(row.tokens) for row in rows]
        pasts = [len(table_of(row.past)) for row in rows]
        B, L = len(rows), max(lengths)
        ids = np.zeros((B, L), dtype=np.int64)
        mask = np.zeros((B, longest + L), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row.tokens
            mask[i, longest - pasts[i] : longest + L] = 1
        # The causal mask hides the padding on the right from every token before it.
        first = np.array(self.first_positions([row.past for row in rows]))
        positions = np.minimum(first[:, None] + np.arange(L), (self.max_length or 1 << 30) - 1)
        given: dict[str, Any] = {"attention_mask": self._tensor(mask), self._cache_name: cache}
        given.update(self.beside_tokens(rows, L))
        if self._positions:
            given["position_ids"] = self._tensor(positions)
        log_probs, states = self._run(ids, rows, given, hidden)
        layout, pool = self._kept_in(cache)
        segments = store(cache.layers, layout, pool, [row.past for row in rows], longest, lengths)
        return [
            (ForwardResult(p, s), None if states is None else states[i, : lengths[i]])
            for i, (p, s) in enumerate(zip(log_probs, segments, strict=True))
        ]

    def _kept_in(self, cache: Any) -> tuple[CacheLayout, KVPool]:
        """The layout and the pool of the module's keys and values, made after the first forward,
        from its cache."""
        if self._layout is None or self._pool is None:
            self._layout = layout_of(cache.layers, self.other_layers)
            self._pool = KVPool(self._layout.shapes, cache.layers[0].keys.dtype, self.device)
        return self._layout, self._pool

    def _recurrent(
        self, rows: Sequence[ForwardRow], hidden: bool
    ) -> list[tuple[ForwardResult, torch.Tensor | None]]:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            groups[(_total(row), len(row.tokens))].append(i)
        results: dict[int, tuple[ForwardResult, torch.Tensor | None]] = {}
        for (seen, length), members in groups.items():
            batch = [rows[i] for i in members]
            config = self.module.config
            cache = restore(config, [_state(row) for row in batch]) if seen else empty_cache(config)
            # Mamba's form for whole sequences starts from a zero state, so tokens after a cached
            # state are read one by one.
            ends = range(1, length + 1) if seen else [length]
            rows_read: list[list[LogProbRows]] = [[] for _ in batch]
            states_read: list[torch.Tensor] = []
            for begin, end in zip([0, *ends], ends, strict=False):
                part = [_part(row, begin, end) for row in batch]
                given: dict[str, Any] = {self._cache_name: cache}
                if self._positions:
                    places = np.arange(seen + begin, seen + end)
                    given["position_ids"] = self._tensor(np.tile(places, (len(batch), 1)))
                log_probs, states = self._run(
                    np.array([p.tokens for p in part]), part, given, hidden
                )
                for parts, read in zip(rows_read, log_probs, strict=True):
                    parts.append(read)
                if states is not None:
                    states_read.append(states)
            whole = torch.cat(states_read, dim=1) if states_read else None  # (B, length, width)
            for k, i in enumerate(members):
                p: Any = np.concatenate(rows_read[k])
                segment = snapshot(cache, k, len(batch), length, seen + length)
                results[i] = ForwardResult(p, segment), None if whole is None else whole[k]
        return [results[i] for i in range(len(rows))]

    def _run(
        self, ids: Any, rows: Sequence[ForwardRow], given: dict[str, Any], hidden: bool
    ) -> tuple[list[LogProbRows], torch.Tensor | None]:
        """((wanted, V) log-probabilities of each row; the last hidden states (B, L, width), after
        the final norm, or None if not `hidden`). The head runs only at positions that some row
        wants."""
        keep = sorted({w for row in rows for w in row.wanted})
        if self._keeps:
            given["logits_to_keep"] = self._tensor(np.array(keep or [0]))
        if hidden:
            given["output_hidden_states"] = -1
        output = self.module(input_ids=self._tensor(ids), use_cache=True, **given)
        logits, states = output.logits, output.hidden_states[-1] if hidden else None
        if not self._keeps:
            logits = logits[:, keep]
        at = {w: k for k, w in enumerate(keep)}
        flat = [(i, at[w]) for i, row in enumerate(rows) for w in row.wanted]
        if not flat:
            return [np.zeros((0, self.vocabulary.size), dtype=np.float32) for _ in rows], states
        index = torch.tensor(flat, device=logits.device)
        return row_log_probs(logits[index[:, 0], index[:, 1]], rows), states

    def _tensor(self, array: Any) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)


def _state(row: ForwardRow) -> StateSegment:
    assert row.past is not None
    segment = row.past.segment
    assert isinstance(segment, StateSegment)
    return segment


def _part(row: ForwardRow, begin: int, end: int) -> ForwardRow:
    """Tokens [begin, end) of a row, with the wanted indices among them."""
    return ForwardRow(
        None, row.tokens[begin:end], tuple(w - begin for w in row.wanted if begin <= w < end)
    )


def _total(row: ForwardRow) -> int:
    return _state(row).total if row.past is not None else 0

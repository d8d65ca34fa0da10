"""Encoder-decoders of transformers as LanguageModels: T5, BART and any family of
AutoModelForSeq2SeqLM whose decoder keeps keys and values.

A context is its source, then the decoder's tokens: `(source, start, t, ...)`. The encoder runs once
for a source, and with it the keys and values of the decoder's attention to it, which all contexts
with the source share (sources.py). What the decoder keeps of its own tokens is in the pool, as for
other models. The token after the source alone is the decoder's start, with probability 1.
"""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import InternalError
from fkdsl.models.attachments import Attachment
from fkdsl.models.compat.caches import attention_cache, cache_name, encoder_decoder_cache, kept_by
from fkdsl.models.encoder_decoder.reading import ReadsSource
from fkdsl.models.encoder_decoder.sources import (
    EncodedSource,
    EncodedSources,
    SourcedSegment,
    inner_past,
    joined,
)
from fkdsl.models.encoder_decoder.texts import SourceTexts, relative_positions
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows
from fkdsl.models.kv_batch import CacheLayout, assemble, layout_of, store
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of
from fkdsl.models.linear import pack_modules
from fkdsl.models.tokenized import ModelTexts, row_log_probs

FEW_ROWS = 4
"""Rows of one source that are worth a batch of their own, which copies no keys and values of it."""
UNPACKED = ("wo",)
"""Linear maps whose weight the library looks at in each forward (T5), which would unpack it."""


class EncoderDecoderModel(ReadsSource):
    """A LanguageModel that takes a source, over a module of transformers. precision: the key of
    linear.DTYPES for which its linear maps are packed, in place; None leaves the module
    unchanged."""

    def __init__(
        self, module: Any, texts: ModelTexts, sources: SourceTexts, precision: str | None = None
    ) -> None:
        super().__init__(texts, sources)
        self.module, self.device = module.eval(), module.device
        self.sources = EncodedSources()
        parameters = inspect.signature(module.forward).parameters
        self._positions = "decoder_position_ids" in parameters
        # Without positions to give, a decoder counts them from the cache's length. That is right
        # for rows of different lengths where it only uses their differences.
        self._pads = self._positions or relative_positions(module.config)
        self._layout: CacheLayout | None = None
        self._pool: KVPool | None = None
        self._cache_name = cache_name(module, decoder_input_ids=self._tensor([[0]]))
        if precision is not None:
            pack_modules(module, precision, leave=UNPACKED)

    @property
    def pool(self) -> KVPool | None:
        return self._pool

    # ---------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch for all rows; for decoders that count positions from the
        cache's length, one for each length of the past."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        self.verify_rows(rows)
        with torch.inference_mode():
            sources = [self._source(row) for row in rows]
            decoded: dict[int, tuple[LogProbRows, KVSegment]] = {}
            for members in self._batches(rows, sources):
                answers = self._decode(
                    [_decoders_own(rows[i]) for i in members], [sources[i] for i in members]
                )
                decoded.update(zip(members, answers, strict=True))
        return [
            self._result(row, source, decoded.get(i))
            for i, (row, source) in enumerate(zip(rows, sources, strict=True))
        ]

    def _result(
        self,
        row: ForwardRow,
        source: EncodedSource,
        decoded: tuple[LogProbRows, KVSegment] | None,
    ) -> ForwardResult:
        begins = row.past is None
        log_probs = decoded[0] if decoded is not None else self.no_rows()
        if begins and 0 in row.wanted:
            log_probs = np.concatenate((self.start_row(log_probs.dtype), log_probs))
        segment = SourcedSegment(source, decoded[1] if decoded is not None else None, begins)
        return ForwardResult(log_probs, segment)

    def _batches(
        self, rows: Sequence[ForwardRow], sources: Sequence[EncodedSource]
    ) -> list[list[int]]:
        """The indices of the rows of each batch; rows with the source alone are in none."""
        groups: dict[Any, list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            if len(row.tokens) > (row.past is None):
                groups[0 if self._pads else len(table_of(inner_past(row.past)))].append(i)
        batches: list[list[int]] = []
        for members in groups.values():
            by_source: dict[int, list[int]] = defaultdict(list)
            for i in members:
                by_source[id(sources[i])].append(i)
            if len(members) >= FEW_ROWS * len(by_source):
                batches += by_source.values()
            else:
                batches.append(members)
        return batches

    def _source(self, row: ForwardRow) -> EncodedSource:
        """The source of a row's context."""
        if row.past is not None:
            assert isinstance(row.past.segment, SourcedSegment)
            return row.past.segment.source
        attachment = self.check_source(row.tokens)
        return self.sources.get(attachment) or self._encode(attachment)

    def _encode(self, attachment: Attachment) -> EncodedSource:
        """Runs the encoder over a source, and the decoder over its start, for the keys and values
        of the attention between them."""
        began = time.perf_counter()
        ids = self._tensor([self.source_texts.ids(attachment, self.name)])
        cache = encoder_decoder_cache(attention_cache(), attention_cache())
        start = self._tensor([[self.source_texts.begin[0]]])
        self.module(
            input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=start,
            decoder_attention_mask=torch.ones_like(start), use_cache=True,
            **{self._cache_name: cache},
        )  # fmt: skip
        layers = [kept_by(layer) for layer in cache.cross_attention_cache.layers]
        whole = [pair for pair in layers if pair is not None]
        if not layers or len(whole) < len(layers):
            raise InternalError("a decoder keeps no keys and values of its source")
        if self._layout is None or self._pool is None:
            own = cache.self_attention_cache.layers
            self._layout = layout_of(own)
            self._pool = KVPool(self._layout.shapes, own[0].keys.dtype, self.device)
        source = EncodedSource(attachment, whole)
        self.sources.put(source)
        self.encoder_work.add(1, source.length, time.perf_counter() - began)
        return source

    def _decode(
        self, rows: Sequence[ForwardRow], sources: Sequence[EncodedSource]
    ) -> list[tuple[LogProbRows, KVSegment]]:
        """(log-probabilities (wanted, V), segment) of each row, whose past and tokens are the
        decoder's own."""
        assert self._layout is not None
        assert self._pool is not None
        pasts = [row.past for row in rows]
        own, longest = assemble(pasts, self._layout, self._pool)
        lengths = [len(row.tokens) for row in rows]
        before = [len(table_of(past)) for past in pasts]
        B, L = len(rows), max(lengths)
        ids = np.zeros((B, L), dtype=np.int64)
        mask = np.zeros((B, longest + L), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row.tokens
            # The causal mask hides the padding on the right from every token before it.
            mask[i, longest - before[i] :] = 1
        layers, source_mask = joined(sources)
        given: dict[str, Any] = {
            self._cache_name: encoder_decoder_cache(own, attention_cache(layers))
        }
        if self._positions:
            given["decoder_position_ids"] = self._tensor(
                np.array(before)[:, None] + np.arange(L)[None, :]
            )
        logits = self.module(
            encoder_outputs=self._encoder_outputs(B, source_mask.shape[1]),
            attention_mask=source_mask, decoder_input_ids=self._tensor(ids),
            decoder_attention_mask=self._tensor(mask), use_cache=True, **given,
        ).logits  # fmt: skip
        at = [(i, w) for i, row in enumerate(rows) for w in row.wanted]
        index = self._tensor(np.array(at, dtype=np.int64).reshape(-1, 2))
        log_probs = (
            row_log_probs(logits[index[:, 0], index[:, 1]], rows) if at else [self.no_rows()] * B
        )
        segments = store(own.layers, self._layout, self._pool, pasts, longest, lengths)
        return list(zip(log_probs, segments, strict=True))

    def _encoder_outputs(self, B: int, length: int) -> Any:
        """What stands for the encoder's states where their keys and values are given: its shape
        alone is looked at."""
        from transformers.modeling_outputs import BaseModelOutput

        width = self.module.get_encoder().config.hidden_size
        states = torch.zeros((1, 1, 1), dtype=self.module.dtype, device=self.device)
        return BaseModelOutput(last_hidden_state=states.expand(B, length, width))

    def _tensor(self, array: Any) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)


def _decoders_own(row: ForwardRow) -> ForwardRow:
    """The row without its source."""
    begins = row.past is None
    return ForwardRow(
        inner_past(row.past),
        row.tokens[begins:],
        tuple(w - begins for w in row.wanted if w >= begins),
    )

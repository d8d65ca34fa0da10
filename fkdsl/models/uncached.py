"""A module of transformers that is run without a cache: every forward reads the whole text. That is
correct for every family in which no position depends on those to its right, and slow for long
texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import InternalError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, row_log_probs


@dataclass(frozen=True)
class TextSegment:
    """A segment without a cache. ids: of a run of tokens and of all tokens before it; length: of
    the run."""

    ids: tuple[int, ...]
    length: int
    sliceable: bool = True
    standalone: bool = True

    @property
    def nbytes(self) -> int:
        return 8 * len(self.ids)


def whole_text(row: ForwardRow) -> tuple[int, ...]:
    """The ids of a row's whole context: its past and its new tokens."""
    if row.past is None:
        return row.tokens
    segment = row.past.segment
    assert isinstance(segment, TextSegment)
    return (*segment.ids[: len(segment.ids) - segment.length + row.past.stop], *row.tokens)


class UncachedModel(TokenizedModel):
    """A LanguageModel over a module of transformers, run without its cache. reason: why, for the
    note and for `describe`."""

    def __init__(self, module: Any, texts: ModelTexts, reason: str) -> None:
        super().__init__(texts)
        self.module = module.eval()
        texts.facts["cache"] = f"none, {reason}: every forward reads the whole text"
        self.note = (
            f"{self.name} was run without its cache, {reason}: every forward read the whole text"
        )

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """One batch for each length of text, so that nothing is padded."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        texts = [whole_text(row) for row in rows]
        lengths: dict[int, list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            if row.wanted:
                lengths[len(texts[i])].append(i)
        log_probs: list[LogProbRows] = [
            np.zeros((0, self.vocabulary.size), dtype=np.float32) for _ in rows
        ]
        for length, members in lengths.items():
            batch = [rows[i] for i in members]
            at = [
                (k, length - len(row.tokens) + w) for k, row in enumerate(batch) for w in row.wanted
            ]
            with torch.inference_mode():
                index = torch.tensor(at, device=self.module.device)
                ids = torch.tensor([texts[i] for i in members], device=self.module.device)
                logits = self.module(input_ids=ids, use_cache=False).logits
                for i, p in zip(
                    members, row_log_probs(logits[index[:, 0], index[:, 1]], batch), strict=True
                ):
                    log_probs[i] = p
        return [
            ForwardResult(p, TextSegment(t, len(row.tokens)))
            for p, t, row in zip(log_probs, texts, rows, strict=True)
        ]

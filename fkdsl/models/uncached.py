"""A module of transformers whose cache cannot be used: each question reads the whole text, as the
library does without a cache. Right for every family whose rows depend on nothing to their right,
and slow where texts are long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import InternalError
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, row_log_probs


@dataclass(frozen=True)
class TextSegment:
    """The ids of a run of tokens, and of all before them. length: of the run."""

    ids: tuple[int, ...]
    length: int
    sliceable: bool = True
    standalone: bool = True

    @property
    def nbytes(self) -> int:
        return 8 * len(self.ids)


def whole_text(row: ForwardRow) -> tuple[int, ...]:
    """The ids of a row's past, all of it, and its new tokens."""
    if row.past is None:
        return row.tokens
    segment = row.past.segment
    assert isinstance(segment, TextSegment)
    return (*segment.ids[: len(segment.ids) - segment.length + row.past.stop], *row.tokens)


class UncachedModel(TokenizedModel):
    """A LanguageModel over a module of transformers, by its forward without a cache."""

    def __init__(self, module: Any, texts: ModelTexts) -> None:
        super().__init__(texts)
        self.module = module.eval()
        self.note = (
            f"{self.name} was run without its cache, which does not give the same probabilities here: every question "
            "read the whole text"
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
        found: list[LogProbRows] = [
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
                for i, log_probs in zip(
                    members, row_log_probs(logits[index[:, 0], index[:, 1]], batch), strict=True
                ):
                    found[i] = log_probs
        return [
            ForwardResult(p, TextSegment(t, len(row.tokens)))
            for p, t, row in zip(found, texts, rows, strict=True)
        ]

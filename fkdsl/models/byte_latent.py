"""Byte-latent transformers (BLT) of transformers as LanguageModels.

Patches are made by fkdsl.models.patching of the entropies of the model's own patcher, not by the
module: with a bound on the length of patches it forgets that the next byte begins one, so that the
last row of a text differs from the same row of a longer text (transformers 5.23). Its cache is not
usable either: it makes patches of new bytes as if none stood before them. So a context's cache is
its bytes, and each question reads the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import InternalError
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.patching import GlobalThreshold, Rule, patch_starts
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, row_log_probs
from fkdsl.models.uncached import TextSegment, whole_text


class ByteLatentModel(TokenizedModel):
    """A LanguageModel over a BltForCausalLM. rule: where patches begin; by default the threshold of
    its configuration, or, for a model without a patcher, at every byte."""

    def __init__(self, module: Any, texts: ModelTexts, rule: Rule | None = None) -> None:
        super().__init__(texts)
        self.module = module.eval()
        config = module.config
        self.patcher = module.model.patcher if config.patching_mode == "entropy" else None
        self.rule = rule or GlobalThreshold(config.patching_threshold)
        self.longest: int | None = config.max_patch_length

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch, shorter texts padded on the right: nothing looks to its
        right."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        whole = [whole_text(row) for row in rows]
        segments = [TextSegment(ids, len(row.tokens)) for ids, row in zip(whole, rows, strict=True)]
        places = [
            (k, len(ids) - len(row.tokens) + w)
            for k, (ids, row) in enumerate(zip(whole, rows, strict=True))
            for w in row.wanted
        ]
        if not places:
            return [
                ForwardResult(np.zeros((0, self.vocabulary.size), np.float32), segment)
                for segment in segments
            ]
        with torch.inference_mode():
            index = torch.tensor(places, device=self.module.device)
            log_probs = row_log_probs(self._logits(whole)[index[:, 0], index[:, 1]], rows)
        return [ForwardResult(p, segment) for p, segment in zip(log_probs, segments, strict=True)]

    def _logits(self, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """(B, L, V) of texts of at most L ids."""
        L = max(map(len, texts))
        ids = torch.zeros((len(texts), L), dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        ids = ids.to(self.module.device)
        lengths = self._patch_lengths(ids, [len(text) for text in texts])
        logits: torch.Tensor = self.module(
            input_ids=ids, patch_lengths=lengths, use_cache=False
        ).logits
        return logits

    def _patch_lengths(self, ids: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        """(B, patches). The module reads of them only where each patch but the first begins: those
        that stand for none begin behind every text, and the last one's length is not looked at."""
        if self.patcher is None:
            starts = [list(range(size + 1)) for size in sizes]
        else:
            entropies = self.patcher(ids)[0].double().cpu().numpy()
            starts = [
                patch_starts(row[:size], self.rule, self.longest)
                for row, size in zip(entropies, sizes, strict=True)
            ]
        most = max(map(len, starts))
        padded = [[*row, *[ids.shape[1] + 1] * (most + 1 - len(row))] for row in starts]
        return torch.tensor(padded, device=ids.device).diff(dim=1)

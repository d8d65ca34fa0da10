"""Byte-latent transformers (BLT) of the library transformers as LanguageModels.

fkdsl.models.patching divides a text into patches, by the entropies of the model's own patcher. The
library's module is not used for that: with a bound on the length of patches it forgets that the
next byte begins one, so that the last row of a text differs from the same row of a longer text
(transformers 5.23). Nor is its cache used: it divides new bytes as if no others stood before them.
So a segment holds the bytes of its context, and every forward reads the whole text.
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
    """A LanguageModel over a BltForCausalLM. rule: where patches begin, by default the threshold of
    the configuration. In a model without a patcher every byte is a patch."""

    def __init__(self, module: Any, texts: ModelTexts, rule: Rule | None = None) -> None:
        super().__init__(texts)
        self.module = module.eval()
        config = module.config
        self.patcher = module.model.patcher if config.patching_mode == "entropy" else None
        self.rule = rule or GlobalThreshold(config.patching_threshold)
        self.longest: int | None = config.max_patch_length

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch, with shorter texts padded on the right, since no position
        depends on those to its right."""
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
        """(B, patches) the length of each patch. The module uses the lengths only for where each
        patch but the first begins. So padding patches begin behind every text, and the length of
        the last patch does not matter."""
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

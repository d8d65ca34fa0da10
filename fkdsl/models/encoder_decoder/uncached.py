"""An encoder-decoder that is run without a cache: every forward reads the source and the whole
text."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from fkdsl.base.errors import InternalError
from fkdsl.models.attachments import Attachment
from fkdsl.models.encoder_decoder.check import whole_logits
from fkdsl.models.encoder_decoder.reading import ReadsSource
from fkdsl.models.encoder_decoder.texts import SourceTexts
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.tokenized import ModelTexts, row_log_probs
from fkdsl.models.uncached import TextSegment, whole_text


class UncachedEncoderDecoder(ReadsSource):
    """A LanguageModel that takes a source, over a module of transformers without its cache. reason:
    why, for the note and for `describe`."""

    def __init__(self, module: Any, texts: ModelTexts, sources: SourceTexts, reason: str) -> None:
        super().__init__(texts, sources)
        self.module = module.eval()
        texts.facts["cache"] = f"none, {reason}: every forward reads the whole text"
        self.note = (
            f"{self.name} was run without its cache, {reason}: every forward read the whole text"
        )

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """One batch for each source and length of text, so that nothing is padded."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        self.verify_rows(rows)
        texts = [whole_text(row) for row in rows]
        groups: dict[tuple[Attachment, int], list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            source = self.check_source(texts[i])
            if row.wanted and len(texts[i]) > 1:
                groups[source, len(texts[i])].append(i)
        log_probs = {i: self.no_rows() for i in range(len(rows))}
        for (source, length), members in groups.items():
            began, ids = time.perf_counter(), self.source_texts.ids(source, self.name)
            logits = whole_logits(self.module, ids, [texts[i][1:] for i in members])
            self.encoder_work.add(1, len(ids), time.perf_counter() - began)
            for k, i in enumerate(members):
                # Position p of the decoder's text is token p + 1 of the context.
                first = length - len(rows[i].tokens)
                at = [first + w - 1 for w in rows[i].wanted if first + w > 0]
                own = ForwardRow(None, (), tuple(range(len(at))))
                (log_probs[i],) = row_log_probs(logits[k, at], [own])
        results = []
        for i, row in enumerate(rows):
            p = log_probs[i]
            if row.past is None and 0 in row.wanted:
                p = np.concatenate((self.start_row(p.dtype), p))
            results.append(ForwardResult(p, TextSegment(texts[i], len(row.tokens))))
        return results

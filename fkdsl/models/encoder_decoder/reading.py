"""What a model that reads a source is without its forward: the ids of its contexts, the row after a
source alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment, EncoderWork, Kind, Part
from fkdsl.models.encoder_decoder.texts import SourceTexts, is_source, split_parts
from fkdsl.models.interface import ForwardRow
from fkdsl.models.tokenized import ModelTexts, TokenizedModel


class ReadsSource(TokenizedModel):
    """A LanguageModel that TakesAttachments of sources, without its forward."""

    kinds: frozenset[Kind] = frozenset({"source"})

    def __init__(self, texts: ModelTexts, sources: SourceTexts) -> None:
        super().__init__(texts)
        self.source_texts, self.encoder_work = sources, EncoderWork()

    def start(self, text: str) -> tuple[int, ...]:
        raise CallError(
            f"{self.name} reads a source text, and is given none",
            'write `prompt("", source=...)`: what the answer begins with, and what it is about',
        )

    def start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        source, text = split_parts(parts, self.name)
        with self._panics():
            self.source_texts.ids(source, self.name)  # what it cannot read is told at once
            begin = self._texts.begin or self._texts.encode
            return (source, *self.source_texts.begin, *(begin(text) if text else ()))

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """The chat is the source, and the answer the decoder's text."""
        if self.source_texts.chat is None:
            raise CallError(
                f"{self.name} has no chat template", 'use prompt("", source=...) with what it reads'
            )
        return self.start_with((Attachment.prompt((user,), system, is_chat=True), ""))

    def chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        raise CallError(f"a chat of {self.name} is a text", "leave the source out")

    def verify_rows(self, rows: Sequence[ForwardRow]) -> None:
        """Raises CallError for a source in the midst of a context."""
        if any(i < 0 for row in rows for i in row.tokens[row.past is None :]):
            raise CallError(
                f"a source stands in the midst of a context of {self.name}", "begin with it"
            )

    def check_source(self, tokens: Sequence[int]) -> Attachment:
        """The source that a context of these tokens begins with. Raises CallError for none."""
        first = tokens[0]
        if not isinstance(first, Attachment) or not is_source(first):
            raise CallError(
                f"a context of {self.name} begins with its source", "make one with source=..."
            )
        return first

    def start_row(self, dtype: Any) -> NDArray[Any]:
        """(1, V) the row after a source alone: the decoder's start is certain."""
        row = np.full((1, self.vocabulary.size), -np.inf, dtype=dtype)
        row[0, self.source_texts.begin[0]] = 0.0
        return row

    def no_rows(self) -> NDArray[Any]:
        return np.zeros((0, self.vocabulary.size), dtype=np.float32)

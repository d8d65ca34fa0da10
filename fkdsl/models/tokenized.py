"""What every model with a tokenizer shares: prompts, texts and chats as ids, and facts about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import CallError
from fkdsl.models.cost import Cost
from fkdsl.models.interface import Answer, ForwardRow, Rows
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.vocabulary import Vocabulary


@dataclass
class Texts:
    """encode: text to ids that continue another text. prefix: what stands before a prompt; bos: what stands where the
    prompt is empty, None for a model that cannot begin from nothing. chat: a user's text and a system's to ids, None
    for a model without a template. max_length: tokens that a context may have. facts: what `describe` tells."""

    vocabulary: Vocabulary
    encode: Callable[[str], Sequence[int]]
    name: str = "model"
    bos: int | None = None
    prefix: Sequence[int] = ()
    chat: Callable[[str, str], Sequence[int]] | None = None
    max_length: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class TokenizedModel:
    """A LanguageModel but for its forward."""

    allows_empty = False
    cost: Cost | None = None
    """What its forwards take, where its shape is known."""

    @property
    def pool(self) -> KVPool | None:
        """Where its keys and values lie; None before the first forward shows it, or where it keeps others."""
        return None

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self.vocabulary, self.name, self.max_length = texts.vocabulary, texts.name, texts.max_length

    def start(self, text: str) -> tuple[int, ...]:
        ids = (*self._texts.prefix, *self._texts.encode(text))
        if not ids and self._texts.bos is None:
            raise CallError(f"{self.name} cannot begin from an empty prompt", "give the prompt some text")
        return ids or (self._texts.bos or 0,)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._texts.encode(text)) if text else ()

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        if self._texts.chat is None:
            raise CallError(f"{self.name} has no chat template", "use prompt(...)")
        return tuple(self._texts.chat(user, system))

    def forward(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        """See LanguageModel."""
        raise NotImplementedError

    def describe_also(self, facts: Mapping[str, Any]) -> None:
        """Further facts for `describe`."""
        self._texts.facts.update(facts)

    def describe(self) -> dict[str, Any]:
        facts = self._texts.facts
        return {"name": self.name, "vocabulary": self.vocabulary.size, "context": self.max_length, **facts}


def normalised(logits: torch.Tensor, rows: Sequence[ForwardRow]) -> list[Rows]:
    """(wanted, V) log-probabilities of each row, of the logits of all wanted positions in order."""
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    chosen = torch.log_softmax(logits.to(wide), dim=-1).cpu().numpy()
    ends = np.cumsum([len(row.wanted) for row in rows])
    return [chosen[end - len(row.wanted) : end] for end, row in zip(ends, rows, strict=True)]

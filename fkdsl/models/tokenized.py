"""The part of a LanguageModel that all models with a tokenizer share: ids of prompts, texts and
chats, facts, and log-probabilities from logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat.panics import panics_are_errors
from fkdsl.models.cost import Cost
from fkdsl.models.cpu_rows import Rows, log_softmax, masked_block_sums
from fkdsl.models.device.rows import rows_on_device, stays
from fkdsl.models.interface import CacheSegment, ForwardResult, ForwardRow, LogProbRows
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.vocabulary import Vocabulary

REMEMBERED = 4096
"""Characters of a text up to which its ids are remembered."""


@dataclass
class ModelTexts:
    """A model's vocabulary and tokenizer. encode: the ids of a text that continues another; begin:
    the ids of a prompt, None if `encode` gives them. prefix: ids before every prompt; bos: the id
    that stands for an empty prompt, None for a model that has none. chat: (user, system) -> ids,
    None for a model without a template. max_length: most tokens of a context. facts: for
    `describe`."""

    vocabulary: Vocabulary
    encode: Callable[[str], Sequence[int]]
    name: str = "model"
    begin: Callable[[str], Sequence[int]] | None = None
    bos: int | None = None
    prefix: Sequence[int] = ()
    chat: Callable[[str, str], Sequence[int]] | None = None
    max_length: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class TokenizedModel:
    """A LanguageModel without its forward."""

    allows_empty = False
    cost: Cost | None = None
    """The cost of its forwards, if the model's shape is known."""

    @property
    def pool(self) -> KVPool | None:
        """The pool of its keys and values; None before the first forward of a library's module, or
        if its cache is of another kind."""
        return None

    def __init__(self, texts: ModelTexts) -> None:
        self._texts = texts
        # Programs ask for the same texts again and again: for those of a judge's answers, and for
        # a prompt when its rows have come.
        self._ids_of_text = lru_cache(maxsize=1024)(lambda text: tuple(texts.encode(text)))
        self._ids_of_chat = lru_cache(maxsize=256)(
            lambda user, system: tuple(texts.chat(user, system)) if texts.chat is not None else ()
        )
        self.vocabulary, self.name, self.max_length = texts.vocabulary, texts.name, texts.max_length

    def start(self, text: str) -> tuple[int, ...]:
        with self._panics():
            ids = (*self._texts.prefix, *(self._texts.begin or self._texts.encode)(text))
        if not ids and self._texts.bos is None:
            raise CallError(
                f"{self.name} cannot begin from an empty prompt", "give the prompt some text"
            )
        return ids or (self._texts.bos or 0,)

    def encode(self, text: str) -> tuple[int, ...]:
        of_text = self._ids_of_text
        encode = of_text if len(text) <= REMEMBERED else of_text.__wrapped__
        with self._panics():
            return encode(text) if text else ()

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        if self._texts.chat is None:
            raise CallError(f"{self.name} has no chat template", "use prompt(...)")
        short = len(user) + len(system) <= REMEMBERED
        with self._panics():
            of_chat = self._ids_of_chat
            return (of_chat if short else of_chat.__wrapped__)(user, system)

    def _panics(self) -> AbstractContextManager[None]:
        return panics_are_errors(
            f"the tokenizer of {self.name} fails on a text", "its tokenizer.json is damaged"
        )

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel."""
        raise NotImplementedError

    def masked_block_sums(
        self, rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float64]]:
        """See SumsMaskedRows."""
        return masked_block_sums(rows, masks)

    def describe_also(self, facts: Mapping[str, Any]) -> None:
        """Adds facts to those of `describe`."""
        self._texts.facts.update(facts)

    def describe(self) -> dict[str, Any]:
        facts = self._texts.facts
        return {
            "name": self.name,
            "vocabulary": self.vocabulary.size,
            "context": self.max_length,
            **facts,
        }


def not_a_number(weights: Mapping[str, torch.Tensor] | None = None) -> CallError:
    """The error of a model whose next-token probabilities are NaN. It names the first tensor of the
    weights that is not finite, if there is one."""
    for name, tensor in (weights or {}).items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return CallError(
                f"the model gives NaN for the next token: its tensor {name} holds NaN or "
                "infinities",
                "fetch or convert the weights again; in float16 a value may have overflowed: load "
                "with --dtype float32",
            )
    return CallError(
        "the model gives NaN for the next token, so that it has no distribution",
        "its weights are damaged, or overflow in this precision: fetch them again, or load with "
        "--dtype float32",
    )


def row_log_probs(logits: torch.Tensor, rows: Sequence[ForwardRow]) -> list[LogProbRows]:
    """(wanted, V) log-probabilities (nats) of each row. logits: (n, V) of all wanted positions, row
    after row. Raises CallError for NaN."""
    if stays(logits.device):
        return _left_on_device(logits, rows)
    array, overwrite = _array(logits, overwrite=False)
    log_p, _ = log_softmax(array, not_a_number, overwrite)
    return split_by_row(log_p, rows)


def forward_results(
    logits: torch.Tensor,
    rows: Sequence[ForwardRow],
    segments: Sequence[CacheSegment],
    overwrite: bool = False,
) -> list[ForwardResult]:
    """The results of a batch, with sums over blocks. logits: (n, V) of all wanted positions, row
    after row; overwrite: whether log-probabilities may take their place. Raises CallError for NaN.

    Rows stay on any device but a CPU.
    """
    if stays(logits.device):
        left = _left_on_device(logits, rows)
        return [ForwardResult(p, s) for p, s in zip(left, segments, strict=True)]
    array, overwrite = _array(logits, overwrite)
    return results_of(array, rows, segments, overwrite)


def results_of(
    logits: Rows,
    rows: Sequence[ForwardRow],
    segments: Sequence[CacheSegment],
    overwrite: bool = False,
) -> list[ForwardResult]:
    """`forward_results` of logits in an array."""
    log_p, sums = log_softmax(logits, not_a_number, overwrite)
    if len(rows) == len(log_p) == 1:
        return [ForwardResult(log_p, segments[0], sums=sums)]
    log_probs, row_sums = split_by_row(log_p, rows), split_by_row(sums, rows)
    return [
        ForwardResult(p, s, sums=b) for p, s, b in zip(log_probs, segments, row_sums, strict=True)
    ]


def _array(logits: torch.Tensor, overwrite: bool) -> tuple[Rows, bool]:
    """Logits on a CPU as an array, in single precision unless they are in double, and whether it
    may be written to."""
    if logits.dtype in (torch.float32, torch.float64):
        return logits.numpy(), overwrite
    return logits.float().numpy(), True


def _left_on_device(logits: torch.Tensor, rows: Sequence[ForwardRow]) -> list[LogProbRows]:
    counts = [len(row.wanted) for row in rows]
    return cast(list[LogProbRows], rows_on_device(logits, not_a_number, counts))


def split_by_row(values: NDArray[Any], rows: Sequence[ForwardRow]) -> list[NDArray[Any]]:
    """The values of each row's wanted positions. values: (n, ...) of all of them, row after row."""
    ends = np.cumsum([len(row.wanted) for row in rows])
    return [values[end - len(row.wanted) : end] for end, row in zip(ends, rows, strict=True)]

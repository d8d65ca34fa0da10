"""The part of a LanguageModel that all models with a tokenizer share: ids of prompts, texts and
chats, facts, and log-probabilities from logits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.probability_blocks import BLOCK
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.remembered import shares
from fkdsl.models.compat.panics import panics_are_errors
from fkdsl.models.cost import Cost
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
    log_p, _ = _normalised(logits)
    return split_by_row(log_p.numpy(), rows)


def forward_results(
    logits: torch.Tensor, rows: Sequence[ForwardRow], segments: Sequence[CacheSegment]
) -> list[ForwardResult]:
    """The results of a batch, with sums over blocks. logits: (n, V) of all wanted positions, row
    after row. Raises CallError for NaN.

    Rows stay on any device but a CPU.
    """
    if stays(logits.device):
        left = _left_on_device(logits, rows)
        return [ForwardResult(p, s) for p, s in zip(left, segments, strict=True)]
    log_p, block_sums = _normalised(logits)
    log_probs = split_by_row(log_p.numpy(), rows)
    row_sums = split_by_row(block_sums.numpy().astype(np.float64), rows)
    return [
        ForwardResult(p, s, sums=b) for p, s, b in zip(log_probs, segments, row_sums, strict=True)
    ]


def _normalised(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, V) log-probabilities (nats) and (n, blocks) the sums over their blocks, of logits (n, V)
    on a CPU. Raises CallError for NaN.

    The sums over blocks also give the normaliser, so exp is computed once, and the rounding error
    is smaller than that of one sum over a long row, some 1e-5, which would add up over a text. A
    few positions are computed at a time, so that the values in between stay in the processor's
    caches.
    """
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    n, V = logits.shape
    whole = V // BLOCK * BLOCK
    log_p, sums = (torch.empty((n, k), dtype=wide) for k in (V, -(-V // BLOCK)))
    size = min(2 * torch.get_num_threads(), n)
    scratch = torch.empty((size, V), dtype=wide)
    for i in range(0, n, max(size, 1)):
        at, k = slice(i, i + size), min(size, n - i)
        x = log_p[at].copy_(logits[at])
        x -= x.amax(-1, keepdim=True)
        p = torch.exp(x, out=scratch[:k])
        torch.sum(p[:, :whole].view(k, V // BLOCK, BLOCK), dim=-1, out=sums[at, : V // BLOCK])
        if whole < V:
            sums[at, -1] = p[:, whole:].sum(-1)
        total = sums[at].sum(-1, keepdim=True)
        x -= total.log()
        sums[at] /= total
    if log_p[:, 0].isnan().any():  # one NaN or infinity makes the whole row NaN
        raise not_a_number()
    return log_p, sums


def _left_on_device(logits: torch.Tensor, rows: Sequence[ForwardRow]) -> list[LogProbRows]:
    counts = [len(row.wanted) for row in rows]
    return cast(list[LogProbRows], rows_on_device(logits, not_a_number, counts))


def masked_block_sums(
    rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.float64]]:
    """See SumsMaskedRows."""
    if not rows:
        return []
    V = len(rows[0])
    both = torch.from_numpy(np.zeros((2, -(-V // BLOCK), BLOCK), dtype=rows[0].dtype))
    (p_blocks, left_blocks), (p, left) = both.unbind(), both.view(2, -1)[:, :V].unbind()
    sums = torch.empty((len(rows), len(p_blocks)), dtype=p.dtype)
    of_each, factors = sums.unbind(), {id(mask): torch.from_numpy(shares(mask)) for mask in masks}
    # A row is exponentiated once, and one mask at a time stays in the caches.
    first = {id(row): id(mask) for row, mask in zip(rows, masks, strict=True)}
    order = sorted(range(len(rows)), key=lambda i: (first[id(rows[i])], id(rows[i]), id(masks[i])))
    exponentiated = None
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a row from a file cannot be written to, and is not
        for i, following in zip(order, (*order[1:], None), strict=True):
            if rows[i] is not exponentiated:
                exponentiated = rows[i]
                torch.exp(torch.from_numpy(rows[i]), out=p)
            if following is not None and rows[following] is rows[i]:  # p is needed once more
                torch.mul(p, factors[id(masks[i])], out=left)
                torch.sum(left_blocks, dim=1, out=of_each[i])
            else:
                p.mul_(factors[id(masks[i])])
                torch.sum(p_blocks, dim=1, out=of_each[i])
    return list(sums.numpy().astype(np.float64))


def split_by_row(values: NDArray[Any], rows: Sequence[ForwardRow]) -> list[NDArray[Any]]:
    """The values of each row's wanted positions. values: (n, ...) of all of them, row after row."""
    ends = np.cumsum([len(row.wanted) for row in rows])
    return [values[end - len(row.wanted) : end] for end, row in zip(ends, rows, strict=True)]

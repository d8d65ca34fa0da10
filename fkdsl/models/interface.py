"""What a language model must offer: a vocabulary, a tokenizer, and a forward over (cached prefix,
new tokens).

The engine decides what is computed, keeps what comes back, hands it in again, and by letting go of
it frees it. A model may keep the bytes where it likes (a pool), and `forward` never writes into
what it is given.

    row = ForwardRow(past=Past(segment, segment.length), tokens=(17, 4), wanted=(1,))
    answer, = model.forward([row])
    answer.log_probs.shape == (1, model.vocabulary.size)      # after token 4
    answer.segment.length == 2                                # cache of 17 and 4, to be handed in as the next past
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.vocabulary import Vocabulary

Rows = NDArray[np.float32] | NDArray[np.float64]


class Segment(Protocol):
    """The cache of a run of tokens, as one forward made it: keys and values, a recurrent state, or
    nothing at all.

    Never written after it is made. It stands for its tokens and all before them, and holds what it
    needs of those. `sliceable`: a past may end at any of its tokens (keys and values); if not, only
    at its last. `standalone`: it needs nothing of the segments before it (a recurrent state).
    """

    @property
    def length(self) -> int:
        """Tokens it holds."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory it holds."""
        ...

    @property
    def sliceable(self) -> bool: ...

    @property
    def standalone(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Past:
    """A cached context: up to and with token stop - 1 of a segment, and all that came before the
    segment."""

    segment: Segment
    stop: int


@dataclass(frozen=True, slots=True)
class ForwardRow:
    """One row of a batch: the cached prefix, None for none, and the tokens to compute after it.

    wanted: ascending indices into `tokens` after which the next-token distribution is asked for.
    """

    past: Past | None
    tokens: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """log_probs: (len(wanted), V), in nats, each row normalised, float32 (a table: float64); one
    row after no token if the row had none. segment: the cache of the row's tokens. ahead:
    (len(wanted),) what `LooksAhead.drafted` takes of each position, from a model that looks ahead.
    sums: (len(wanted), blocks) those of exp(log_probs) by blocks of fkdsl.base.blocks.BLOCK,
    float64, from a model that makes them for a whole batch."""

    log_probs: Rows
    segment: Segment
    ahead: Sequence[Any] | None = None
    sums: NDArray[np.float64] | None = None


class LanguageModel(Protocol):
    """A next-token distribution with a tokenizer.

    Laws (one test file holds every implementation to them):
    - `vocabulary.text(encode(s)) == s` for text that the tokenizer can round-trip.
    - Cached equals uncached: splitting a row's tokens into past and new changes log_probs only by rounding.
    - A row's answer does not depend on the other rows of the batch, up to rounding.
    - `forward` leaves every segment byte-identical.
    """

    @property
    def name(self) -> str:
        """How users call it."""
        ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def allows_empty(self) -> bool:
        """Whether a distribution after no token at all exists; if not, `start` never returns ()."""
        ...

    @property
    def max_length(self) -> int | None:
        """Most tokens a context may have, or None."""
        ...

    def start(self, text: str) -> tuple[int, ...]:
        """The token ids of a prompt, with whatever the model's tokenizer puts before a text
        (BOS)."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a text that continues another: nothing is put before or after it."""
        ...

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """The ids of a chat prompt by the model's own template, ready for the answer. CallError if
        it has none."""
        ...

    def forward(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        """One batched forward. Raises CallError when a row is longer than max_length or has an id
        out of range."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for `fkdsl models info`: family, parameters, dtype, vocabulary size, where it came
        from."""
        ...


@runtime_checkable
class Noted(Protocol):
    """A LanguageModel of which whoever reads a run's answer must know something."""

    note: str
    """A line that is printed beside the answer."""


@runtime_checkable
class Narrows(Protocol):
    """A LanguageModel that goes through many of its rows at once quicker than one by one."""

    def left(
        self, rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float64]]:
        """For each row (V,), in nats, and mask (V,): the sums of exp(row) by blocks, of what the
        mask leaves, as fkdsl.base.blocks.masked_sums gives them up to rounding."""
        ...


@runtime_checkable
class HasHeads(Protocol):
    """A LanguageModel whose weights have heads, or layers, for tokens beyond the next one (Gloeckle
    et al. 2024)."""

    def looking_ahead(self) -> LooksAhead:
        """The same weights as a model whose forward runs the heads too. CallError where this file
        has none."""
        ...


@runtime_checkable
class LooksAhead(LanguageModel, Protocol):
    """A LanguageModel whose answers carry `ahead`: what its heads make of every position whose row
    was wanted.

    Laws: its log_probs are those of the model without the heads, up to rounding. `drafted` depends
    on its arguments alone, row by row up to rounding.
    """

    @property
    def reach(self) -> int:
        """Most tokens beyond the next one of which the heads speak: n - 1."""
        ...

    def drafted(self, asked: Sequence[tuple[Any, tuple[int, ...]]]) -> list[NDArray[Any]]:
        """For each (`ahead` of a position, the 1 to `reach` tokens that follow the position) a
        draft's (V,) log-probabilities (nats) of the token after those."""
        ...

"""The interface of language models: a vocabulary, a tokenizer, and a forward over (cached prefix,
new tokens).

The engine decides what a forward computes. It keeps the segments that come back, hands them in
again as pasts, and frees a segment by dropping its reference. A model may keep a segment's bytes
where it likes, as in a pool; `forward` never writes into a segment that it is given.

    row = ForwardRow(past=Past(segment, segment.length), tokens=(17, 4), wanted=(1,))
    result, = model.forward([row])
    result.log_probs.shape == (1, model.vocabulary.size)      # the law of the token after 4
    result.segment.length == 2                # the cache of 17 and 4, for Past(result.segment, 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.attachments import EncoderWork, Kind, Part
from fkdsl.models.vocabulary import Vocabulary

LogProbRows = NDArray[np.float32] | NDArray[np.float64]


class CacheSegment(Protocol):
    """The cache that one forward made for a run of tokens: keys and values, a recurrent state, or
    nothing at all.

    It is never written after it is made, and keeps alive what it needs of the segments before it.
    `sliceable`: a past may end at any token of the run (keys and values), else only at the last.
    `standalone`: it needs nothing of the segments before it (a recurrent state).
    """

    @property
    def length(self) -> int:
        """Tokens of the run."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory, those of the segments before it not counted."""
        ...

    @property
    def sliceable(self) -> bool: ...

    @property
    def standalone(self) -> bool: ...


class Past(NamedTuple):
    """A cached context: everything before a segment, and the segment's tokens 0 to stop - 1."""

    segment: CacheSegment
    stop: int


class ForwardRow(NamedTuple):
    """One row of a batch: a cached context, None for the empty one, and the new tokens after it.

    wanted: ascending indices into `tokens`; the forward gives the next-token law after each.
    """

    past: Past | None
    tokens: tuple[int, ...]
    wanted: tuple[int, ...]


class ForwardResult(NamedTuple):
    """What a forward gives for one row.

    log_probs: (len(wanted), V), nats, each row normalised, float32 (a table: float64); for a row
    without tokens (1, V), the law of the first token. segment: the cache of the row's tokens.
    head_outputs: (len(wanted),) what `RunsHeads.draft_log_probs` takes for each wanted position;
    None from other models. sums: (len(wanted), blocks) float64, the sums of exp(log_probs) over
    blocks of fkdsl.base.probability_blocks.BLOCK tokens; None from models that do not compute them.
    """

    log_probs: LogProbRows
    segment: CacheSegment
    head_outputs: Sequence[Any] | None = None
    sums: NDArray[np.float64] | None = None


class LanguageModel(Protocol):
    """A next-token distribution with a tokenizer.

    Laws (one test file holds every implementation to them):
    - `vocabulary.text(encode(s)) == s` for text that the tokenizer can round-trip.
    - Cached equals uncached: log_probs do not depend on how a row's tokens are split into past and
      new ones, up to rounding.
    - A row's result does not depend on the other rows of the batch, up to rounding.
    - `forward` leaves every segment byte-identical.
    """

    @property
    def name(self) -> str:
        """The name by which users call it."""
        ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def allows_empty(self) -> bool:
        """Whether there is a law of the first token; if not, `start` never returns ()."""
        ...

    @property
    def max_length(self) -> int | None:
        """Most tokens a context may have, or None."""
        ...

    def start(self, text: str) -> tuple[int, ...]:
        """The token ids of a prompt, with what the model's tokenizer puts before a text (BOS)."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a text that continues another, with nothing before or after it."""
        ...

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """The ids of a chat prompt by the model's own template, up to where the answer begins.
        Raises CallError if the model has no template."""
        ...

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """One batched forward, a result for each row. Raises CallError for a row that is longer
        than max_length or has an id out of range."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for `fkdsl models info`: family, parameters, dtype, vocabulary size, where it came
        from."""
        ...


@runtime_checkable
class Noted(Protocol):
    """A LanguageModel with a note for the reader of a run's answer."""

    note: str
    """The line that is printed beside the answer."""


@runtime_checkable
class TakesAttachments(Protocol):
    """A LanguageModel whose contexts hold more than tokens (fkdsl.models.attachments). The ids of
    a context then have attachments among them, which `forward` finds in its rows' tokens; it raises
    CallError for a negative id without its content.

    One that reads a prompt as one, its last text too, has an attribute `whole` that is true.

    Laws: those of LanguageModel hold for contexts with attachments. The content of an attachment is
    encoded once for all contexts that hold it, for as long as the cache keeps what was made of it.
    """

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it takes."""
        ...

    def start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        """The ids of a prompt that is made of texts and attachments, with what the model's own
        processor puts before, between and after them. Raises CallError for attachments that it
        does not take, or not there."""
        ...

    def chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        """The ids of a chat prompt whose user's turn is made of texts and attachments, up to where
        the answer begins. Raises CallError if the model has no template."""
        ...


@runtime_checkable
class HasEncoder(Protocol):
    """A LanguageModel that encodes attachments apart from its tokens."""

    encoder_work: EncoderWork
    """The sums over all that its encoder has done."""


@runtime_checkable
class SumsMaskedRows(Protocol):
    """A LanguageModel that sums masked rows itself, many at once, since that is quicker."""

    def masked_block_sums(
        self, rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float64]]:
        """For each row (V,), in nats, and its mask (V,): the sums (blocks,) of exp(row) over the
        tokens of each block that the mask allows. Equal to
        fkdsl.base.probability_blocks.masked_sums, up to
        rounding."""
        ...


@runtime_checkable
class ExpectsContexts(Protocol):
    """A LanguageModel that makes room for contexts, and does so once if it knows for how many."""

    def expect(self, contexts: int) -> None:
        """From now on as many contexts may be asked about together. More are computed, too."""
        ...


@runtime_checkable
class HasHeads(Protocol):
    """A LanguageModel that may have heads, or layers, for tokens beyond the next one (Gloeckle et
    al. 2024)."""

    def with_heads(self) -> RunsHeads:
        """The same weights as a model whose forward runs the heads too. Raises CallError where the
        weights have none."""
        ...


@runtime_checkable
class RunsHeads(LanguageModel, Protocol):
    """A LanguageModel whose forward gives `head_outputs` for every wanted position.

    Laws: its log_probs are those of the model without the heads, up to rounding. Each row of
    `draft_log_probs` depends on its own pair of arguments alone, up to rounding.
    """

    @property
    def reach(self) -> int:
        """The number of tokens beyond the next one whose laws the heads give: n - 1 of n heads."""
        ...

    def draft_log_probs(self, drafts: Sequence[tuple[Any, tuple[int, ...]]]) -> list[NDArray[Any]]:
        """For each (the head_outputs of a position, 1 to `reach` tokens that follow the position)
        the (V,) log-probabilities (nats) that the draft gives the token after those."""
        ...

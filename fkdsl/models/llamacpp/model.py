"""A gguf file as a LanguageModel that llama.cpp computes.

The engine's segments are runs of tokens (sequences.py); their keys and values lie in llama.cpp's
sequences, of which there are at most MOST_SEQUENCES, and as many as MOST_BYTES hold. What these
cannot hold is computed again when it is asked for, so memory is bounded whatever the engine keeps.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import finalize

import torch

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.compat.huge_pages import LongUsed, Range
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.llamacpp.context import STEP, Context
from fkdsl.models.llamacpp.library import Library
from fkdsl.models.llamacpp.sequences import (
    Asked,
    Sequences,
    SequenceSegment,
    length_of,
    shared_missing,
)
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, results_of

MOST_SEQUENCES = 256
"""llama.cpp's own bound."""
MOST_BYTES = 2 << 30
"""Bytes of keys and values in all sequences, unless a single one takes more."""
SLACK = 1.25
"""There are so many times as many sequences as are needed when their number changes."""
AHEAD = 4
"""Room is made for all contexts that are expected where these are at most so many times as many as
there are now: particles may also share a few contexts, as those that say yes or no do."""
LONG, FIRST_SEQUENCES = 2, 16
"""A first context of more than so many steps of llama.cpp's gets room for so many sequences at
once: another number of them means that it is computed again."""


class LlamaCppModel(TokenizedModel):
    """The LanguageModel of a model that llama.cpp has loaded, which it owns. token_bytes: of a
    token's keys and values. sequences: how many there may be at most. weights_at: the addresses of
    what it has loaded."""

    def __init__(
        self,
        library: Library,
        pointer: int,
        texts: ModelTexts,
        token_bytes: int,
        sequences: int = MOST_SEQUENCES,
        weights_at: Sequence[Range] = (),
    ) -> None:
        super().__init__(texts)
        self._context = Context(library, pointer, self.vocabulary.size)
        # Callbacks run in the order in which objects go: the context's own before this one's.
        self._free = finalize(self, _free, library, self._context, pointer)
        self._token_bytes, self._most, self._expected = token_bytes, sequences, 1
        self._sequences = Sequences(0)
        self._memory = LongUsed(lambda: weights_at)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Frees the model's memory. It cannot be used afterwards."""
        self._free()

    @property
    def sequences(self) -> Sequences:
        """The books of its sequences."""
        return self._sequences

    @property
    def context(self) -> Context:
        return self._context

    def expect(self, contexts: int) -> None:
        """See ExpectsContexts."""
        self._expected = max(self._expected, contexts)

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch, or several where there are fewer sequences than rows."""
        if not self._free.alive:
            raise InternalError("this model has been closed")
        self._verify(rows)
        self._memory.forward()
        results: dict[int, ForwardResult] = {}
        threads = torch.get_num_threads()
        with self._lock:
            try:
                if (step := self._step(rows, threads)) is not None:
                    return step
                asked = self._fit(rows, threads)
                again = shared_missing(asked)
                for segment in again:
                    row = ForwardRow(segment.past, segment.tokens, ())
                    self._compute(self._sequences.look([row]), threads, segment)
                if not again and len(rows) <= len(self._sequences):
                    return self._compute(asked, threads)
                pending = self._sequences.order(rows)
                while pending:
                    wave, pending = self._take(pending)
                    asked = self._sequences.look([rows[i] for i in wave])
                    results.update(zip(wave, self._compute(asked, threads), strict=True))
            except BaseException:
                # What the sequences hold is not known any more.
                self._sequences.clear()
                for i in range(self._context.count):
                    self._context.cut(i, 0)
                raise
        return [results[i] for i in range(len(rows))]

    def _verify(self, rows: Sequence[ForwardRow]) -> None:
        V, longest = self.vocabulary.size, self.max_length
        for row in rows:
            if not row.tokens:
                raise InternalError("this model has no distribution after no token")
            if min(row.tokens) < 0 or max(row.tokens) >= V:
                raise CallError(f"{self.name} has tokens from 0 to {V - 1}", "give one of these")
            if longest is not None and length_of(row.past) + len(row.tokens) > longest:
                raise CallError(f"{self.name} reads at most {longest} tokens", "shorten the prompt")

    def _step(self, rows: Sequence[ForwardRow], threads: int) -> list[ForwardResult] | None:
        """The results of a decoding step in which each context goes on in the sequence that ends
        with it, and has room there; None where one does not."""
        books, context = self._sequences, self._context
        if not rows or (ends := books.ends_of(rows)) is None:
            return None
        segments = [SequenceSegment(row.past, row.tokens) for row in rows]
        if max([segment.before for segment in segments]) >= context.length:
            return None
        order = sorted(range(len(rows)), key=ends.__getitem__) if len(rows) > 1 else [0]
        books.tick()
        logits = context.decode(
            [(ends[i], segments[i].before, rows[i].tokens, rows[i].wanted) for i in order], threads
        )
        for end, segment in zip(ends, segments, strict=True):
            books.went_on(end, segment)
        in_order = results_of(logits, [rows[i] for i in order], [segments[i] for i in order])
        results = dict(zip(order, in_order, strict=True))
        return [results[i] for i in range(len(rows))]

    def _take(self, pending: list[int]) -> tuple[list[int], list[int]]:
        """(the rows of the next batch, those that are left). Where they do not all fit, the batch
        leaves alone what was asked about of late, up to three quarters of the sequences."""
        count = len(self._sequences)
        if len(pending) <= count:
            return pending, []
        size = max(count - self._sequences.recent(), -(-count // 4))
        return pending[:size], pending[size:]

    def _compute(
        self, asked: Asked, threads: int, again: SequenceSegment | None = None
    ) -> list[ForwardResult]:
        """The results of the rows that are asked about, no more than there are sequences. again:
        the segment of a single row that is computed once more, None for new ones."""
        plans = self._sequences.plan(asked)
        copies: dict[int, list[int]] = {}
        for plan in plans:
            if plan.copied_from is not None:
                copies.setdefault(plan.copied_from, []).append(plan.sequence)
                self._sequences.prepare(plan)
        for source, to in copies.items():
            self._context.copy(source, to)
        for plan in plans:
            if self._sequences.cut(plan):
                self._context.cut(plan.sequence, plan.kept)
        if len(plans) > 1:
            plans.sort(key=lambda plan: plan.sequence)
        runs = [(plan.sequence, plan.kept, plan.tokens, plan.wanted) for plan in plans]
        logits = self._context.decode(runs, threads)
        segments = []
        for plan in plans:
            segments.append(again or SequenceSegment(plan.row.past, plan.row.tokens))
            self._sequences.record(plan, segments[-1])
        results = results_of(logits, [plan.row for plan in plans], segments)
        if len(plans) == 1:
            return results
        by_index = {plan.index: r for plan, r in zip(plans, results, strict=True)}
        return [by_index[i] for i in range(len(plans))]

    def _fit(self, rows: Sequence[ForwardRow], threads: int) -> Asked:
        """Makes room for the rows, as far as the bounds allow; what is known of them then."""
        context, books = self._context, self._sequences
        asked = books.look(rows)
        needed = max(length_of(row.past) + len(row.tokens) for row in rows)
        length = max(context.length, -(-needed // STEP) * STEP)
        most = max(1, min(self._most, MOST_BYTES // (length * self._token_bytes)))
        count = min(context.count, most)
        wanted = books.expected(asked)
        # A little of what was asked about of late may be lost; then nothing has to move.
        if len(rows) > count or wanted > count * SLACK:
            # Room for all that are expected is made once, where not few of them come.
            ahead = min(self._expected, max(FIRST_SEQUENCES, AHEAD * wanted))
            if wanted > self._expected and len(rows) > 1:
                wanted = int(wanted * SLACK)
            wanted = max(wanted, ahead)
            if not context.count and length > LONG * STEP:
                wanted = max(wanted, FIRST_SEQUENCES)
            count = min(most, max(wanted, count))
        if (count, length) == (context.count, context.length):
            return asked
        if count == context.count and context.keeps_states:
            kept = books.alive()
            for i in set(range(count)) - set(kept):
                books.empty(i)
        else:  # llama.cpp takes a sequence back only where there are as many of them
            kept = []
            books.clear()
            self._sequences = Sequences(count)
        context.fit(count, length, threads, kept)
        return self._sequences.look(rows)


def _free(library: Library, context: Context, model: int) -> None:
    context.close()
    library.model_free(model)

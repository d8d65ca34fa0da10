"""One model for runs in several threads: what they ask within a moment is one batched forward.

    forwards = SharedForwards(load_model("smollm2"))
    engine = CachedTransformer(forwards.front())      # one for each run, in the run's thread

A run blocks in `forward` until the rows that it asked for are computed. The thread of the model
takes what waits, a row of each run in turn, so that a batch is shared evenly.

Laws:
- What a front gives equals what the model gives, up to rounding (the laws of LanguageModel: a row
  does not depend on the others of its batch).
- Fair: with r runs waiting, each gets its rows, or at least 1/r of the batch's rows, in every
  batch; so a population of thousands holds up a small one by one batch.
- A run that ends, by its deadline or since it is cancelled, takes its rows out of the queue.
- A row that fails is the failure of the run that asked for it, and of no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import Any

from fkdsl.base.deadline import check
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.interface import (
    ForwardResult,
    ForwardRow,
    HasHeads,
    LanguageModel,
    RunsHeads,
    TakesAttachments,
)
from fkdsl.models.vocabulary import Vocabulary

MOST_ROWS, MOST_TOKENS = 128, 2048
"""Rows and new tokens of one forward; a single row may have more tokens."""
PATIENCE, LONGEST_PATIENCE = 0.2, 0.005
"""How long a batch waits for runs that have not asked yet: a share of the last forwards' time, and
seconds at most."""
LOOK = 0.05
"""Seconds between two looks of a waiting run at its deadline."""


@dataclass(eq=False)
class Question:
    """Rows that a run waits for. taken: how many of them are in a batch, or computed."""

    rows: Sequence[ForwardRow]
    results: list[ForwardResult | None]
    taken: int = 0
    computed: int = 0
    error: BaseException | None = None
    work: Callable[[], Any] | None = None
    value: Any = None
    done: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, rows: Sequence[ForwardRow]) -> Question:
        return cls(rows, [None] * len(rows))


def fair_batch(
    waiting: Sequence[Question], most_rows: int = MOST_ROWS, most_tokens: int = MOST_TOKENS
) -> list[tuple[Question, int]]:
    """(question, index of its row) for the rows of the next forward: a row of each question in
    turn, in the order given, until the batch is full. At least one row, if any waits."""
    batch: list[tuple[Question, int]] = []
    tokens, turns = 0, [(q, q.taken) for q in waiting if q.taken < len(q.rows)]
    while turns:
        following = []
        for question, at in turns:
            tokens += len(question.rows[at].tokens)
            if batch and (len(batch) >= most_rows or tokens > most_tokens):
                return batch
            batch.append((question, at))
            if at + 1 < len(question.rows):
                following.append((question, at + 1))
        turns = following
    return batch


@dataclass
class ForwardCounts:
    """What the thread has done. forwards: batches. rows: in them. shared: batches with rows of more
    than one run. repeated: rows that were computed once for several that were equal. seconds: that
    forwards took."""

    forwards: int = 0
    rows: int = 0
    shared: int = 0
    repeated: int = 0
    tokens: int = 0
    seconds: float = 0.0


class SharedForwards:
    """A model and the thread that alone calls its forward. runs: how many have a front in use."""

    def __init__(
        self, model: LanguageModel, most_rows: int = MOST_ROWS, most_tokens: int = MOST_TOKENS
    ) -> None:
        self.model = model
        self.most_rows, self.most_tokens = most_rows, most_tokens
        self.counts = ForwardCounts()
        self.runs = 0
        self.encoding = threading.RLock()
        self._waiting: list[Question] = []
        self._changed = threading.Condition()
        self._ended = False
        self._recent = 0.0  # seconds of a forward, lately
        self._heads: SharedForwards | None = None
        self._thread = threading.Thread(target=self._serve, name=f"{model.name}", daemon=True)
        self._thread.start()

    def front(self) -> SharedModel:
        """The model as runs see it."""
        return SharedModel(self)

    @contextmanager
    def run(self) -> Iterator[None]:
        """A context in which a run is counted among those that a batch waits for."""
        with self._changed:
            self.runs += 1
        try:
            yield
        finally:
            with self._changed:
                self.runs -= 1
                self._changed.notify_all()

    def with_heads(self) -> SharedForwards:
        """Those of the same weights with the model's heads."""
        with self._changed:
            if self._heads is None:
                self._heads = SharedForwards(
                    self.model.with_heads(),  # type: ignore[attr-defined]
                    self.most_rows,
                    self.most_tokens,
                )
            return self._heads

    def all(self) -> list[SharedForwards]:
        """These, and those of the model with its heads, if a run has asked for them."""
        return [self] if self._heads is None else [self, self._heads]

    def close(self) -> None:
        """Ends the thread, once what it is at is done; what waits then fails."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._heads is not None:
            self._heads.close()

    # ------------------------------------------------------------ in a run's thread

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """As the model's; blocks. Raises DeadlinePassed when the current deadline passes."""
        if not rows:  # the thread would wait for the last of them
            return []
        self._ask(question := Question.of(rows))
        return [result for result in question.results if result is not None]

    def call(self, work: Callable[[], Any]) -> Any:
        """What a function gives that uses the model beside its forward, called in its thread."""
        self._ask(question := Question([], [], work=work))
        return question.value

    def _ask(self, question: Question) -> None:
        with self._changed:
            if self._ended:
                raise _ending()
            self._waiting.append(question)
            self._changed.notify_all()
        try:
            while not question.done.wait(LOOK):
                check()
        finally:
            if not question.done.is_set():
                with self._changed:
                    self._waiting = [q for q in self._waiting if q is not question]
        if question.error is not None:
            raise question.error

    # ------------------------------------------------------- in the model's own

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Takes what waits and computes it; False once it is over. (A function of its own, so that
        nothing of a run is held while the thread waits.)"""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if self._ended:
                for question in self._waiting:
                    question.error = _ending()
                    question.done.set()
                return False
            self._await_others()
            works = [q for q in self._waiting if q.work is not None]
            batch = fair_batch(self._waiting, self.most_rows, self.most_tokens)
            for question, at in batch:
                question.taken = at + 1
            served = dict.fromkeys(question for question, _ in batch)
            # Whose rows were not all taken comes after the others next time.
            self._waiting = [q for q in self._waiting if q not in served and q.work is None] + [
                q for q in served if q.taken < len(q.rows)
            ]
        for question in works:
            self._work(question)
        if batch:
            self._compute(batch, len(served))
        return True

    def _await_others(self) -> None:
        """Waits a moment for runs that have not asked yet, so that they share the batch."""
        patience = min(PATIENCE * self._recent, LONGEST_PATIENCE)
        end = time.monotonic() + patience
        while len(self._waiting) < self.runs and (left := end - time.monotonic()) > 0:
            self._changed.wait(left)

    def _work(self, question: Question) -> None:
        assert question.work is not None
        try:
            question.value = question.work()
        except BaseException as error:
            question.error = error
        question.done.set()

    def _compute(self, batch: Sequence[tuple[Question, int]], questions: int) -> None:
        began = time.perf_counter()
        try:
            results = self._forward([question.rows[at] for question, at in batch])
        except BaseException as error:
            self._compute_apart(batch, error)
            return
        seconds = time.perf_counter() - began
        self._recent = seconds if not self._recent else 0.8 * self._recent + 0.2 * seconds
        self.counts.seconds += seconds
        self.counts.shared += questions > 1
        for (question, at), result in zip(batch, results, strict=True):
            _answer(question, at, result)

    def _forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """The results of rows; those that are equal and begin a text, as prompts of requests that
        come together do, are computed once."""
        distinct: dict[Any, int] = {}
        places = []
        for row in rows:
            key = (row.tokens, row.wanted) if row.past is None else object()
            places.append(distinct.setdefault(key, len(distinct)))
        first = dict(zip(reversed(places), reversed(rows), strict=True))
        different = [first[place] for place in range(len(distinct))]
        computed = self.model.forward(different)
        self.counts.forwards += 1
        self.counts.rows += len(different)
        self.counts.tokens += sum(len(row.tokens) for row in different)
        self.counts.repeated += len(rows) - len(different)
        return [computed[place] for place in places]

    def _compute_apart(self, batch: Sequence[tuple[Question, int]], error: BaseException) -> None:
        """Computes each question's rows by themselves, so that one that fails fails alone."""
        by_question: dict[Question, list[int]] = {}
        for question, at in batch:
            by_question.setdefault(question, []).append(at)
        for question, places in by_question.items():
            try:
                if len(by_question) == 1:
                    raise error
                results = self._forward([question.rows[at] for at in places])
            except BaseException as own:
                question.error = own
                with self._changed:
                    self._waiting = [q for q in self._waiting if q is not question]
                question.done.set()
                continue
            for at, result in zip(places, results, strict=True):
                _answer(question, at, result)


def _ending() -> CallError:
    return CallError("the server is ending", "ask again later")


def _answer(question: Question, at: int, result: ForwardResult) -> None:
    question.results[at] = result
    question.computed += 1
    if question.computed == len(question.rows):
        question.done.set()


def _one_at_a_time(forwards: SharedForwards, encode: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a tokenizer, which one thread calls at a time."""

    def encode_alone(*args: Any) -> Any:
        with forwards.encoding:
            return encode(*args)

    return encode_alone


OPTIONAL = ("note", "masked_block_sums", "cost", "reach", "encoder_work", "whole")
"""What a model may have beside LanguageModel, and a front then has too (models/interface.py)."""


class SharedModel:
    """The model as runs see it: a LanguageModel whose forward waits its turn. All else is the
    model's own."""

    def __init__(self, forwards: SharedForwards) -> None:
        self._forwards = forwards
        model: Any = forwards.model
        self.name: str = model.name
        self.vocabulary: Vocabulary = model.vocabulary
        self.allows_empty: bool = model.allows_empty
        self.max_length: int | None = model.max_length
        self.describe = model.describe
        # Whether a model has a Protocol is asked of its attributes, so the front has the same.
        for name in OPTIONAL:
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        if isinstance(model, TakesAttachments):
            self.kinds = model.kinds
            self.start_with = _one_at_a_time(forwards, model.start_with)
            self.chat_with = _one_at_a_time(forwards, model.chat_with)
        if isinstance(model, HasHeads):
            self.with_heads = lambda: forwards.with_heads().front()
        if isinstance(model, RunsHeads):
            self.draft_log_probs = lambda drafts: forwards.call(
                lambda: model.draft_log_probs(drafts)
            )

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """As LanguageModel.forward. Raises DeadlinePassed when the current deadline passes."""
        return self._forwards.forward(rows)

    def start(self, text: str) -> tuple[int, ...]:
        with self._forwards.encoding:
            return self._forwards.model.start(text)

    def encode(self, text: str) -> tuple[int, ...]:
        with self._forwards.encoding:
            return self._forwards.model.encode(text)

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        with self._forwards.encoding:
            return self._forwards.model.chat(user, system)

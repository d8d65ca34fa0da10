"""`fkdsl train-retriever`: learns an adapter of an index's queries from questions with answers, and
measures on questions held out what it is worth.

    trained = train_retriever(program, engines, questions, settings)
    trained.adapter, trained.before, trained.after

The questions are divided at random into those that are learned from, those that say when to stop,
and those held out, which are looked at twice: before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.document_likelihoods import FORM, DocumentLikelihoods, Generator
from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest
from fkdsl.api.retriever_data import Question, divided
from fkdsl.api.run import run
from fkdsl.api.twist_file import identity
from fkdsl.base.deadline import Deadline, DeadlinePassed, check, until
from fkdsl.base.errors import CallError, PopulationDied
from fkdsl.base.logspace import Floats
from fkdsl.retrieval.adapter import MOST_ENTRY, Adapter
from fkdsl.retrieval.adapter_training import (
    AdapterSettings,
    Likelihoods,
    Look,
    Questions,
    Trained,
    best_places,
    evaluate,
    train,
)
from fkdsl.retrieval.dense import Embedding
from fkdsl.retrieval.embedded import Embedded
from fkdsl.values.library.retrieval import MOST_DOCUMENTS, Retrieved

RECALLS = (1, 5, 20)
"""Recall is measured among so many documents, and among the program's k."""
DENSE = 'train with `ranking="dense"`; its adapter serves `hybrid` and `qdrant` too'
CLOSE = 1e-3
"""Nats by which log Z of a program may differ from that of the sum over its documents."""


@dataclass(frozen=True)
class RetrieverSettings:
    """documents: that the sum in training is over; None for four times the program's k, and at
    least 20. share: of the questions, for the two sets that are not learned from. steps: as in
    AdapterSettings; None for its default. penalty: the only one, None for those that it tries."""

    documents: int | None = None
    share: float = 0.2
    steps: int | None = None
    penalty: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises CallError for a number that no training can have."""
        for name, number, low, high in (
            ("--documents", self.documents, 1, MOST_DOCUMENTS),
            ("--share", self.share, 0.01, 0.4),
            ("--steps", self.steps, 1, 1_000_000),
            ("--penalty", self.penalty, 0.0, 1e6),
        ):
            if number is not None and not low <= number <= high:
                raise CallError(
                    f"{name} is between {low:g} and {high:,g}, not {number:g}", f"leave {name} out"
                )

    def of_training(self, k: int) -> AdapterSettings:
        """As training has them. k: the program's."""
        given: dict[str, Any] = {}
        if self.steps is not None:
            given["steps"] = self.steps
        if self.penalty is not None:
            given["penalties"] = (self.penalty,)
        return AdapterSettings(k=max(self.documents or max(4 * k, 20), k), **given)


@dataclass(frozen=True)
class Measured:
    """How well questions are served. log_marginals: (n,) log sum_d p(d | x) p(y | x, d) of each,
    nats, by the program's own k and temperature. recall: among so many documents, the share of the
    questions with evidence that have a right one; none where no question has."""

    log_marginals: Floats
    recall: dict[int, float]

    @property
    def impossible(self) -> int:
        """Questions whose answer no document of the k best can give."""
        return int((~np.isfinite(self.log_marginals)).sum())


@dataclass
class TrainedRetriever:
    """What training has come to. index: whose queries it is of. sizes: questions learned from, to
    stop by, held out. before, after: of the questions held out; None where time ran out. pairs:
    of a question and a document whose answer was weighed. ended: why it ended early, "" if it did
    not."""

    index: str = ""
    k: int = 0
    temperature: float = 1.0
    passages: int = 0
    sizes: tuple[int, int, int] = (0, 0, 0)
    adapter: Adapter | None = None
    trained: Trained | None = None
    before: Measured | None = None
    after: Measured | None = None
    pairs: int = 0
    ended: str = ""

    @property
    def learned(self) -> bool:
        """Whether some step was better on the questions to stop by than where it began."""
        return self.trained is not None and self.trained.step > 0

    @property
    def gain(self) -> tuple[float, float]:
        """(mean gain in log marginal likelihood, nats, its standard error) over the questions held
        out that have one before and after; NaN where it is not known."""
        if self.before is None or self.after is None:
            return math.nan, math.nan
        with np.errstate(invalid="ignore"):
            d = self.after.log_marginals - self.before.log_marginals
        d = d[np.isfinite(d)]
        if not len(d):
            return math.nan, math.nan
        se = float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else math.nan
        return float(d.mean()), se


@dataclass
class Observer:
    """Is told how it goes: pairs of a question and a document that were computed so far, and of how
    many that are known to be needed; each look at training."""

    scored: Callable[[int, int], None] = lambda done, total: None
    looked: Callable[[Look], None] = lambda look: None


@dataclass(frozen=True)
class Prepared:
    """engine: of the index, with its embedding. queries: (questions, D) float64, what each question
    asks, embedded. likelihoods: by the numbers of questions and the places of passages."""

    engine: Embedded
    embedding: Embedding
    queries: Floats
    likelihoods: Likelihoods

    def of(self, numbers: Sequence[int]) -> Questions:
        """The questions of these numbers."""
        return Questions(numbers, self.queries[list(numbers)])


@dataclass
class RetrieverTraining:
    """A training in progress; `result` is what it has come to. held_out: further questions, in the
    place of a share of the first ones."""

    program: CalledProgram
    engines: Engines
    questions: Sequence[Question]
    settings: RetrieverSettings = field(default_factory=RetrieverSettings)
    held_out: Sequence[Question] = ()
    work: Path | None = None
    resume: bool = False
    observer: Observer = field(default_factory=Observer)

    def __post_init__(self) -> None:
        self.settings.check()
        self.result = TrainedRetriever()
        self._all = [*self.questions, *self.held_out]
        self._likelihoods: DocumentLikelihoods | None = None
        self._needed = 0

    def run(self, timeout: float | Deadline | None = None) -> TrainedRetriever:
        """The adapter with its figures. Ended by the deadline, it has what there was before.

        Raises CallError where nothing can be learned, and ProgramError as a run does.
        """
        deadline = Deadline.of(timeout)
        verify_dense(self.program)
        generator = Generator(self.program, self.engines)
        deadline.begin()
        try:
            with until(deadline):
                self._run(generator)
        except DeadlinePassed as passed:
            self.result.ended = f"time ran out {passed}"
        if self.result.trained is not None and self.result.trained.ended:
            self.result.ended = self.result.trained.ended
        return self.result

    def _run(self, generator: Generator) -> None:
        result, settings = self.result, self.settings
        learn, stop, held = divided(
            self.questions, settings.share, settings.seed, apart=bool(self.held_out)
        )
        held = held or list(range(len(self.questions), len(self._all)))
        result.sizes = (len(learn), len(stop), len(held))
        at = self._prepared(generator)
        training = settings.of_training(result.k)
        self._needed = training.k * len(learn) + result.k * (len(stop) + len(held))
        begin = np.eye(at.queries.shape[1])
        if at.engine.adapter is not None:
            begin = at.engine.adapter.matrix.astype(np.float64)
        result.before = self._measured(at, begin, held)
        self._verify(held[0], float(result.before.log_marginals[0]))
        result.trained = train(
            at.engine.vectors, begin, at.of(learn), at.of(stop), at.likelihoods, result.k,
            result.temperature, training, self.observer.looked,
        )  # fmt: skip
        if not result.trained.looks:
            return
        matrix = np.clip(result.trained.matrix, -MOST_ENTRY, MOST_ENTRY).astype(np.float32)
        result.adapter = Adapter(matrix, at.embedding.digest, {})
        result.after = self._measured(at, matrix.astype(np.float64), held)

    # ------------------------------------------------------------------ parts

    def _prepared(self, generator: Generator) -> Prepared:
        """What is known before anything is weighed."""
        asked = self._asked(generator)
        engine = self._engine(generator, asked[0])
        embedding, result = engine.embedding, self.result
        assert embedding is not None
        result.index, result.k, result.temperature = (
            asked[0].index, asked[0].k, asked[0].temperature,
        )  # fmt: skip
        result.passages = len(engine)
        queries = embedding.embed([d.query for d in asked]).astype(np.float64)
        called = self.program(**self._all[0].arguments)
        identified = {**identity(called, self.engines), "arguments": {}}
        self._likelihoods = DocumentLikelihoods(
            generator, self._all, self.work, identified, resume=self.resume
        )
        return Prepared(engine, embedding, queries, self._counted(engine, self._likelihoods))

    def _measured(self, at: Prepared, matrix: Floats, numbers: Sequence[int]) -> Measured:
        """How well an adapter serves questions."""
        marginals = evaluate(
            at.engine.vectors, matrix, at.of(numbers), at.likelihoods, self.result.k,
            self.result.temperature,
        )  # fmt: skip
        return Measured(marginals.log_marginals, self._recall(at, matrix, numbers))

    def _asked(self, generator: Generator) -> list[Retrieved]:
        """What each question asks of the index."""
        asked = []
        for question in self._all:
            check()
            asked.append(generator.asked(question))
            first, d = asked[0], asked[-1]
            if (d.index, d.k, d.temperature) != (first.index, first.k, first.temperature):
                raise CallError(
                    f"line {question.line}: another index, k or temperature than the first "
                    "question's",
                    "write the same for all questions",
                )
        return asked

    def _engine(self, generator: Generator, asked: Retrieved) -> Embedded:
        """The index's engine. Raises CallError for one whose queries cannot be learned."""
        index = generator.program.environment().indexes[asked.index]
        engine = getattr(index, "engine", None)
        if not isinstance(engine, Embedded) or engine.ranking != "dense":
            raise CallError(f"the index `{asked.index}` is not ranked by embeddings alone", DENSE)
        return engine

    def _counted(self, engine: Embedded, known: DocumentLikelihoods) -> Likelihoods:
        """The likelihoods by the places of the passages, which tell the observer of their
        progress."""

        def likelihoods(question: int, places: Sequence[int]) -> Floats:
            check()
            values = known.of(question, engine.passages_at(places))
            self.result.pairs = len(known.known)
            self.observer.scored(self.result.pairs, max(self._needed, self.result.pairs))
            return values

        return likelihoods

    def _recall(self, at: Prepared, matrix: Floats, numbers: Sequence[int]) -> dict[int, float]:
        asked = [i for i in numbers if self._all[i].evidence]
        if not asked:
            return {}
        depths = sorted({*RECALLS, self.result.k})
        found = best_places(at.engine.vectors, matrix, at.queries[asked], depths[-1])
        first = []
        for i, places in zip(asked, found, strict=True):
            texts = [p.text for p in at.engine.passages_at(places.tolist())]
            right = [rank for rank, t in enumerate(texts) if self._all[i].is_answered_by(t)]
            first.append(right[0] if right else math.inf)
        return {n: sum(rank < n for rank in first) / len(first) for n in depths}

    def _verify(self, number: int, log_marginal: float) -> None:
        """Raises CallError unless log Z of the program, of a question, is the sum over its
        documents: it is not where the program reads a document's score."""
        question = self._all[number]
        program = self.program(**question.arguments)
        request = RunRequest.of(program, "exact", {}, engines=self.engines)
        try:
            log_z = run(request).log_z
        except PopulationDied:
            log_z = -math.inf
        if log_z != log_marginal and not abs(log_z - log_marginal) <= CLOSE:
            raise CallError(
                f"log Z of `{program.name}` is {log_z:.4f} for the question of line "
                f"{question.line}, and the sum over its documents {log_marginal:.4f}",
                FORM + ", and read no score of a document",
            )

    def forget(self) -> None:
        """Takes the file of the work away."""
        if self._likelihoods is not None:
            self._likelihoods.forget()


def verify_dense(program: CalledProgram) -> None:
    """Raises CallError for a program none of whose indexes can be learned."""
    specs = [info.spec for info in program.checked.indexes.values()]
    if not any(s.ranking == "dense" and s.engine == "embedded" for s in specs):
        raise CallError(f"`{program.name}` has no index that is ranked by embeddings alone", DENSE)


def train_retriever(
    program: CalledProgram,
    engines: Engines,
    questions: Sequence[Question],
    settings: RetrieverSettings | None = None,
    *,
    held_out: Sequence[Question] = (),
    timeout: float | Deadline | None = None,
) -> TrainedRetriever:
    """An adapter for the index of a program, and what it is worth. program: `d ~ retrieve(...)`, a
    prompt with d.text, `observe answer ~ lm`; its parameters are what the questions give.

    Raises CallError where nothing can be learned."""
    training = RetrieverTraining(
        program, engines, questions, settings or RetrieverSettings(), held_out
    )
    return training.run(timeout)

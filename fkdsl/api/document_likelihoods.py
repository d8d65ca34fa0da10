"""p(y | x, d) of a program: what it observes, given each document that its `retrieve` may draw.

    asked = Asked.of(program, engines, question)      # which index, query, k, temperature
    asked.log_likelihoods(documents)                  # (documents,) nats, one batched forward

Each pair of a question and a document is computed once; a file keeps what is known, for a run that
is stopped and goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.retriever_data import Question
from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_text
from fkdsl.base.logspace import Floats
from fkdsl.base.random import KeyedRng
from fkdsl.ir.build import build
from fkdsl.machine.particle import Executable
from fkdsl.machine.state import ProgramState, Status
from fkdsl.machine.value_json import write_value
from fkdsl.retrieval.passages import Passage
from fkdsl.steering.given_draws import GivenDraws
from fkdsl.values.documents import Document
from fkdsl.values.library.retrieval import Retrieved

BATCH = 64
"""Documents that are asked about together."""
MOST_WORK = 1 << 30
FORM = (
    "write `d ~ retrieve(notes, question)`, then a prompt with d.text, then `observe answer ~ lm`"
)


class Generator:
    """A program as the law of an answer given a question and a document. Built once, for all
    questions."""

    def __init__(self, program: CalledProgram, engines: Engines) -> None:
        self.program, self.engines = program.without(), engines
        self.program.renew_indexes(engines.progress)
        self.code: Executable = build(self.program.ir(), self.program.environment())
        for name in self.program.model_names():
            _ = engines[name]

    def begin(self, question: Question) -> tuple[GivenDraws, ProgramState, float]:
        """(the model, the state at the first draw, log G so far) of a question."""
        values = tuple(question.arguments.values())
        model = GivenDraws(self.code, self.engines, values, self.program.limits)
        (x,), log_G = model.initial([KeyedRng(0)])
        return model, x, float(log_G[0])

    def asked(self, question: Question) -> Retrieved:
        """What the program asks of its index for a question. Raises CallError if its first draw is
        none of a document."""
        model, x, _ = self.begin(question)
        draw = model.draw_at(x) if x.status is Status.RUNNING else None
        if draw is None or not isinstance(draw.distribution, Retrieved):
            raise CallError(
                f"the first draw of `{self.program.name}` is no document of `retrieve`", FORM
            )
        return draw.distribution

    def log_likelihoods(self, question: Question, passages: Sequence[Passage]) -> Floats:
        """(passages,) log p(y | x, d), nats. Raises CallError if the program draws more than d."""
        model, x, log_G = self.begin(question)
        found = []
        for start in range(0, len(passages), BATCH):
            documents = [
                Document(p.text, p.source, p.line) for p in passages[start : start + BATCH]
            ]
            states, weights = model.step_given(x, documents)
            for state, weight in zip(states, weights, strict=True):
                if state.status is Status.RUNNING or len(state.drawn) > 1:
                    raise CallError(f"`{self.program.name}` draws more than the document", FORM)
                found.append(log_G + float(weight))
        return np.array(found)


class DocumentLikelihoods:
    """log p(y | x, d) of questions and passages, each computed once.

    work: a file that keeps them under the digest `identity`; None for none. resume: whether it is
    read first. progress: is told of how many were computed.
    """

    def __init__(
        self,
        generator: Generator,
        questions: Sequence[Question],
        work: Path | None,
        identity: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.generator, self.questions = generator, questions
        self.known: dict[str, float] = {}
        self.computed = 0
        self._work = work
        self._names = [
            _digest({n: write_value(v) for n, v in q.arguments.items()}) for q in questions
        ]
        if work is not None:
            self._open(work, _digest(identity), resume)

    def of(self, number: int, passages: Sequence[Passage]) -> Floats:
        """(passages,) of the question of that number, nats."""
        keys = [f"{self._names[number]} {_digest((p.text, p.source, p.line))}" for p in passages]
        missing = [i for i, key in enumerate(keys) if key not in self.known]
        if missing:
            values = self.generator.log_likelihoods(
                self.questions[number], [passages[i] for i in missing]
            )
            new = {keys[i]: float(v) for i, v in zip(missing, values, strict=True)}
            self.known.update(new)
            self.computed += len(new)
            self._keep(new)
        return np.array([self.known[key] for key in keys])

    # ------------------------------------------------------------------- file

    def _open(self, work: Path, identity: str, resume: bool) -> None:
        """Reads what the file has, if it is of the same program and models; else begins it."""
        check_target(work)
        if resume:
            with suppress(OSError, ValueError):
                first, *lines = read_text(work, MOST_WORK).splitlines()
                if first == identity:
                    self.known.update(_read(lines))
                    return
        self._write("w", identity + "\n")

    def _keep(self, new: Mapping[str, float]) -> None:
        if self._work is not None:
            lines = [json.dumps([k, v if v > -math.inf else None]) + "\n" for k, v in new.items()]
            self._write("a", "".join(lines))

    def _write(self, how: str, text: str) -> None:
        assert self._work is not None
        try:
            with self._work.open(how, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CallError(
                f"cannot write {self._work}: {error.strerror}", "name another file by --out"
            ) from None

    def forget(self) -> None:
        """Takes the file away."""
        if self._work is not None:
            with suppress(OSError):
                self._work.unlink(missing_ok=True)


def _read(lines: Sequence[str]) -> dict[str, float]:
    """The pairs of a file; what is no pair is left out, such as a last line that was cut off."""
    found = {}
    for line in lines:
        try:
            key, value = json.loads(line)
            number = -math.inf if value is None else float(value)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(key, str) and number < math.inf:
            found[key] = number
    return found


def _digest(value: Any) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()

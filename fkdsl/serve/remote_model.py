"""A model that another process has: what a stranger's program draws from.

The worker has the language, the inference and the caches of rows; the server has the weights and
the keys and values. A forward goes over a pipe, and shares a batch with the runs of the server
itself. So a worker needs neither torch nor weights, and starts in some milliseconds.

From the worker come JSON messages only, which the server checks as it checks any request; what the
server sends is pickled, since the worker may trust it.

    {"op": "model", "name": "smollm2"}                                      -> facts, vocabulary
    {"op": "text", "model": 0, "kind": "encode", "text": "..."}             -> ids
    {"op": "source", "model": 0, "source": "...", "text": "..."}            -> ids, a source first
    {"op": "forward", "model": 0, "rows": [[past, stop, ids, wanted], ...], "freed": [3, 4]}
                                                                            -> segments and rows
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.attachments import Attachment, Kind, Part
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.vocabulary import Vocabulary


class Pipe(Protocol):
    """An end of a multiprocessing pipe."""

    def send_bytes(self, buf: bytes) -> None: ...

    def recv(self) -> Any: ...


@dataclass(frozen=True)
class ModelFacts:
    """What a worker knows of a model. number: by which it asks for it."""

    number: int
    name: str
    vocabulary: Vocabulary
    allows_empty: bool
    max_length: int | None
    described: dict[str, Any]
    note: str | None
    reads_source: bool = False


@dataclass(frozen=True)
class RowAnswer:
    """A row's result. segment: its number."""

    segment: int
    length: int
    nbytes: int
    sliceable: bool
    standalone: bool
    log_probs: NDArray[Any]
    sums: NDArray[np.float64] | None


@dataclass(frozen=True)
class Refusal:
    """Why the server did not do what it was asked. ended: whether a bound of the run was reached,
    rather than that the call was wrong."""

    message: str
    help: str
    ended: bool


class Server:
    """The server, as a worker asks it."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def tell(self, message: dict[str, Any]) -> None:
        """Sends what has no answer."""
        self.pipe.send_bytes(json.dumps(message).encode())

    def ask(self, message: dict[str, Any]) -> Any:
        """The answer to a message. Raises CallError and BudgetEnded as the server refuses it."""
        self.tell(message)
        answer = self.pipe.recv()
        if isinstance(answer, Refusal):
            raise (BudgetEnded if answer.ended else CallError)(answer.message, answer.help)
        return answer

    def load(self, reference: str, **_: Any) -> RemoteModel:
        """The model of a reference, in the place of fkdsl.models.registry.load_model."""
        return RemoteModel(self, self.ask({"op": "model", "name": reference}))


class RemoteSegment:
    """A segment that the server holds until this is gone."""

    __slots__ = ("_freed", "length", "nbytes", "number", "sliceable", "standalone")

    def __init__(self, answer: RowAnswer, freed: deque[int]) -> None:
        self._freed = freed
        self.number, self.length, self.nbytes = answer.segment, answer.length, answer.nbytes
        self.sliceable, self.standalone = answer.sliceable, answer.standalone

    def __del__(self) -> None:
        self._freed.append(self.number)


class RemoteModel:
    """A LanguageModel whose forward the server runs."""

    def __init__(self, server: Server, facts: ModelFacts) -> None:
        self._server, self._facts = server, facts
        self.name, self.vocabulary = facts.name, facts.vocabulary
        self.allows_empty, self.max_length = facts.allows_empty, facts.max_length
        self._freed: deque[int] = deque()
        if facts.note is not None:
            self.note = facts.note
        if facts.reads_source:
            # Whether a model has a Protocol is asked of its attributes.
            self.kinds: frozenset[Kind] = frozenset({"source"})
            self.start_with, self.chat_with = self._start_with, self._chat_with

    def describe(self) -> dict[str, Any]:
        return self._facts.described

    def start(self, text: str) -> tuple[int, ...]:
        return self._ids("start", text)

    def encode(self, text: str) -> tuple[int, ...]:
        return self._ids("encode", text)

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        return self._ids("chat", user, system=system)

    def _ids(self, kind: str, text: str, **more: str) -> tuple[int, ...]:
        message = {"op": "text", "model": self._facts.number, "kind": kind, "text": text, **more}
        ids: tuple[int, ...] = self._server.ask(message)
        return ids

    def _start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        source, *texts = parts
        if not isinstance(source, Attachment):
            raise CallError(f"{self.name} reads a source, and is given none", "write source=...")
        message = {"op": "source", "model": self._facts.number, "source": source.text}
        ids: tuple[int, ...] = self._server.ask({**message, "text": "".join(map(str, texts))})
        return ids

    def _chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        raise CallError(f"a chat of {self.name} is a text", "leave the source out")

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel; raises BudgetEnded where the server's bounds are reached."""
        freed = [self._freed.popleft() for _ in range(len(self._freed))]
        written = [
            [
                None if row.past is None else _number(row.past.segment),
                0 if row.past is None else row.past.stop,
                row.tokens,
                row.wanted,
            ]
            for row in rows
        ]
        answers: list[RowAnswer] = self._server.ask(
            {"op": "forward", "model": self._facts.number, "rows": written, "freed": freed}
        )
        return [
            ForwardResult(a.log_probs, RemoteSegment(a, self._freed), sums=a.sums) for a in answers
        ]


def _number(segment: Any) -> int:
    assert isinstance(segment, RemoteSegment)
    return segment.number

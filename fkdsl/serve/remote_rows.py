"""The server's side of a worker's models: what it asks is checked, counted and computed.

A worker runs a stranger's program, so its messages are taken for a stranger's: every number is
checked before a model sees it, and what it holds is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fkdsl.api.engines import MakeEngine
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.attachments import Attachment, attachments_of
from fkdsl.models.interface import (
    CacheSegment,
    ForwardRow,
    LanguageModel,
    Noted,
    Past,
    TakesAttachments,
)
from fkdsl.serve.models import ServedModels
from fkdsl.serve.remote_model import ModelFacts, RowAnswer
from fkdsl.serve.settings import RequestLimits

LONGEST_TEXT = 200_000
"""Characters of a text that is cut into tokens: that is one call of a library."""
MOST_ROWS = 8192


class Desk:
    """What one worker asks by. allowed: models by reference. make: the engine of a model in this
    run, whose model is called. Segments are held until the worker lets go of them, or is done;
    attachments until it is done."""

    def __init__(
        self,
        allowed: Mapping[str, LanguageModel],
        models: ServedModels,
        make: MakeEngine,
        budget: TokenBudget,
        limits: RequestLimits,
    ) -> None:
        self.allowed, self.models, self.make = allowed, models, make
        self.budget, self.limits = budget, limits
        self._models: list[LanguageModel] = []
        self._segments: dict[int, CacheSegment] = {}
        self._attachments: dict[int, Attachment] = {}
        self._next = self._bytes = 0

    def answer(self, message: Any) -> Any:
        """What a worker is sent. Raises CallError for what may not be, and BudgetEnded."""
        match message:
            case {"op": "model", "name": str() as name}:
                return self._model(name)
            case {"op": "text", "model": int() as i, "kind": str() as kind, "text": str() as text}:
                return self._ids(self._of(i), kind, text, str(message.get("system", "")))
            case {
                "op": "source",
                "model": int() as i,
                "source": str() as source,
                "text": str() as text,
            }:
                return self._sourced(self._of(i), source, text)
            case {"op": "forward", "model": int() as i, "rows": list() as rows}:
                self._free(message.get("freed", []))
                return self._forward(self._of(i), rows)
        raise CallError("the worker said what no worker says")

    def _of(self, number: int) -> LanguageModel:
        if not 0 <= number < len(self._models):
            raise CallError("no model has this number")
        return self._models[number]

    def _model(self, name: str) -> ModelFacts:
        if name not in self.allowed:
            known = ", ".join(self.allowed) or "none but tables of its own"
            raise CallError(
                f"a program in a request may not name the model `{name[:100]}`",
                f"those that it may name: {known}",
            )
        engine = self.make(self.allowed[name], None, None)
        model = engine.model
        self._models.append(model)
        return ModelFacts(
            len(self._models) - 1,
            model.name,
            model.vocabulary,
            model.allows_empty,
            model.max_length,
            model.describe(),
            model.note if isinstance(model, Noted) else None,
            isinstance(model, TakesAttachments) and "source" in model.kinds,
        )

    def _ids(self, model: LanguageModel, kind: str, text: str, system: str) -> tuple[int, ...]:
        if len(text) + len(system) > LONGEST_TEXT:
            raise CallError(
                f"a text of more than {LONGEST_TEXT:,} characters is cut into no tokens here",
                "shorten it",
            )
        match kind:
            case "start":
                return model.start(text)
            case "encode":
                return model.encode(text)
            case "chat":
                return self._known(model.chat(text, system))
        raise CallError("no text is made so")

    def _sourced(self, model: LanguageModel, source: str, text: str) -> tuple[int, ...]:
        if len(text) + len(source) > LONGEST_TEXT:
            raise CallError(f"a source of more than {LONGEST_TEXT:,} characters", "shorten it")
        if not isinstance(model, TakesAttachments) or "source" not in model.kinds:
            raise CallError(f"{model.name} reads no source")
        return self._known(model.start_with((Attachment.source(source), text)))

    def _known(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The ids, whose attachments the worker's rows may have from now on."""
        for attachment in attachments_of(ids):
            if attachment not in self._attachments:
                self._attachments[attachment] = attachment
                self._bytes += attachment.nbytes
                self._verify_memory()
        return ids

    def _free(self, freed: Any) -> None:
        for number in freed if isinstance(freed, list) else ():
            segment = self._segments.pop(number, None) if isinstance(number, int) else None
            if segment is not None:
                self._bytes -= segment.nbytes

    def _forward(self, model: LanguageModel, written: list[Any]) -> list[RowAnswer]:
        if len(written) > MOST_ROWS:
            raise CallError(f"more than {MOST_ROWS} rows at once")
        rows = [self._row(model, row) for row in written]
        self.budget.take(rows, model.vocabulary.size)
        answers = []
        for result in model.forward(rows):
            segment = result.segment
            self._segments[self._next] = segment
            self._bytes += segment.nbytes
            answers.append(
                RowAnswer(
                    self._next, segment.length, segment.nbytes, segment.sliceable,
                    segment.standalone, result.log_probs, result.sums,
                )
            )  # fmt: skip
            self._next += 1
        self._verify_memory()
        return answers

    def _verify_memory(self) -> None:
        if self._bytes > self.limits.memory:
            raise BudgetEnded(
                f"the run's contexts take more than {self.limits.memory >> 20:,} MiB",
                "ask for fewer particles or shorter texts",
            )

    def _row(self, model: LanguageModel, written: Any) -> ForwardRow:
        match written:
            case [None, _, list() as tokens, list() as wanted]:
                past = None
            case [int() as number, int() as stop, list() as tokens, list() as wanted]:
                past = self._past(number, stop)
            case _:
                raise CallError("this is no row")
        size = model.vocabulary.size
        if not all(
            type(t) is int and (0 <= t < size or (t < 0 and t in self._attachments)) for t in tokens
        ):
            raise CallError("a row has a token that its model has not")
        inside = all(type(w) is int and 0 <= w < max(1, len(tokens)) for w in wanted)
        if not inside or sorted(set(wanted)) != wanted:
            raise CallError("a row wants what it does not have")
        length = len(tokens) + (past.stop if past is not None else 0)
        if model.max_length is not None and length > model.max_length:
            raise CallError("a row is longer than its model reads")
        if not tokens and (past is not None or not model.allows_empty):
            raise CallError("a row has no token")
        ids = tuple(self._attachments[t] if t < 0 else t for t in tokens)
        return ForwardRow(past, ids, tuple(wanted))

    def _past(self, number: int, stop: int) -> Past:
        segment = self._segments.get(number)
        if segment is None:
            raise CallError("no segment has this number")
        if not 1 <= stop <= segment.length or (not segment.sliceable and stop != segment.length):
            raise CallError("no past ends there")
        return Past(segment, stop)

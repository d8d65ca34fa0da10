"""The models of a run as the run's own process knows them while other machines compute: their
marks, the bytes of the tokens that have come, and what the forwards there have cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fkdsl.api.engines import Engines, lost_note
from fkdsl.api.trace.attachments import learn_attachments
from fkdsl.api.trace.recorded import MarkedModel, learn
from fkdsl.engine.byte_beam import LostMass
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.meter import ForwardMeter, ForwardWork
from fkdsl.models.attachments import Attachment


class RemoteEngines(Engines):
    """Engines whose contexts have texts and no distributions: no model is loaded here.

    begin: is called when the marks are first needed, and gives them to `know`. attachments: those
    that lines have told of.
    """

    def __init__(self, plain: Engines) -> None:
        self.__dict__.update(plain.__dict__)
        self._engines, self._by_reference = {}, {}
        self.begin: Callable[[], None] = lambda: None
        self.marks: Mapping[str, Mapping[str, Any]] | None = None
        self.surrogates: Mapping[str, str] = {}
        self._tokens: dict[str, dict[int, bytes]] = {}
        self.attachments: dict[int, Attachment] = {}
        self._notes: tuple[str, ...] = ()
        self._lost: dict[str, LostMass] = {}
        self._cost: dict[Any, tuple[int, int]] = {}

    def know(self, ready: Mapping[str, Any]) -> None:
        """Takes what the first worker said of its models."""
        self.marks = ready["ready"]
        self.surrogates = ready["surrogates"]
        self._notes = tuple(ready["notes"])
        self.defaulted = ready["defaulted"]
        for name in self.marks or ():
            self._engine_of(name)

    def learn(self, line: Mapping[str, Any]) -> None:
        """Takes the bytes of the tokens, and the attachments, that a step's line tells of."""
        learn(self._tokens, line)
        learn_attachments(self.attachments, line)

    def __getitem__(self, name: str) -> CachedTransformer:
        if self.marks is None:
            self.begin()
        return self._engine_of(name)

    def _engine_of(self, name: str) -> CachedTransformer:
        if name not in self._engines:
            mark = (self.marks or {}).get(name, {"name": name, "vocabulary": ""})
            texts = self._tokens.setdefault(name, {})
            engine = CachedTransformer(MarkedModel(mark, texts))
            engine.meter = ForwardMeter() if self.metered else None
            self._engines[name] = engine
        return self._engines[name]

    # ------------------------------------------------------------ what it has cost

    def spend(self, attempt: Any, calls: int, tokens: int) -> None:
        """Enters what an attempt at a task has cost so far."""
        self._cost[attempt] = calls, tokens

    def counts(self) -> tuple[int, int]:
        calls = sum(calls for calls, _ in self._cost.values())
        return calls, sum(tokens for _, tokens in self._cost.values())

    def add(self, facts: Mapping[str, Any]) -> None:
        """Enters what a task that is over says of its models."""
        for name, lost in facts["lost"].items():
            before = self._lost.get(name, LostMass())
            self._lost[name] = LostMass(
                before.symbols + lost["symbols"],
                before.total + lost["total"],
                max(before.worst, lost["worst"]),
            )
        for name, meter in facts["meters"].items():
            own = self._engine_of(name).meter
            if own is not None:
                _add_work(own.prefill, meter["prefill"])
                _add_work(own.decode, meter["decode"])
                own.encoder.add(**meter["encoder"])

    def reset_lost_mass(self) -> None:
        self._lost = {}

    def notes(self) -> tuple[str, ...]:
        lost = [lost_note(view, mass) for view, mass in self._lost.items() if mass.total > 0.0]
        return (*self._notes, *lost)


def _add_work(own: ForwardWork, other: Mapping[str, Any]) -> None:
    """Adds the sums of other forwards; a sum that is not known stays unknown."""
    for name, value in other.items():
        before = getattr(own, name)
        setattr(own, name, None if before is None or value is None else before + value)

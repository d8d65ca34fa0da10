"""A LanguageModel whose forwards vLLM computes.

A segment is the ids of its tokens and the past that it continues, and may own a session: the live
request of vLLM that has read exactly this context. The first row of a forward that continues the
segment takes its session over; the other rows, and those that continue it elsewhere, begin a
session that forks the one which read the segment (`forks`), or, if that has ended, one on the whole
text, of which vLLM's prefix cache has all full blocks. When a segment is freed, its session ends.

Sessions are a cache, not the truth: where vLLM lacks slots or memory, the least recently used ones
end, and who continues their segments begins anew. More rows than slots are computed in waves.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import ReferenceType, ref

import numpy as np
import torch

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows, Past
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, forward_results
from fkdsl.models.vllm.interrupts import interrupts_wait
from fkdsl.models.vllm.session import SessionEngine, StepError

FULL = 0.9
"""The part of vLLM's memory for keys and values above which sessions that wait are ended."""
IDLE_STEPS = 4
"""After so many steps without work nothing will ever fit. A single one may be that in which vLLM
interrupted a request."""
SPENT = 3
"""A session whose segment is gone ends that many forwards after it was last forked. Until then the
contexts before it fork it: a text that was only scored took its context's session with it."""
_NUMBERS = itertools.count()
"""Sessions of all engines of a process have names of their own."""


class Owner:
    """What a segment has of vLLM. session: the one that it owns, or none any more. reader: a
    session that has read its context, and may have gone on or ended since. Freed with its
    segment."""

    __slots__ = ("__weakref__", "_ended", "reader", "session")

    def __init__(self, session: str | None, reader: str, ended: deque[str]) -> None:
        self.session, self.reader = session, reader
        self._ended = ended

    def __del__(self) -> None:
        # Python's collector may call this in any thread, where vLLM must not be called.
        if self.session is not None:
            self._ended.append(self.session)


@dataclass(frozen=True, eq=False)
class VllmSegment:
    """A run of tokens, after the past that it continues."""

    tokens: tuple[int, ...]
    before: Past | None
    owner: Owner
    sliceable: bool = True
    standalone: bool = False

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Of its ids: keys and values lie in vLLM's memory, which has a bound of its own."""
        return 8 * len(self.tokens)


def text_of(past: Past | None) -> list[int]:
    """All ids of a cached context."""
    parts: list[tuple[int, ...]] = []
    while past is not None:
        segment = past.segment
        if not isinstance(segment, VllmSegment):
            raise CallError(
                "vLLM cannot go on from a prefill that another engine computed",
                "leave --prefill and --prefill-store out: vLLM has a prefix cache of its own",
            )
        parts.append(segment.tokens[: past.stop])
        past = segment.before
    return list(itertools.chain.from_iterable(reversed(parts)))


@dataclass
class _Feeding:
    """A row on its way through vLLM. at: its number. session: by which it is read. fed: how many of
    its tokens the session was given. ends: how many it is to be given at a time, since vLLM gives
    the row after the last one. holds: whether the session keeps memory while it waits: once it has
    read something whole, vLLM does not interrupt it. logits: for each wanted position that came,
    the logits of a step, and which row of them."""

    at: int
    row: ForwardRow
    ends: deque[int]
    session: str = ""
    fed: int = 0
    holds: bool = False
    logits: list[tuple[torch.Tensor, int]] = field(default_factory=list)

    def next_tokens(self) -> tuple[int, ...]:
        """The tokens to feed next, which count as fed from now on."""
        begin, self.fed = self.fed, self.ends.popleft()
        return self.row.tokens[begin : self.fed]


class VllmModel(TokenizedModel):
    """A LanguageModel over an engine of sessions. Forwards of several threads take turns."""

    def __init__(self, engine: SessionEngine, texts: ModelTexts) -> None:
        super().__init__(texts)
        self.engine = engine
        self._lock = threading.Lock()
        self._ended: deque[str] = deque()
        self._spent: dict[str, int] = {}
        """The sessions of segments that are gone, each with the forwards that it has left."""
        self._owners: OrderedDict[str, ReferenceType[Owner] | None] = OrderedDict()
        """The sessions that are alive, least recently used first, each with its owner; None while a
        forward feeds it."""

    @property
    def sessions(self) -> int:
        """How many sessions are alive, those of freed segments not counted."""
        with self._lock:
            self._end_freed()
            self._end(list(self._spent))
            return len(self._owners)

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. As many steps of vLLM as the row with the most wanted positions has of
        them, in waves of as many rows as vLLM has slots."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        self._verify(rows)
        with self._lock, torch.inference_mode():
            results: list[ForwardResult] = []
            for i in range(0, len(rows), self.engine.max_sessions):
                results += self._wave(rows[i : i + self.engine.max_sessions])
            return results

    def _verify(self, rows: Sequence[ForwardRow]) -> None:
        size = self.vocabulary.size
        for row in rows:
            wrong = next((token for token in row.tokens if not 0 <= token < size), None)
            if wrong is not None:
                raise CallError(
                    f"{self.name} has no token {wrong}", f"its ids go from 0 to {size - 1}"
                )

    def _wave(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        self._end_freed()
        finished: dict[int, _Feeding] = {}
        try:
            with interrupts_wait():
                waiting = {one.session: one for one in self._begin(rows)}
            idle_steps = 0
            while waiting:
                with interrupts_wait():
                    self._make_room(waiting)
                    done = self.engine.step()
                    self._take(done.ready, waiting, finished)
                idle_steps = 0 if done.worked else idle_steps + 1
                if (
                    idle_steps
                    and not (self._end_some(waiting, half=True) or self._restart(waiting))
                    and idle_steps >= IDLE_STEPS
                ):
                    raise CallError(
                        f"a context of {self.name} does not fit into vLLM's memory for keys and "
                        "values",
                        "give it more, with the engine's option `memory`, or shorten the prompt",
                    )
            with interrupts_wait():
                return self._results(rows, finished)
        except BaseException:
            # A vLLM that has failed may not end requests any more. The caller is told the cause.
            with suppress(StepError):
                self._end([s for s, owner in self._owners.items() if owner is None])
            raise

    def _begin(self, rows: Sequence[ForwardRow]) -> list[_Feeding]:
        """Feeds each row's first chunk to the session that its past owns, or to a new one."""
        taken: list[tuple[ForwardRow, str | None]] = []
        for row in rows:
            session = None
            if row.past is not None and isinstance(row.past.segment, VllmSegment):
                owner = row.past.segment.owner
                if row.past.stop == row.past.segment.length and owner.session is not None:
                    session, owner.session = owner.session, None
                    self._owners[session] = None
                    self._owners.move_to_end(session)
            taken.append((row, session))
        new = sum(session is None for _, session in taken)
        self._end_some((), more=len(self._owners) + new - self.engine.max_sessions)
        feeding = []
        for i, (row, session) in enumerate(taken):
            ends = sorted({*(w + 1 for w in row.wanted), len(row.tokens)})
            one = _Feeding(i, row, deque(ends))
            tokens = one.next_tokens()
            if session is None:
                self._feed_whole(one)
            else:
                one.session, one.holds = session, True
                self.engine.feed(session, tokens)
            feeding.append(one)
        return feeding

    def _feed_whole(self, one: _Feeding) -> None:
        """Begins a session on all that a row has been fed, and on its past."""
        before = text_of(one.row.past)
        one.session, one.holds = str(next(_NUMBERS)), False
        fork = None
        if one.row.past is not None and isinstance(one.row.past.segment, VllmSegment):
            owner = one.row.past.segment.owner
            if owner.reader in self._owners:
                fork = (owner.reader, len(before))
                if owner.reader in self._spent:
                    self._spent[owner.reader] = SPENT
            elif one.row.past.stop == one.row.past.segment.length:
                owner.reader = one.session
        text = [*before, *one.row.tokens[: one.fed]]
        self.engine.feed(one.session, text, new=True, fork=fork)
        self._owners[one.session] = None

    def _take(
        self, ready: Sequence[str], waiting: dict[str, _Feeding], finished: dict[int, _Feeding]
    ) -> None:
        """Takes the rows of sessions that have read what they were fed, and feeds them more."""
        asked = [one for one in (waiting[s] for s in ready) if one.fed - 1 in one.row.wanted]
        if asked:
            asked.sort(key=lambda one: one.at)
            logits = self.engine.logits([one.session for one in asked])
            for i, one in enumerate(asked):
                one.logits.append((logits, i))
        for session in ready:
            one = waiting[session]
            if one.ends:
                one.holds = True
                self.engine.feed(session, one.next_tokens())
            else:
                finished[one.at] = waiting.pop(session)

    def _restart(self, waiting: dict[str, _Feeding]) -> int:
        """Ends all sessions but the first that hold memory and wait for more, and begins them
        anew, to wait for their turn without any; how many."""
        others = [one for one in list(waiting.values())[1:] if one.holds]
        for one in others:
            del waiting[one.session]
            self._end([one.session])
            self._feed_whole(one)
            waiting[one.session] = one
        return len(others)

    def _results(
        self, rows: Sequence[ForwardRow], finished: dict[int, _Feeding]
    ) -> list[ForwardResult]:
        segments = []
        for i, row in enumerate(rows):
            session = finished[i].session
            kept = session in self._owners
            owner = Owner(session if kept else None, session, self._ended)
            if kept:
                self._owners[session] = ref(owner)
            segments.append(VllmSegment(row.tokens, row.past, owner))
        places = [place for i in range(len(rows)) for place in finished[i].logits]
        if not places:
            none: LogProbRows = np.zeros((0, self.vocabulary.size), dtype=np.float32)
            return [ForwardResult(none, segment) for segment in segments]
        return forward_results(_together(places), rows, segments)

    # --------------------------------------------------------------------- room

    def _end_freed(self) -> None:
        """Ends the sessions of segments that went some forwards ago. Of the others, those whose
        segments are gone are the first to end where room is short."""
        self._end([session for session, left in self._spent.items() if left == 1])
        self._spent = {session: left - 1 for session, left in self._spent.items()}
        while self._ended:
            session = self._ended.popleft()
            if session in self._owners:
                self._spent[session] = SPENT
                self._owners.move_to_end(session, last=False)

    def _make_room(self, waiting: dict[str, _Feeding]) -> None:
        """Ends sessions that do not compute while vLLM's memory is nearly full, so that it need not
        interrupt those that do."""
        while self.engine.used > FULL and self._end_some(waiting, more=1):
            pass

    def _end_some(
        self, waiting: dict[str, _Feeding] | tuple[()], *, more: int = 0, half: bool = False
    ) -> int:
        """Ends the `more` least recently used sessions that do not compute, or half of them; how
        many it ended."""
        idle = [name for name in self._owners if name not in waiting]
        if not waiting:
            idle = [name for name in idle if self._owners[name] is not None]
        ended = idle[: (len(idle) + 1) // 2 if half else max(more, 0)]
        self._end(ended)
        return len(ended)

    def _end(self, sessions: Sequence[str]) -> None:
        for session in sessions:
            reference = self._owners.pop(session)
            self._spent.pop(session, None)
            owner = reference() if reference is not None else None
            if owner is not None:
                owner.session = None
        self.engine.close(sessions)


def _together(places: Sequence[tuple[torch.Tensor, int]]) -> torch.Tensor:
    """(len(places), V) rows of several steps' logits; of a single step, as is usual, without a
    copy."""
    first = places[0][0]
    if len(first) == len(places) and all(logits is first for logits, _ in places):
        return first
    return torch.stack([logits[i] for logits, i in places])

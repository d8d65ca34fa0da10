"""Which of llama.cpp's sequences holds which context, and what must be copied and computed before a
forward.

    sequences = Sequences(4)
    plans = sequences.plan(sequences.look([row, ...]))       # at most 4 rows
    plans[0].copied_from, plans[0].kept      # the sequence to copy, None for none; tokens that stay
    sequences.record(plans[0], segment)      # after the forward

A sequence holds the tokens of one context, and so each beginning of it. A context goes on in the
sequence that holds it, where nobody else needs what that holds beyond it; otherwise in a copy.
llama.cpp runs sequences in one batch only if their numbers are consecutive, so the rows of a
forward go into a window of neighbours: that in which most of them are already, and least is of
recent use. What the window held besides is overwritten, and computed again if it is asked for.

This module knows no library: it keeps books, which `fkdsl.models.llamacpp.model` carries out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import ReferenceType, ref

import numpy as np

from fkdsl.base.errors import InternalError
from fkdsl.models.interface import ForwardRow, Past

RECENT = 3
"""A context that was asked about in one of the last so many forwards is expected to be asked
again."""


class SequenceSegment:
    """A run of tokens behind a past. Its keys and values lie in llama.cpp's sequences, in none, one
    or several of them: `held` has for each sequence how many of the run's tokens it holds."""

    __slots__ = ("__weakref__", "before", "depth", "held", "past", "tokens")
    sliceable = True
    standalone = False

    def __init__(self, past: Past | None, tokens: tuple[int, ...]) -> None:
        self.past, self.tokens = past, tokens
        self.held: dict[int, int] = {}
        parent = segment_of(past)
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.before = length_of(past)

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of the books. The keys and values lie in the model's sequences, which have a bound
        of their own."""
        return 128 + 8 * len(self.tokens)


def segment_of(past: Past | None) -> SequenceSegment | None:
    if past is None:
        return None
    assert isinstance(past.segment, SequenceSegment)
    return past.segment


def length_of(past: Past | None) -> int:
    """Tokens of a past."""
    segment = segment_of(past)
    return 0 if past is None or segment is None else segment.before + past.stop


@dataclass(frozen=True, slots=True)
class Shared:
    """The longest beginning of a row's context that a sequence holds. length: its tokens; segment:
    the last of its segments, of which `count` tokens are in it; None for nothing. missing: the
    tokens between it and the row's own; between: the segments that they are of, each with how many
    of its tokens the context uses."""

    length: int
    segment: SequenceSegment | None
    count: int
    missing: tuple[int, ...]
    between: tuple[tuple[SequenceSegment, int], ...]


@dataclass(slots=True)
class Plan:
    """What is done for the row of an index: sequence `copied_from`, if not None, is copied into
    `sequence`; the first `kept` tokens of that stay, and `tokens` follow."""

    index: int
    row: ForwardRow
    sequence: int
    copied_from: int | None
    kept: int
    tokens: tuple[int, ...]
    shared: Shared

    @property
    def wanted(self) -> list[int]:
        """The indices into `tokens` of the row's wanted ones."""
        first = len(self.tokens) - len(self.row.tokens)
        return list(self.row.wanted) if not first else [first + w for w in self.row.wanted]


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows of a forward, what sequences hold of each now, and which row goes on in which sequence
    (`Sequences._going_on`)."""

    rows: Sequence[ForwardRow]
    beginnings: Sequence[Shared]
    going_on: Mapping[int, int]


@dataclass(slots=True)
class Held:
    """The content of a sequence: its segments, each with how many of its tokens, and when it was
    last used."""

    path: list[tuple[ReferenceType[SequenceSegment], int]] = field(default_factory=list)
    used: int = 0


class Sequences:
    """The books of `count` sequences."""

    def __init__(self, count: int) -> None:
        self._held = [Held() for _ in range(count)]
        self._clock = 0

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forgets what all sequences hold."""
        for i in range(len(self)):
            self._cut(i, 0)

    def empty(self, i: int) -> None:
        """Forgets what a sequence holds."""
        self._cut(i, 0)

    def length(self, i: int) -> int:
        """Tokens that a sequence holds, of segments that are gone too."""
        return sum(count for _, count in self._held[i].path)

    def is_alive(self, i: int) -> bool:
        """Whether somebody may still ask for what a sequence holds."""
        return any(reference() is not None for reference, _ in self._held[i].path)

    def alive(self) -> list[int]:
        """The sequences for which that is so."""
        return [i for i in range(len(self)) if self.is_alive(i)]

    def look(self, rows: Sequence[ForwardRow]) -> Asked:
        """What is known of rows until a sequence changes."""
        beginnings = [shared_beginning(row) for row in rows]
        return Asked(rows, beginnings, self._going_on(beginnings))

    def expected(self, asked: Asked) -> int:
        """How many sequences would hold these rows and whatever was asked about of late."""
        return len(asked.rows) + self.recent(asked.going_on)

    def recent(self, besides: Container[int] = ()) -> int:
        """How many sequences hold what was asked about of late."""
        return sum(
            self._is_recent(held) and self._tip_alive(i)
            for i, held in enumerate(self._held)
            if i not in besides
        )

    # ------------------------------------------------------------------ a forward

    def ends_of(self, rows: Sequence[ForwardRow]) -> list[int] | None:
        """The sequences in which rows of one token each go on, as in most decoding steps: each ends
        with the row's past, and they are neighbours. None where it is not so; `plan` then says what
        is to be done. Nothing is to be copied or cut."""
        found: dict[int, None] = {}
        for row in rows:
            past = row.past
            if past is None or len(row.tokens) != 1:
                return None
            segment = segment_of(past)
            assert segment is not None
            for s, count in segment.held.items():
                path = self._held[s].path
                if count == past.stop and s not in found and path[-1][0]() is segment:
                    found[s] = None
                    break
            else:
                return None
        return list(found) if max(found) - min(found) == len(rows) - 1 else None

    def went_on(self, sequence: int, segment: SequenceSegment) -> None:
        """Enters that a sequence of `ends_of` has gone on by a segment."""
        held = self._held[sequence]
        held.path.append((ref(segment), segment.length))
        segment.held[sequence] = segment.length
        held.used = self._clock

    def tick(self) -> None:
        """Begins a forward of which no plan is made."""
        self._clock += 1

    def order(self, rows: Sequence[ForwardRow]) -> list[int]:
        """The order in which more rows than there are sequences are computed: first those whose
        context a sequence holds, so that the others do not overwrite it unused."""

        def absent(i: int) -> bool:
            segment = segment_of(rows[i].past)
            return segment is not None and not segment.held

        return sorted(range(len(rows)), key=absent)

    def plan(self, asked: Asked) -> list[Plan]:
        """A plan for each row, no more of them than there are sequences. First all copies are made,
        then all cuts: no sequence that is copied is overwritten by another copy."""
        self._clock += 1
        rows, shared, going_on = asked.rows, asked.beginnings, asked.going_on
        window = self._window(len(rows), going_on)
        place = {i: s for s, i in going_on.items() if s in window}
        free = [s for s in window if s not in going_on]
        for i, beginning in enumerate(shared) if free else ():
            # What is overwritten anyway goes to a row that begins with it. After this no row
            # without a place begins with what is overwritten, so its source stays until the cuts.
            own = next((s for s in self._holders(beginning) if s in free), None)
            if i not in place and own is not None:
                place[i] = own
                free.remove(own)
        plans = []
        for i, (row, beginning) in enumerate(zip(rows, shared, strict=True)):
            source = None
            if i not in place:
                place[i] = free.pop(0)
                source = min(self._holders(beginning), default=None)
            tokens = (*beginning.missing, *row.tokens)
            plans.append(Plan(i, row, place[i], source, beginning.length, tokens, beginning))
        return plans

    def record(self, plan: Plan, segment: SequenceSegment) -> None:
        """Enters that a plan was carried out. segment: of the row's tokens."""
        held = self._held[plan.sequence]
        for step, count in plan.shared.between:
            if held.path and held.path[-1][0]() is step:
                held.path.pop()  # a part of it was there
            held.path.append((ref(step), count))
            step.held[plan.sequence] = count
        held.path.append((ref(segment), segment.length))
        segment.held[plan.sequence] = segment.length
        held.used = self._clock

    def prepare(self, plan: Plan) -> None:
        """Enters the copy of a plan."""
        if plan.copied_from is None:
            return
        source = self._held[plan.copied_from].path
        self._cut(plan.sequence, 0)
        self._held[plan.sequence].path = list(source)
        for reference, count in source:
            if (segment := reference()) is not None:
                segment.held[plan.sequence] = count

    def cut(self, plan: Plan) -> bool:
        """Enters the cut of a plan; after the copies of all. Whether anything is cut off."""
        segment = plan.shared.segment
        depth = 0 if segment is None else segment.depth + 1
        return self._cut(plan.sequence, depth, plan.shared.count)

    def _cut(self, i: int, segments: int, count: int = 0) -> bool:
        """Leaves the first so many segments of a sequence, and of the last one `count` tokens.
        Whether it held more."""
        path = self._held[i].path
        if len(path) == segments and (not segments or path[-1][1] == count):
            return False
        for reference, _ in path[segments:]:
            if (segment := reference()) is not None:
                segment.held.pop(i, None)
        del path[segments:]
        if segments:
            path[-1] = (path[-1][0], count)
            if (last := path[-1][0]()) is not None:
                last.held[i] = count
        return True

    # ------------------------------------------------------------------- choices

    def _going_on(self, shared: Sequence[Shared]) -> dict[int, int]:
        """By sequence, the row that goes on in it: the sequence holds the row's whole beginning,
        and nothing beyond it that somebody may ask for."""
        rows: dict[int, int] = {}
        for i, beginning in enumerate(shared):
            ends = (s for s in self._holders(beginning) if s not in rows)
            if (s := next((s for s in ends if self._ends(s, beginning)), None)) is not None:
                rows[s] = i
        return rows

    def _ends(self, s: int, beginning: Shared) -> bool:
        """Whether nothing of a sequence behind a beginning is alive."""
        assert beginning.segment is not None
        path = self._held[s].path
        depth = beginning.segment.depth
        if path[depth][1] > beginning.count:
            return False  # the rest of the segment, which is alive
        return all(reference() is None for reference, _ in path[depth + 1 :])

    def _window(self, n: int, going_on: Mapping[int, int]) -> range:
        """The n neighbours in which the fewest rows must be copied and the least is lost."""
        if n > len(self):
            raise InternalError("more rows than sequences")
        if len(going_on) == n and max(going_on) - min(going_on) == n - 1:
            return range(min(going_on), max(going_on) + 1)
        gain = np.zeros(len(self) + 1)
        for s, held in enumerate(self._held):
            if s in going_on:
                gain[s + 1] = 1.0
            elif self._is_recent(held) and self._tip_alive(s):
                gain[s + 1] = -2.0
        total = np.cumsum(gain)
        first = int(np.argmax(total[n:] - total[: len(total) - n]))
        return range(first, first + n)

    def _is_recent(self, held: Held) -> bool:
        return bool(held.path) and self._clock - held.used < RECENT

    def _tip_alive(self, i: int) -> bool:
        path = self._held[i].path
        return bool(path) and path[-1][0]() is not None

    @staticmethod
    def _holders(beginning: Shared) -> list[int]:
        """The sequences that hold a beginning; none for the empty one."""
        held = {} if beginning.segment is None else beginning.segment.held
        return [s for s, count in held.items() if count >= beginning.count]


def shared_beginning(row: ForwardRow) -> Shared:
    """The longest beginning of a row's context that some sequence holds."""
    missing: list[tuple[int, ...]] = []
    between: list[tuple[SequenceSegment, int]] = []
    past, found, count = row.past, None, 0
    while past is not None and found is None:
        segment = segment_of(past)
        assert segment is not None
        count = min(past.stop, max(segment.held.values(), default=0))
        if count:
            found = segment
        if count < past.stop:
            missing.append(segment.tokens[count : past.stop])
            between.append((segment, past.stop))
        past = segment.past
    tokens = tuple(token for run in reversed(missing) for token in run)
    length = 0 if found is None else found.before + count
    return Shared(length, found, count, tokens, tuple(reversed(between)))


def shared_missing(asked: Asked) -> list[SequenceSegment]:
    """The segments that no sequence holds and that several rows begin with: each is computed once,
    before the rows. Only the last of those that follow one another, since its row takes the others
    along."""
    if not any(beginning.between for beginning in asked.beginnings):
        return []
    needed: dict[int, list[SequenceSegment]] = {}
    for beginning in asked.beginnings:
        for segment, _ in beginning.between:
            needed.setdefault(id(segment), []).append(segment)
    shared = [found[0] for found in needed.values() if len(found) > 1]
    inner = {id(segment_of(segment.past)) for segment in shared}
    return [segment for segment in shared if id(segment) not in inner]

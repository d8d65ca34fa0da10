"""A particle's state: where the program stands, its variables and its contexts, as one small
immutable value.

Forking copies a reference. Two states with equal `key()`s have the same future.
`fkdsl.machine.state_json` writes a state to JSON and back.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.base.value_keys import state_key
from fkdsl.engine.cached_transformer import Context
from fkdsl.inference.interface import Charge
from fkdsl.values.documents import Document


class DrawnValue(NamedTuple):
    """A value that was drawn, and the line of the program's own files that drew it."""

    place: Span
    value: Any


class Refusal(NamedTuple):
    """Why an outcome of a draw could not be: the line that refused it, and how. tried: whether the
    outcome was taken on trial and died at that line; else a mask refused it."""

    place: Span
    tried: bool


class Alternatives(NamedTuple):
    """The likeliest outcomes of a draw, likeliest first, and what it gave, which may be the last.

    probabilities: of each under the distribution that was drawn from, before any mask. refused: why
    each could not be, None where nothing is known against it. drawn: which of them was drawn; -1
    where none was, and the particle died.
    """

    values: tuple[Any, ...]
    probabilities: tuple[float, ...]
    refused: tuple[Refusal | None, ...]
    drawn: int


class TextGuess(NamedTuple):
    """What a text that is being drawn by look-ahead has been given credit for. power: how far it
    trusts the surrogate. log_h: the log of h^power after its last token (nats), 0 where the
    particle weighs nothing for it. since: draws of the particle since that token, 0 where log_h
    is."""

    power: float
    log_h: float = 0.0
    since: int = 0


class ContextState(NamedTuple):
    """A context within a particle.

    model: the declared model's name, '' for the default. node: its tokens, as a handle into that
    model's prefix tree. start: how many of them are the prompt. skip: how many bytes these are.
    done: an end was drawn or observed. pending: what a draw of `Continues` has settled about the
    next token: True, it goes on with the word; False, it does not; None, nothing. guess: of the
    text that is being drawn from it; None where none looks ahead.
    """

    model: str
    node: Context
    start: int
    skip: int
    done: bool = False
    pending: bool | None = None
    guess: TextGuess | None = None


@dataclass(frozen=True)
class Frame:
    """A function in progress: the next instruction, the slots' values (`UNSET` before assignment),
    and the caller's slot that waits for its value."""

    function: str
    pc: int
    slots: tuple[Any, ...]
    target: int


class DraftBlock(NamedTuple):
    """A block of drafted tokens: the model whose they are, and the context that it begins at."""

    model: str
    base: Context


class Twist(NamedTuple):
    """What `twist` last added, to be taken back: nats, and the line that did."""

    log_weight: float
    place: Span


class Guess(NamedTuple):
    """A guess of what is to come that fkdsl itself has added to the weight, to be taken back: whose
    it is, and nats. The program's own is its Twist."""

    owner: str
    log_weight: float


class Status(Enum):
    RUNNING = "running"
    RETURNED = "returned"
    DEAD = "dead"


class Unset:
    """What a slot holds before its variable is assigned."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


@dataclass(frozen=True)
class ProgramState:
    """frames: outermost first, none once it has returned or died. contexts: the table that
    ContextRefs index, without those that no variable reaches. died: the condition, factor or
    observe that gave weight zero. twist, guesses: what is to be taken back of the weight; of
    guesses each owner has at most one, and they are in the order of the owners. evidence: the
    documents that were drawn on the way here, each once. charges: what each
    of them, and each look ahead, added to the log weight (nats) in the step that led here, in
    order; drawn: what was drawn in that step; alternatives: what else each of these draws might
    have given, where the run records it (None for a draw whose outcomes cannot be listed), and of
    one more draw where that left nothing; draft_block: the block of drafted tokens that it is in,
    by which its draws go and not their law; unmeasured: bytes made since its memory was last
    measured. None of the five is part of the state.
    """

    status: Status
    frames: tuple[Frame, ...] = ()
    contexts: tuple[ContextState, ...] = ()
    value: Any = None
    died: Span | None = None
    twist: Twist | None = None
    guesses: tuple[Guess, ...] = ()
    evidence: tuple[Document, ...] = ()
    charges: tuple[Charge, ...] = field(default=(), compare=False, repr=False)
    drawn: tuple[DrawnValue, ...] = field(default=(), compare=False, repr=False)
    alternatives: tuple[Alternatives | None, ...] = field(default=(), compare=False, repr=False)
    draft_block: DraftBlock | None = field(default=None, compare=False, repr=False)
    unmeasured: int = field(default=0, compare=False, repr=False)

    def key(self) -> Hashable:
        """Equal for equal futures; tokens count by id here, where programs compare them by text."""
        if self.status is not Status.RUNNING:
            return (self.status, self.died, state_key(self.value), self.evidence)
        return (
            tuple((f.function, f.pc, f.target, state_key(f.slots)) for f in self.frames),
            self.contexts,
            self.twist.log_weight if self.twist is not None else 0.0,
            self.guesses,
            self.evidence,
        )


def frame_of(function: str, pc: int, slots: tuple[Any, ...], target: int) -> Frame:
    """A Frame, made in half the time."""
    frame = object.__new__(Frame)
    fields = frame.__dict__  # a call of update() takes longer
    fields["function"], fields["pc"] = function, pc
    fields["slots"], fields["target"] = slots, target
    return frame


def running_state(
    frames: tuple[Frame, ...],
    contexts: tuple[ContextState, ...],
    twist: Twist | None,
    evidence: tuple[Document, ...],
    charges: tuple[Charge, ...],
    drawn: tuple[DrawnValue, ...],
    unmeasured: int,
) -> ProgramState:
    """The state of a running particle that guesses nothing, made in a quarter of the time: what is
    as the class has it is not set."""
    x = object.__new__(ProgramState)
    fields = x.__dict__  # a call of update() takes longer
    fields["status"], fields["frames"], fields["contexts"] = Status.RUNNING, frames, contexts
    fields["twist"], fields["evidence"] = twist, evidence
    fields["charges"], fields["drawn"], fields["unmeasured"] = charges, drawn, unmeasured
    return x

"""The intermediate representation: a program as straight code with labels, every name resolved to a
slot.

    Program     functions by name, the entry's name, what it may call and which models it names
    Function    parameters first among the slots; a body of instructions
    Instr       one effect each: Set, Draw, Observe, Condition, Factor, Checkpoint, Append, Call, Return, and control
    Expr        pure: it may read contexts and ask for log-probabilities, and it draws nothing

A segment is what runs from one Draw to the next (`segments.py`). A pass is a function Program ->
Program; it rewrites instructions, never closures, and `verify` holds its result to the laws below.

What a node reads and writes stands beside its fields, and nowhere else: a field that is a slot, or
a tuple of slots, says READS, WRITES, CHANGES or BINDS; `contexts` says what running it does to the
contexts that it is handed. The passes read that through `effects.py`, and tests/ir/test_effects.py
holds it to what the built op really does.

Laws: every label that is jumped to stands exactly once; slots are in range; the last instruction
does not fall off the end; Draw sites are unique in the program; a called function exists and is
called with as many arguments as it has parameters; `Invoke` calls only functions without weight or
draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Span

SLOTS = "slots"
READS: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"reads"})}
"""Metadata of a field: the node reads the slot."""
WRITES: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"writes"})}
"""... assigns it."""
CHANGES: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"reads", "writes"})}
"""... assigns it by what it holds."""
BINDS: Mapping[str, frozenset[str]] = {SLOTS: frozenset({"binds"})}
"""... assigns it for the expressions within; nothing outside reads it."""


class Contexts(IntEnum):
    """What running a node does to the contexts that its values refer to; what is within it speaks
    for itself."""

    NONE = 0
    LOOKS = 1
    EXTENDS = 2


CONTEXT_ATTRIBUTES = ("text", "tokens", "done")
"""Attributes that look at a context."""

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Expr:
    span: Span = field(compare=False, repr=False)

    @property
    def contexts(self) -> Contexts:
        return Contexts.NONE


@dataclass(frozen=True)
class Const(Expr):
    """A value of the language: bool, int, float, str, None, EOS."""

    value: Any


@dataclass(frozen=True)
class Local(Expr):
    """The value of a slot of the running function's frame."""

    slot: int = field(metadata=READS)


@dataclass(frozen=True)
class Operate(Expr):
    """An operator of `fkdsl.values.operators`: add, sub, ..., index, slice, attribute (name as a
    Const), list."""

    operator: str
    args: tuple[Expr, ...]

    @property
    def contexts(self) -> Contexts:
        match self.operator, self.args:
            case "attribute", (_, Const(value=name)) if name in CONTEXT_ATTRIBUTES:
                return Contexts.LOOKS
        return Contexts.NONE


@dataclass(frozen=True)
class RecordOf(Expr):
    names: tuple[str, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class And(Expr):
    operands: tuple[Expr, ...]


@dataclass(frozen=True)
class Or(Expr):
    operands: tuple[Expr, ...]


@dataclass(frozen=True)
class Choose(Expr):
    """`then if test else other`."""

    test: Expr
    then: Expr
    other: Expr


@dataclass(frozen=True)
class Format(Expr):
    """An f-string: texts and (value, format specification) pairs."""

    parts: tuple[str | tuple[Expr, str], ...]


@dataclass(frozen=True)
class Clause:
    """`for targets in iterable if conditions`; targets are slots."""

    targets: tuple[int, ...] = field(metadata=BINDS)
    iterable: Expr
    conditions: tuple[Expr, ...]


@dataclass(frozen=True)
class Gather(Expr):
    """A comprehension: the list of the elements."""

    element: Expr
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Builtin(Expr):
    """A call of a built-in of `fkdsl.values.signatures`, every parameter given by position."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Model(Expr):
    """An operation on contexts: prompt, chat, fork, logprob, mixture, choice, continues. `model`: a
    declared name, or '' for the default; used by prompt and chat only."""

    operation: str
    args: tuple[Expr, ...]
    model: str = ""

    @property
    def contexts(self) -> Contexts:
        return Contexts.LOOKS


@dataclass(frozen=True)
class Invoke(Expr):
    """A call of a pure function of the program."""

    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Marked(Expr):
    """A part of a predicate that stands for a condition; its value is the test's."""

    test: Expr
    place: Span


@dataclass(frozen=True)
class Extern(Expr):
    """A call of a Python function that the program declares."""

    name: str
    args: tuple[Expr, ...]


# --------------------------------------------------------------- instructions


@dataclass(frozen=True)
class Instr:
    span: Span = field(compare=False, repr=False)

    @property
    def contexts(self) -> Contexts:
        return Contexts.NONE


@dataclass(frozen=True)
class Label(Instr):
    name: str


@dataclass(frozen=True)
class Set(Instr):
    """Slots := value; several slots take a list or pair apart."""

    targets: tuple[int, ...] = field(metadata=WRITES)
    value: Expr


@dataclass(frozen=True)
class Evaluate(Instr):
    """An expression for its effect on a context."""

    value: Expr


@dataclass(frozen=True)
class Guide:
    """How a draw looks ahead to the conditions after it (fkdsl.proposals.propose); what the
    optimiser adds to a Draw.

    mask: a predicate of the token in the draw's target, true of every token that can live; reads:
    the other slots that it looks at. tried: whether outcomes are tried. absorbed: the conditions
    that the draw looks ahead to. text: the constraint on the text that the draw is part of. dear:
    whether trying an outcome costs much: Python of the program's, a parse. glances: how many
    conditions right behind the draw look at nothing but values and contexts' texts; tells_all:
    whether nothing else can weigh before the next draw. so_far: what they say of the text after the
    token.
    """

    mask: Expr | None = None
    reads: tuple[int, ...] = field(default=(), metadata=READS)
    tried: bool = False
    absorbed: tuple[Absorbed, ...] = ()
    text: TextGuide | None = None
    dear: bool = False
    glances: int = 0
    tells_all: bool = False
    so_far: SoFar | None = None


@dataclass(frozen=True)
class SoFar:
    """language: an expression of a `Language` that the text of the drawn context is in after every
    token with which a particle lives. reads: the slots that it looks at. whole: whether it and the
    mask leave nothing to be tried. parts: what each condition says of the language."""

    language: Expr
    reads: tuple[int, ...] = field(metadata=READS)
    whole: bool
    parts: tuple[tuple[Span, Expr], ...]


@dataclass(frozen=True)
class TextGuide:
    """language: an expression of a `Language` (engine.constraints) that the finished text is in
    wherever a particle lives. ends, origin, stop: slots, as in program.code.TextGuide. ahead:
    whether the budget is looked at. decided: the conditions that it decides whole. parts: what each
    condition says of the language."""

    language: Expr
    ends: int = field(metadata=READS)
    origin: int = field(metadata=READS)
    stop: int = field(metadata=READS)
    ahead: bool = True
    decided: tuple[Span, ...] = ()
    parts: tuple[tuple[Span, Expr], ...] = ()


@dataclass(frozen=True)
class Absorbed:
    """A condition that a draw looks ahead to, and how; or one that none does, and why."""

    span: Span
    means: str


@dataclass(frozen=True)
class Draw(Instr):
    """target ~ distribution: one step t of the program, unless it chooses its own by checkpoints.
    The guide's mask reads the target for the token that would be drawn."""

    target: int = field(metadata=WRITES)
    distribution: Expr
    site: int
    guide: Guide | None = None

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Observe(Instr):
    """log G += log p(value); on a token distribution the value is appended to its contexts. weighs:
    False where only that is left of it."""

    value: Expr
    distribution: Expr
    weighs: bool = True

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Condition(Instr):
    """Weight 0 unless the test is true. early: a pass added it, ahead of its time: it adds no
    mistakes of its own, a test that fails counts as true."""

    test: Expr
    early: bool = False


@dataclass(frozen=True)
class Factor(Instr):
    value: Expr


@dataclass(frozen=True)
class Checkpoint(Instr):
    pass


@dataclass(frozen=True)
class Append(Instr):
    """`lm += text` on a context; on other values, slot := slot + value."""

    target: int = field(metadata=CHANGES)
    value: Expr

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Call(Instr):
    """target ~ function(args): a frame of its own."""

    target: int = field(metadata=WRITES)
    function: str
    args: tuple[Expr, ...]

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Return(Instr):
    value: Expr


@dataclass(frozen=True)
class Jump(Instr):
    label: str


@dataclass(frozen=True)
class Branch(Instr):
    """Goes on if the test is true, else to the label."""

    test: Expr
    otherwise: str


@dataclass(frozen=True)
class Next(Instr):
    """The next item of the list in slot `items`, counted by slot `counter`, into `targets`; at the
    end, to `done`."""

    items: int = field(metadata=READS)
    counter: int = field(metadata=CHANGES)
    targets: tuple[int, ...] = field(metadata=WRITES)
    done: str


@dataclass(frozen=True)
class Function:
    """slots: a name for each slot, the parameters first; those of no user's variable begin with a
    dot."""

    name: str
    parameters: int
    slots: tuple[str, ...]
    body: tuple[Instr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """entry: the function that `fkdsl run` runs. outside: conditions that no draw looks ahead to,
    and why, for `explain`. warnings: what passes found."""

    entry: str
    functions: dict[str, Function]
    outside: tuple[Absorbed, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

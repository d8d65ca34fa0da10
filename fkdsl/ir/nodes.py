"""The intermediate representation: a program as straight code with labels, every name resolved to a
slot.

    Program     functions by name, and which of them is run
    Function    parameters first among the slots; a body of instructions
    Instr       one effect each: Set, Draw, Observe, Condition, Factor, Twist, Checkpoint, Append,
                Call, Return, and control
    Expr        pure: it may read contexts and ask for log-probabilities, and it draws nothing

A segment is what runs from one Draw to the next (`segments.py`). A pass is a function Program ->
Program; it rewrites instructions, never closures, and `verify` holds its result to the laws below.

What a node reads and writes stands beside its fields, and nowhere else: a field that is a slot, or
a tuple of slots, says READS, WRITES, CHANGES, BINDS or NAMES (machine/slots.py); `contexts` says
what running it does to the contexts that it is given. Passes read that through `effects.py`, and
tests/ir/test_effects.py holds it to what the built op really does.

Laws: every label that is jumped to stands exactly once; slots are in range; the last instruction
does not fall off the end; Draw sites are unique in the program; a called function exists and is
called with as many arguments as it has parameters; `Invoke` calls only functions without weight or
draws.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.machine.proposal_plan import Absorbed, ProposalPlan
from fkdsl.machine.slots import BINDS, CHANGES, NAMES, READS, WRITES


class Contexts(IntEnum):
    """What running a node does to the contexts that its values refer to. The nodes within it have
    answers of their own."""

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
    """An operation on contexts: prompt, chat, fork, logprob, mixture, choice, continues; and
    log_density, which is `logprob` of what gives no tokens. `model`: a declared name, or '' for the
    default; used by prompt and chat only."""

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
    """A part of a mask's predicate, and the place of the condition that it comes from. Its value is
    that of the test."""

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
class DrawnText(Instr):
    """Marks a function that draws a text token by token, in its loop, where the text so far is
    known. It does nothing; by it passes guide the text.

    until, max_tokens, closed: parameters: the stops that end the text, how many tokens it has at
    most, and whether a stop or EOS must end it.
    context: what it is drawn from. ends: the stops as a list; stop: the context's number of tokens
    at which the text ends; text: the text so far.
    """

    until: int = field(metadata=NAMES)
    max_tokens: int = field(metadata=NAMES)
    closed: int = field(metadata=NAMES)
    context: int = field(metadata=NAMES)
    ends: int = field(metadata=NAMES)
    stop: int = field(metadata=NAMES)
    text: int = field(metadata=NAMES)


@dataclass(frozen=True)
class Set(Instr):
    """targets := value; several targets take the items of a list or pair."""

    targets: tuple[int, ...] = field(metadata=WRITES)
    value: Expr


@dataclass(frozen=True)
class Evaluate(Instr):
    """An expression for its effect on a context."""

    value: Expr


@dataclass(frozen=True)
class Draw(Instr):
    """target ~ distribution: one step t of the program, unless it chooses its own by checkpoints.
    The plan's mask reads the target for the token that would be drawn."""

    target: int = field(metadata=WRITES)
    distribution: Expr
    site: int
    plan: ProposalPlan[Expr] | None = None

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Observe(Instr):
    """log G += log p(value); on a token distribution the value is also appended to its contexts.
    weighs: False where blame has taken the weight out, and only the appending is left."""

    value: Expr
    distribution: Expr
    weighs: bool = True

    @property
    def contexts(self) -> Contexts:
        return Contexts.EXTENDS


@dataclass(frozen=True)
class Condition(Instr):
    """Weight 0 unless the test is true. early: a pass put it before the condition of the program
    that it follows from, so it may add no mistake: a test without a value counts as true."""

    test: Expr
    early: bool = False


@dataclass(frozen=True)
class Factor(Instr):
    value: Expr


@dataclass(frozen=True)
class Twist(Factor):
    """A factor that is taken back at the next twist, or when the program returns."""


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
    """target ~ function(args), which runs in a frame of its own."""

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
    """slots: a name for each slot, the parameters first. A name that begins with a dot is of no
    variable of the program."""

    name: str
    parameters: int
    slots: tuple[str, ...]
    body: tuple[Instr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """entry: the function that `fkdsl run` runs. outside: the conditions that no draw looks ahead
    to, and why, for `explain`. warnings: what passes warn of."""

    entry: str
    functions: dict[str, Function]
    outside: tuple[Absorbed, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

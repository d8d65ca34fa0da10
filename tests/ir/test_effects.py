"""What each node class declares that it reads and writes is what its op really does, found by
running it."""

import pytest

import fkdsl.values.library  # noqa: F401  (registers the built-ins)
from fkdsl.base.errors import InternalError
from fkdsl.base.random import KeyedRng
from fkdsl.base.spans import Source, Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.ir import effects
from fkdsl.ir import nodes as ir
from fkdsl.ir.build import Environment, build
from fkdsl.ir.verify import verify
from fkdsl.machine.ops import DrawOp, ReturnOp
from fkdsl.machine.particle import ActiveFrame, RunningParticle
from fkdsl.machine.proposal_plan import (
    Absorbed,
    CompletionConstraint,
    PrefixConstraint,
    ProposalPlan,
    WordsAhead,
)
from fkdsl.machine.state import UNSET
from fkdsl.models.table import TableModel
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.propose import propose
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.values.faults import NeedRows
from fkdsl.values.values import ContextRef

AT = Span(Source("test", "x"), 0, 1)
TABLE = TableModel("m", {"": {"a": 0.5, "b": 0.3, None: 0.2}})
LM, TWO, TEXT, LIST, PAIR, NONE, HALF, YES, UNTIL, STOP, NEW, NEWER, BOUND = range(13)
VALUES = [ContextRef(0), 2, "a", ("a", "b"), (1, 2), 0, 0.5, True, "", 3, UNSET, UNSET, UNSET]


def local(slot):
    return ir.Local(AT, slot)


def const(value):
    return ir.Const(AT, value)


def planned(**fields):
    return ir.Draw(AT, NEW, local(LM), 1, ProposalPlan(absorbed=(Absorbed(AT, "mask"),), **fields))


def texts(slot):
    return ir.Builtin(AT, ".texts", (ir.Operate(AT, "list", (local(slot),)),))


GATHER = ir.Gather(
    AT,
    ir.Operate(AT, "add", (local(BOUND), local(TEXT))),
    (ir.Clause((BOUND,), local(LIST), (local(YES),)),),
)
SAMPLES = [
    ir.Label(AT, "here"),
    ir.DrawnText(AT, UNTIL, TWO, YES, LM, LIST, STOP, TEXT),
    ir.Set(AT, (NEW,), local(TWO)),
    ir.Set(AT, (NEW, NEWER), local(PAIR)),
    ir.Evaluate(AT, local(TWO)),
    ir.Draw(AT, NEW, local(LM), 1),
    planned(mask=ir.Operate(AT, "ne", (local(NEW), local(TEXT))), reads=(TEXT,)),
    planned(completion=CompletionConstraint(texts(TEXT), UNTIL, NONE, STOP)),
    planned(prefix=PrefixConstraint(((AT, texts(TEXT)),), (), (TEXT,), True)),
    planned(words=WordsAhead(texts(TEXT), NONE)),
    ir.Observe(AT, local(TEXT), local(LM)),
    ir.Condition(AT, local(YES)),
    ir.Factor(AT, local(HALF)),
    ir.Twist(AT, local(HALF)),
    ir.Checkpoint(AT),
    ir.Append(AT, TWO, local(HALF)),
    ir.Append(AT, LIST, local(LIST)),
    ir.Append(AT, LM, local(TEXT)),
    ir.Call(AT, NEW, "called", (local(TWO),)),
    ir.Return(AT, local(TWO)),
    ir.Jump(AT, "end"),
    ir.Branch(AT, local(YES), "end"),
    ir.Next(AT, LIST, NONE, (NEW,), "end"),
    *(
        ir.Set(AT, (NEW,), e)
        for e in (
            const(1),
            local(TWO),
            ir.Operate(AT, "add", (local(TWO), local(HALF))),
            ir.Operate(AT, "attribute", (local(LM), const("text"))),
            ir.RecordOf(AT, ("x",), (local(TWO),)),
            ir.And(AT, (local(YES), local(YES))),
            ir.Or(AT, (local(YES), local(YES))),
            ir.Choose(AT, local(YES), local(TWO), local(TWO)),
            ir.Format(AT, ("x", (local(TWO), ""))),
            GATHER,
            ir.Builtin(AT, "len", (local(TEXT),)),
            ir.Model(AT, "fork", (local(LM),)),
            ir.Model(AT, "logprob", (local(LM), local(TEXT))),
            ir.Model(AT, "prompt", (local(TEXT),)),
            ir.Invoke(AT, "called", (local(TWO),)),
            ir.Marked(AT, local(YES), AT),
            ir.Extern(AT, "outer", (local(TWO),)),
        )
    ),
]


class Watched(list):
    """A list that notes which of its items are looked at and replaced."""

    def __init__(self, items):
        super().__init__(items)
        self.read, self.written = set(), set()

    def __getitem__(self, at):
        self.read.add(at)
        return super().__getitem__(at)

    def __setitem__(self, at, value):
        self.written.add(at)
        super().__setitem__(at, value)


def execute(particle, op):
    """Runs an op where its particle stands; a draw is made. Raises NeedRows."""
    if not isinstance(op, DrawOp):
        op.run(particle, particle.frames[0])
        return
    d = op.distribution(particle.frames[0])
    settings = ProposalSettings(lookahead=CompletionLookahead({}))
    draw = OpenDraw(particle, op, d, settings, LookaheadCache())
    request = draw.requests()
    particle.need(request.rows if request is not None else [])
    propose(draw)


def run(instr):
    """(slots read, slots written, what was done to the contexts that were there) by the op of an
    instruction."""
    names = tuple(f"v{i}" for i in range(len(VALUES)))
    end = (ir.Label(AT, "end"), ir.Return(AT, const(None)))
    functions = {
        "main": ir.Function("main", 0, names, (instr, *end), AT),
        "called": ir.Function("called", 1, ("x",), (ir.Return(AT, local(0)),), AT),
    }
    code = build(ir.Program("main", functions), Environment(externs={"outer": lambda x: x}))
    engine = CachedTransformer(TABLE)
    particle = RunningParticle(code, {"": engine}, KeyedRng())
    particle.start("", ())
    particle.frames = [ActiveFrame("main", 0, [], 0, particle)]
    while True:
        slots, contexts = Watched(VALUES), Watched(list(particle.contexts)[:1])
        particle.frames[0].slots, particle.contexts, before = slots, contexts, list(contexts)
        contexts.read.clear()
        op = code.functions["main"].ops[0]
        try:
            execute(particle, op)
        except NeedRows as need:
            particle.rows |= {node: engine.log_probs([node])[0] for _, node in need.wanted}
            continue
        if len(particle.frames) > 1:  # what a call returns is assigned when it returns
            inner = particle.frames[-1]
            returned = code.functions["called"].ops[0]
            assert isinstance(returned, ReturnOp)
            returned.run(particle, inner)
        does = (
            ir.Contexts.EXTENDS
            if list(particle.contexts)[:1] != before
            else ir.Contexts.LOOKS
            if contexts.read
            else ir.Contexts.NONE
        )
        return slots.read, slots.written, does


def classes(base):
    return {base, *(c for sub in base.__subclasses__() for c in classes(sub))} - {ir.Instr, ir.Expr}


def sampled(of):
    return [
        i
        for i in SAMPLES
        if type(i) is of or any(type(n) is of for n in effects.within(i) if n is not i)
    ]


@pytest.mark.parametrize(
    "of",
    sorted(
        classes(ir.Instr) | classes(ir.Expr) | set(effects.NODES[2:]),
        key=lambda c: c.__name__,
    ),
)
def test_a_node_reads_and_writes_what_it_declares(of):
    samples = sampled(of)
    assert samples, (
        f"add a sample of {of.__name__}, so that what it reads and writes is held to what its op "
        "does"
    )
    read, written = set(), set()
    for instr in samples:
        if isinstance(instr, ir.Label | ir.DrawnText):  # no op is built of them
            continue
        reads, writes, contexts = run(instr)
        own = effects.bound(instr)
        assert reads - own <= effects.reads(instr), instr
        assert writes - own <= effects.writes(instr), instr
        assert contexts <= max(
            n.contexts for n in effects.within(instr) if isinstance(n, ir.Instr | ir.Expr)
        ), instr
        read |= reads - own
        written |= writes - own
    assert read == set().union(*map(effects.reads, samples))
    # `lm += text` writes the context and leaves the slot: which of both it is shows only as it
    # runs.
    assert written | {LM} == set().union(*map(effects.writes, samples)) | {LM}


def test_every_class_of_node_is_one_that_effects_walks_into():
    """A node that `within` passed by would read nothing."""
    held = {type(n) for i in SAMPLES for n in effects.within(i)}
    assert classes(ir.Instr) | classes(ir.Expr) <= held


def test_a_new_node_class_without_a_sample_would_fail():
    class Swap(ir.Instr):
        pass

    assert not sampled(Swap)
    assert Swap in classes(ir.Instr)


def test_renumbering_moves_every_slot_of_a_plan():
    draw = planned(completion=CompletionConstraint(texts(TEXT), UNTIL, NONE, STOP))
    moved = effects.renumbered(draw, {slot: slot + 20 for slot in range(len(VALUES))})
    assert effects.reads(moved) == {slot + 20 for slot in effects.reads(draw)}
    assert effects.writes(moved) == {NEW + 20}


def test_a_slot_out_of_range_is_found_in_every_field():
    for instr in (
        ir.Append(AT, 99, const(1)),
        ir.DrawnText(AT, UNTIL, TWO, YES, LM, LIST, STOP, 99),
        planned(completion=CompletionConstraint(texts(TEXT), 99, NONE, STOP)),
    ):
        function = ir.Function(
            "main", 0, tuple("abcdefghijklm"), (instr, ir.Return(AT, const(None))), AT
        )
        with pytest.raises(InternalError, match="out of range"):
            verify(ir.Program("main", {"main": function}))

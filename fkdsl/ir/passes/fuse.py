"""A draw looks ahead to the conditions that stand between it and the next: the plan of each draw.

What the token alone decides becomes a mask (masks.py), what the text so far decides a prefix
constraint (prefix.py); anything else is tried, outcome by outcome. The measure stays whatever the
conditions are, since the proposal and its weight satisfy M'(x) G'(x) = p(x) e(x)
(docs/inference.md, Proposals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from fkdsl.base.spans import PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.bounds import CONTINUOUS
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.few_values import FewValues
from fkdsl.ir.passes.masks import Predicate, is_expensive, token_predicate
from fkdsl.ir.passes.prefix import PrefixLanguages, over_languages, prefix_languages
from fkdsl.ir.passes.reading import (
    appends,
    asks_model,
    calls_out,
    conjuncts,
    reached,
    reads_context,
)
from fkdsl.ir.passes.tokens_after import tokens_in_loop
from fkdsl.ir.segments import Place, Walk
from fkdsl.machine.proposal_plan import Absorbed, PrefixConstraint, ProposalPlan

_Loop = tuple[ir.Expr | None, tuple[tuple[Span, ir.Expr], ...]]
"""Of the loop that a draw is in: `stop` and `over` of PrefixConstraint."""


def fuse(program: ir.Program, automata: bool = True) -> ir.Program:
    """The program, each draw that has conditions to look ahead to with its plan. automata: whether
    automata may follow texts."""
    functions = {}
    walk = Walk(program)
    few = FewValues(program) if automata else None
    for name, function in program.functions.items():
        body = list(function.body)
        for pc, instr in enumerate(function.body):
            if isinstance(instr, ir.Draw):
                body[pc] = _planned(program, walk, few, function, pc, instr)
        functions[name] = replace(function, body=tuple(body))
    return replace(program, functions=functions)


def _planned(
    program: ir.Program,
    walk: Walk,
    few: FewValues | None,
    function: ir.Function,
    pc: int,
    draw: ir.Draw,
) -> ir.Draw:
    """The draw with its plan; as it was if it can look ahead to nothing.

    Of the conditions ahead, some are masked (decided by the token, at least in part), some are
    inline (right behind the draw and cheap to check), and those that no mask takes are tried.
    """
    distribution = draw.distribution
    if isinstance(distribution, ir.Builtin) and distribution.name in CONTINUOUS:
        return draw
    place, of_token = (function.name, pc), _gives_token(distribution)
    before = draw.plan if draw.plan is not None else ProposalPlan[ir.Expr]()
    predicate = token_predicate(program, function, pc) if of_token else None
    masked = predicate.absorbed if predicate is not None else ()
    undecided = predicate.undecided if predicate is not None else ()
    decided = {c.span for c in masked}
    if before.completion is not None:
        decided |= set(before.completion.decided)
    tried = [c for c in conditions_ahead(program, walk, place, draw) if c.span not in decided]
    if not masked and not tried:
        return draw
    inline, exhaustive = inline_conditions(program, walk, place) if of_token else ([], False)
    prefixes = None
    if few is not None and function.span.source.name != PRELUDE:
        prefixes = prefix_languages(program, walk, few, place, draw)
    loop = _loop_of(program, few if prefixes is not None else None, function, pc, draw)
    met = prefixes.followed if prefixes is not None else []
    followed = [c for c in met if prefixes is not None and prefixes.decides(conjuncts(c.test))]
    rest = [c for c in tried if not _among(c, followed)]
    absorbed = [Absorbed(c.span, _mask_means(function, predicate)) for c in masked]
    absorbed += [Absorbed(c.span, "automaton, so far") for c in met]
    known = {a.span for a in before.absorbed if a.means != "words"}
    trials = _trials(program, rest, of_token)
    absorbed += [a for a in trials if a.means == "early" or a.span not in known]
    prefix = _prefix(prefixes, undecided, not rest, loop)
    all_decided = prefix.sufficient if prefix is not None else not (tried or undecided)
    by_masks = list(takewhile(lambda c: _among(c, (*masked, *followed)), inline))
    plan = replace(
        before,
        mask=predicate.test if predicate is not None else None,
        reads=predicate.reads if predicate is not None else (),
        compared=predicate.compared if predicate is not None else None,
        prefix=prefix,
        needs_lookahead=bool(tried or undecided),
        expensive=any(_is_expensive(program, c) for c in tried),
        inline_conditions=len(inline),
        exhaustive=exhaustive,
        passed=len(by_masks) if all_decided and before.completion is None else 0,
        absorbed=before.absorbed + tuple(absorbed),
    )
    return replace(draw, plan=plan)


def _gives_token(distribution: ir.Expr) -> bool:
    match distribution:
        case ir.Builtin() | ir.Model(operation="choice" | "continues"):
            return False
    return True


def _prefix(
    prefixes: PrefixLanguages | None, undecided: Sequence[ir.Expr], follows_all: bool, loop: _Loop
) -> PrefixConstraint[ir.Expr] | None:
    """The prefix constraint of a plan. undecided: what its mask does not decide of conditions;
    follows_all: whether mask and constraint leave no other condition."""
    if prefixes is None:
        return None
    stop, over = loop
    languages = (*(of for _, of, _ in prefixes.languages), *(of for _, of in over))
    sufficient = follows_all and prefixes.decides(undecided)
    return PrefixConstraint(
        prefixes.of_ends(going_on=False),
        prefixes.of_ends(going_on=True),
        tuple(sorted(reads(languages))),
        sufficient,
        stop,
        over,
    )


def _loop_of(
    program: ir.Program, few: FewValues | None, function: ir.Function, pc: int, draw: ir.Draw
) -> _Loop:
    match draw.distribution:
        case ir.Local(slot=context) if few is not None:
            loop = tokens_in_loop(function, pc, context)
            if loop is not None:
                return loop.stop, over_languages(program, few, function, context, loop.others)
    return None, ()


def _among(condition: ir.Condition, conditions: Sequence[ir.Condition]) -> bool:
    """Whether it is one of these instructions; equal ones may stand at other places."""
    return any(condition is c for c in conditions)


def _trials(program: ir.Program, tried: list[ir.Condition], of_token: bool) -> list[Absorbed]:
    """How each condition that no mask takes is tried."""
    early = {c.span for c in tried if c.early}
    expensive = {c.span for c in tried if _is_expensive(program, c)}

    def means(span: Span) -> str:
        if span in early:
            return "early"
        if not of_token:
            return "tested"
        return "tried, expensive" if span in expensive else "tried"

    return [Absorbed(span, means(span)) for span in dict.fromkeys(c.span for c in tried)]


def _is_expensive(program: ir.Program, condition: ir.Condition) -> bool:
    return calls_out(program, condition) or is_expensive(program, condition)


def _mask_means(function: ir.Function, predicate: Predicate | None) -> str:
    assert predicate is not None
    names = ", ".join(
        f"`{function.slots[s]}`" for s in predicate.reads if not function.slots[s].startswith(".")
    )
    return "mask" + (f" for each value of {names}" if names else "")


def conditions_ahead(
    program: ir.Program, walk: Walk, place: Place, draw: ir.Draw
) -> list[ir.Condition]:
    """The conditions between a draw and the next that depend on what is drawn; none behind an
    instruction that needs rows of a model."""
    conditions: dict[Place, ir.Condition] = {}
    tainted = {(place[0], draw.target)}
    extends = not isinstance(draw.distribution, ir.Builtin)
    decided = False
    changed = True
    while changed:  # to a fixed point: a loop may taint what stands before
        changed = False
        seen: set[Place] = set()
        todo = list(walk.after(place))
        while todo:
            here = todo.pop()
            instr = walk.at(here)
            if here in seen or isinstance(instr, ir.Draw) or _asks(program, instr):
                continue
            seen.add(here)
            slots = {s for f, s in tainted if f == here[0]}
            touched = bool(reads(instr) & slots) or (extends and reads_context(program, instr))
            if isinstance(instr, ir.Condition) and (touched or decided):
                conditions[here] = instr
            elif isinstance(instr, ir.Branch) and touched and not decided:
                decided = changed = True
            elif isinstance(instr, ir.Return):
                new = {(f, i.target) for f, i in _calls(program, here[0])} - tainted
                changed, tainted = changed or bool(new), tainted | new
            elif isinstance(instr, ir.Call):
                callee = program.functions[instr.function]
                new = {(callee.name, s) for s in range(callee.parameters)} - tainted
                changed, tainted = changed or bool(new), tainted | new
            elif touched:
                new = {(here[0], s) for s in writes(instr)} - tainted
                changed, tainted = changed or bool(new), tainted | new
            todo.extend(walk.after(here))
    return sorted(conditions.values(), key=lambda c: (c.span.source.name, c.span.start))


def inline_conditions(
    program: ir.Program, walk: Walk, place: Place
) -> tuple[list[ir.Condition], bool]:
    """The conditions right behind a draw that look only at values and contexts' texts, so that they
    are checked in place; and whether nothing else can weigh on any way to the next draw."""
    name, pc = place
    behind: list[ir.Condition] = []
    for instr in program.functions[name].body[pc + 1 :]:
        if isinstance(instr, ir.Label):
            continue
        if not isinstance(instr, ir.Condition) or appends(program, instr):
            break
        if any(isinstance(e, ir.Model | ir.Extern) for e in reached(program, instr)):
            break
        behind.append(instr)
    segment = walk.segment(walk.at(place), list(walk.after(place)))
    return behind, all(any(i is b for b in behind) for i in segment.potentials)


def _asks(program: ir.Program, instr: ir.Instr) -> bool:
    """Whether a look-ahead ends here: the instruction needs rows of log-probabilities."""
    if isinstance(instr, ir.Observe) and not isinstance(instr.distribution, ir.Builtin):
        return True
    return asks_model(program, instr)


def _calls(program: ir.Program, function: str) -> list[tuple[str, ir.Call]]:
    return [
        (f.name, i)
        for f in program.functions.values()
        for i in f.body
        if isinstance(i, ir.Call) and i.function == function
    ]

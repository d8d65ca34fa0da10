"""Fused conditions: a draw looks ahead to the conditions that stand between it and the next.

What the token alone decides becomes a mask (masks.py); anything else is tried, outcome by outcome.
The licence is M'(x) G'(x) = p(x) e(x) (docs/inference.md, Proposals): whatever e is, the measure
stays.
"""

from __future__ import annotations

from dataclasses import replace

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.bounds import CONTINUOUS
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.masks import Predicate, is_dear, token_predicate
from fkdsl.ir.passes.reading import (
    appends,
    asks_model,
    calls_out,
    conjuncts,
    reached,
    reads_context,
)
from fkdsl.ir.passes.regular import all_of
from fkdsl.ir.passes.so_far import text_so_far
from fkdsl.ir.segments import Place, Walk
from fkdsl.machine.proposal_plan import Absorbed, PrefixConstraint, ProposalPlan


def fuse(program: ir.Program, automata: bool = True) -> ir.Program:
    """Every draw that has conditions to look ahead to, with its plan. automata: whether automata
    may follow texts."""
    functions = {}
    walk = Walk(program)
    for name, function in program.functions.items():
        body = list(function.body)
        for pc, instr in enumerate(function.body):
            if isinstance(instr, ir.Draw):
                body[pc] = _fused(program, walk, function, pc, instr, automata)
        functions[name] = replace(function, body=tuple(body))
    return replace(program, functions=functions)


def _fused(
    program: ir.Program, walk: Walk, function: ir.Function, pc: int, draw: ir.Draw, automata: bool
) -> ir.Draw:
    distribution = draw.distribution
    if isinstance(distribution, ir.Builtin) and distribution.name in CONTINUOUS:
        return draw
    ahead = conditions_ahead(program, walk, (function.name, pc), draw)
    of_token = not isinstance(distribution, ir.Builtin) and not (
        isinstance(distribution, ir.Model) and distribution.operation in ("choice", "continues")
    )
    predicate = token_predicate(program, function, pc) if of_token else None
    masked = predicate.absorbed if predicate else ()
    before = draw.plan if draw.plan is not None else ProposalPlan[ir.Expr]()
    decided = before.completion.decided if before.completion is not None else ()
    tried = [c for c in ahead if c.span not in {m.span for m in masked} and c.span not in decided]
    if not masked and not tried:
        return draw
    behind, exhaustive = (
        inline_conditions(program, walk, (function.name, pc)) if of_token else ([], False)
    )
    text = (
        text_so_far(program, function, draw, behind)
        if automata and before.completion is None
        else None
    )
    told: list[ir.Condition] = []
    prefix = None
    if text is not None:
        told = [c for c in behind if text.decides(conjuncts(c.test))]
        left = predicate.left if predicate else ()
        sufficient = text.decides(left) and all(any(c is b for b in told) for c in tried)
        language = all_of(draw.span, [of for _, of in text.languages])
        prefix = PrefixConstraint(
            language, tuple(sorted(reads(language))), sufficient, text.languages
        )
    absorbed = [Absorbed(c.span, _mask_means(function, predicate)) for c in masked]
    absorbed += [
        Absorbed(c.span, "automaton, so far")
        for c in behind
        if text is not None and text.says_of(c)
    ]
    rest = [c for c in tried if not any(c is b for b in told)]
    early = {c.span for c in rest if c.early}
    for span in dict.fromkeys(c.span for c in rest):
        means = _tried(program, span, rest) if of_token else "tested"
        absorbed.append(Absorbed(span, "early" if span in early else means))
    plan = replace(
        before,
        mask=predicate.test if predicate else None,
        reads=predicate.reads if predicate else (),
        compared=predicate.compared if predicate else None,
        needs_lookahead=bool(tried) or (predicate is not None and bool(predicate.left)),
        absorbed=before.absorbed + tuple(absorbed),
        expensive=any(calls_out(program, c) or is_dear(program, c) for c in tried),
        inline_conditions=len(behind),
        exhaustive=exhaustive,
        prefix=prefix,
    )
    return replace(draw, plan=plan)


def _tried(program: ir.Program, span: Span, tried: list[ir.Condition]) -> str:
    own = [c for c in tried if c.span == span]
    return (
        "tried, dear" if any(calls_out(program, c) or is_dear(program, c) for c in own) else "tried"
    )


def _mask_means(function: ir.Function, predicate: Predicate | None) -> str:
    assert predicate is not None
    names = ", ".join(
        f"`{function.slots[s]}`" for s in predicate.reads if not function.slots[s].startswith(".")
    )
    return "mask" + (f" for each value of {names}" if names else "")


def conditions_ahead(
    program: ir.Program, walk: Walk, place: Place, draw: ir.Draw
) -> list[ir.Condition]:
    """The conditions between a draw and the next that what is drawn may decide; none behind a
    question to a model."""
    found: dict[Place, ir.Condition] = {}
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
                found[here] = instr
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
    return sorted(found.values(), key=lambda c: (c.span.source.name, c.span.start))


def inline_conditions(
    program: ir.Program, walk: Walk, place: Place
) -> tuple[list[ir.Condition], bool]:
    """The conditions right behind a draw that look at nothing but values and contexts' texts, and
    whether nothing else can weigh on any way from the draw to the next."""
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
    """Whether a trial ends here for want of a row."""
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

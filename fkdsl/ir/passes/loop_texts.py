"""Conditions that come after a loop of draws guide its tokens from the first one on:

    while not lm.done and lm.tokens < 24:
        t ~ lm
    condition ends_with(lm.text, "sea.")

A context's text only grows. So where every way from a draw comes to a condition on the text that
the context then has, a token is refused after which no text that begins so passes it. How many
tokens may follow is known where `lm.tokens` is bounded by the loop's test, or the loop runs over a
list, and nothing else goes into the context. Otherwise any number may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered, subexpressions, writes
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import conjuncts, is_small, over_text, substitute
from fkdsl.ir.passes.regular import all_of
from fkdsl.ir.passes.text_copies import means
from fkdsl.ir.passes.text_guidance import (
    Guidance,
    Settings,
    add_guidance,
    sort_json_tests,
)
from fkdsl.ir.passes.tokens_after import TokensAfter, may_extend, tokens_after
from fkdsl.ir.passes.views import has_grammar
from fkdsl.ir.passes.ways import Met, why_unknown
from fkdsl.machine.proposal_plan import Absorbed, CompletionConstraint, ProposalPlan


def guide_loops(program: ir.Program, settings: Settings) -> ir.Program:
    """The program, each draw from a context to whose text later conditions are known with a plan
    that looks ahead to them."""
    functions = {
        name: _Loops(program, function, settings).guided()
        if function.span.source.name != PRELUDE
        else function
        for name, function in program.functions.items()
    }
    return replace(program, functions=functions)


@dataclass(frozen=True)
class Later:
    """A part of a condition that comes later. test: of the text in a slot of its own, over the
    slots as they are at the draw. at: where it stands. between: the positions from which a particle
    may go on to the condition, from the draw on."""

    span: Span
    test: ir.Expr
    at: int
    between: frozenset[int]


class _Loops:
    """The draws of one function, and what is put before and behind them."""

    def __init__(self, program: ir.Program, function: ir.Function, settings: Settings) -> None:
        self.program, self.function, self.settings = program, function, settings
        self.body = function.body
        self.labels = {i.name: pc for pc, i in enumerate(self.body) if isinstance(i, ir.Label)}
        self.slots = list(function.slots)
        self.text = len(function.slots) + 3_000_000  # stands for the text; nobody keeps it

    def guided(self) -> ir.Function:
        body: list[ir.Instr] = []
        for pc, instr in enumerate(self.body):
            match instr:
                case ir.Draw(distribution=ir.Local(slot=context), plan=None):
                    body += self.around(pc, instr, context)
                case _:
                    body.append(instr)
        return replace(self.function, slots=tuple(self.slots), body=tuple(body))

    def around(self, pc: int, draw: ir.Draw, context: int) -> list[ir.Instr]:
        """The draw, with what makes it look ahead."""
        known, unknown = Guidance(), Guidance()
        ends: list[TokensAfter] = []
        reopened = False
        for part in self.later(pc, context):
            end = tokens_after(self.function, pc, context, part.at, part.between)
            ends += [] if end is None else [end]
            guidance = unknown if end is None else known
            reopened |= any(self.may_reopen(i, context) for i in part.between)
            met = Met(part.span, part.test)
            add_guidance(self.program, guidance, met, self.text, self.settings)
        for guidance in (known, unknown):
            sort_json_tests(guidance, self.settings)
        checks = self.own([*known.checks, *unknown.checks])
        text = _text_of(draw.span, context)
        behind = [
            ir.Condition(span, substitute(e, {self.text: text}), early=True) for span, e in checks
        ]
        languages, later = self.own(known.languages), self.own(unknown.languages)
        if languages or reopened:  # the text, when it ends here, must be a beginning for them
            regular = [(s, e) for s, e in later if not has_grammar(e)]
            later = [(s, ir.Builtin(s, ".beginnings", (e,))) for s, e in regular]
        languages += later
        if not languages:
            return [draw, *behind]
        origin, stops, stop = (self.slot(name) for name in (".origin", ".ends", ".stop"))
        end_of_text: ir.Expr = ir.Const(draw.span, None)
        if known.languages:
            end_of_text = ends[0].stop
        values = (ir.Const(draw.span, 0), ir.Const(draw.span, ()), end_of_text)
        placed = ir.Set(draw.span, (origin, stops, stop), ir.Operate(draw.span, "list", values))
        completion = CompletionConstraint(
            all_of(draw.span, [e for _, e in languages]),
            stops,
            origin,
            stop,
            self.settings.budget_lookahead,
            decided=known.decided if all(end.ends_every_way for end in ends) else (),
            parts=tuple(languages),
        )
        plan = ProposalPlan(
            completion=completion, absorbed=self.absorbed(languages, known, unknown)
        )
        return [placed, replace(draw, plan=plan), *behind]

    def absorbed(
        self, languages: Sequence[tuple[Span, ir.Expr]], known: Guidance, unknown: Guidance
    ) -> tuple[Absorbed, ...]:
        """How the draw looks ahead to each condition."""
        with_budget = {span for span, _ in known.languages}
        result = []
        for span in dict.fromkeys(span for span, _ in languages):
            how = means(known if span in with_budget else unknown, span)
            later = how == "automaton" and span not in with_budget
            result.append(Absorbed(span, "automaton, later" if later else how))
        return tuple(result)

    def later(self, pc: int, context: int) -> Iterator[Later]:
        """What conditions that every way from a draw comes to say of the context's text, beyond
        further draws from it."""
        for at, instr in enumerate(self.body):
            if not isinstance(instr, ir.Condition) or instr.early:
                continue
            test = inlined(self.program, self.before(at, instr.test))
            if _text_of(instr.span, context) not in subexpressions(test):
                continue
            between = self.between(pc, at, context)
            if between is None or not any(self.draws(i, context) for i in between):
                continue
            instrs = (*map(self.body.__getitem__, between), self.body[pc])
            written = set[int]().union(*map(writes, instrs))
            for whole in conjuncts(test):
                known = over_text(whole, context, self.text)
                if (
                    self.text in reads(known)
                    and not reads(known) & written
                    and not why_unknown(self.program, known)
                ):
                    yield Later(instr.span, known, at, between)

    def may_reopen(self, pc: int, context: int) -> bool:
        """Whether an instruction may append to a context that has ended."""
        instr = self.body[pc]
        draws = isinstance(instr, ir.Draw) and isinstance(instr.distribution, ir.Local)
        return not draws and may_extend(self.function, instr, context)

    def draws(self, pc: int, context: int) -> bool:
        match self.body[pc]:
            case ir.Draw(distribution=ir.Local(slot=slot)):
                return slot == context
        return False

    def before(self, at: int, test: ir.Expr) -> ir.Expr:
        """A test with what the assignments right before it say."""
        for instr in self.body[:at][::-1]:
            match instr:
                case ir.Set(targets=(slot,), value=value):
                    known = substitute(test, {slot: value})
                    if slot in reads(test) and not is_small(known):
                        break
                    test = known
                case ir.Condition() | ir.Factor():
                    pass
                case _:
                    break
        return test

    def between(self, pc: int, at: int, context: int) -> frozenset[int] | None:
        """The positions from a draw to a condition; None if some way leads elsewhere, or the
        variable becomes another context."""
        seen, todo = set[int](), [pc + 1]
        while todo:
            here = todo.pop()
            if here in seen or here == at:
                continue
            seen.add(here)
            instr = self.body[here]
            is_another = context in writes(instr) and not isinstance(instr, ir.Append)
            if isinstance(instr, ir.Return) or is_another:
                return None
            match instr:
                case ir.Jump(label=label):
                    todo.append(self.labels[label])
                case ir.Branch(otherwise=label) | ir.Next(done=label):
                    todo += [here + 1, self.labels[label]]
                case _:
                    todo.append(here + 1)
        return frozenset(seen)

    def slot(self, name: str) -> int:
        self.slots.append(name)
        return len(self.slots) - 1

    def own(self, tests: Sequence[tuple[Span, ir.Expr]]) -> list[tuple[Span, ir.Expr]]:
        """The expressions with slots of this function for what their comprehensions bind."""
        return [
            (span, renumbered(e, {b: self.slot(".each") for b in sorted(bound(e))}))
            for span, e in tests
        ]


def _text_of(span: Span, context: int) -> ir.Expr:
    return ir.Operate(span, "attribute", (ir.Local(span, context), ir.Const(span, "text")))

"""A program's Feynman-Kac model in words, as `fkdsl explain` prints it: s0, and M_t and G_t of each
step, with their lines."""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.base.spans import PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.guides import guides, kernel
from fkdsl.ir.segments import Segment, segments

WIDTH = 96

BY_SURROGATE = (
    "and, of an automaton, to how likely it is met{}: by a surrogate of the model, if one is at "
    "hand; with --lookahead auto a pilot decides when the run begins"
)
"""What a draw of a text looks ahead to besides (fkdsl.proposals.completion)."""


def explain(program: ir.Program) -> str:
    """The model, a paragraph for s0 and one for each kind of step."""
    return "\n".join(_Printer(program).lines()) + "\n"


class _Printer:
    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.home = {id(i): f.name for f in program.functions.values() for i in f.body}

    def lines(self) -> Iterator[str]:
        program = self.program
        first, *steps = segments(program)
        entry = program.functions[program.entry]
        yield f"{program.entry}  ({entry.span.source.name}:{entry.span.line})"
        yield ""
        yield f"s0   the state at {self.places(first)}"
        yield from _potentials("G_0", first)
        if any(isinstance(i, ir.Checkpoint) for f in program.functions.values() for i in f.body):
            yield ""
            yield (
                "This program chooses its own steps: M_t runs from a checkpoint to the first draw "
                "after the next;"
            )
            yield (
                "the draws below are made within a step, and G_t is the product of what they pass."
            )
        for step in steps:
            assert step.draw is not None
            yield ""
            yield f"M_t  {self.place(step.draw)}: {_text(step.draw.span)}"
            yield f"     {kernel(step.draw)},"
            yield from self.guidance(step.draw)
            yield f"     then runs to {self.places(step)}"
            yield from _potentials("G_t", step)
        if not steps:
            yield ""
            yield "No step: nothing is drawn."
        if program.outside:
            yield ""
            yield "Not known before they are reached:"
            for a in sorted(program.outside, key=lambda a: a.span.start):
                yield f"     line {a.span.line}: {_text(a.span)}"
                yield f"       {a.means}"

    def guidance(self, draw: ir.Draw) -> Iterator[str]:
        """The conditions that a draw looks ahead to, each by which means."""
        if draw.plan is None:
            return
        yield "     looking ahead to"
        for guide in guides(draw):
            yield f"       line {guide.span.line}  {guide.words}"
        if not self.is_of_context(draw):
            return
        prefix = draw.plan.prefix
        if draw.plan.completion is not None:
            yield f"       {BY_SURROGATE.format('')}"
        elif prefix is not None and prefix.stop is not None:
            yield f"       {BY_SURROGATE.format(' until the loop is over')}"

    def is_of_context(self, draw: ir.Draw) -> bool:
        """Whether a token comes from one context, as far as is known before the run: surrogates
        look ahead in no product, power or mixture."""
        match draw.distribution:
            case ir.Local(slot=source):
                return not any(
                    isinstance(i, ir.Set)
                    and isinstance(i.value, ir.Builtin)
                    and i.value.name == ".first_context"
                    and source in reads(i.value)
                    for i in self.program.functions[self.home[id(draw)]].body
                )
        return False

    def place(self, instr: ir.Instr) -> str:
        """Where an instruction stands, as the user sees it: one of a built-in is named by the lines
        that call it."""
        if instr.span.source.name != PRELUDE:
            return f"line {instr.span.line}"
        name = self.home[id(instr)]
        calls = [
            str(i.span.line)
            for f in self.program.functions.values()
            for i in f.body
            if isinstance(i, ir.Call) and i.function == name
        ]
        return f"`{name.partition(' ')[0]}` of line {' and '.join(dict.fromkeys(calls))}"

    def places(self, segment: Segment) -> str:
        """Where a segment ends: draws and returns."""
        draws = dict.fromkeys(self.place(i) for i in segment.ends if isinstance(i, ir.Draw))
        parts = ["the draw of " + " or ".join(draws)] if draws else []
        if any(isinstance(i, ir.Return) for i in segment.ends):
            parts.append("the end, where the particle is absorbed")
        return ", or ".join(parts) or "nowhere"


def _potentials(name: str, segment: Segment) -> Iterator[str]:
    if not segment.potentials:
        yield f"{name}  = 1"
        return
    for i, instr in enumerate({p.span: p for p in segment.potentials}.values()):
        what = {
            ir.Condition: "0 unless",
            ir.Factor: "exp of",
            ir.Twist: "exp of, until the next twist or the end,",
            ir.Observe: "the probability in",
        }[type(instr)]
        where = f"line {instr.span.line}: {_text(instr.span)}"
        yield f"{name if i == 0 else '   '}  {'=' if i == 0 else '*'} {what}  {where}"


def _text(span: Span) -> str:
    """The text that stands there, in one line."""
    text = " ".join(span.text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."

"""A program's Feynman-Kac model in words: s0, and M_t and G_t of each step, with their lines. What `explain` prints."""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.segments import Segment, segments

WIDTH = 96


def explain(program: ir.Program) -> str:
    """The model, a paragraph for s0 and one for each kind of step."""
    return "\n".join(_lines(program)) + "\n"


def _lines(program: ir.Program) -> Iterator[str]:
    first, *steps = segments(program)
    entry = program.functions[program.entry]
    yield f"{program.entry}  ({entry.span.source.name}:{entry.span.line})"
    yield ""
    yield f"s0   the state at {_places(first)}"
    yield from _potentials("G_0", first)
    if any(isinstance(i, ir.Checkpoint) for f in program.functions.values() for i in f.body):
        yield ""
        yield "This program chooses its own steps: M_t runs from a checkpoint to the draw after the next checkpoint;"
        yield "the draws below are made within a step, and G_t is the product of what they pass."
    for step in steps:
        assert step.draw is not None
        yield ""
        yield f"M_t  {_code(step.draw.span)}"
        yield f"     {_kernel(step.draw)}; then runs to {_places(step)}"
        yield from _potentials("G_t", step)
    if not steps:
        yield ""
        yield "No step: nothing is drawn."
    for note in program.notes:
        yield ""
        yield note


def _kernel(draw: ir.Draw) -> str:
    """What a draw draws from, in words."""
    match draw.distribution:
        case ir.Model(operation="choice"):
            return "draws one of the options with the model's probability of each, renormalised, and appends it"
        case ir.Model(operation="continues"):
            return "draws whether the next token goes on with the word"
        case ir.Model(operation="mixture"):
            return "draws the next token from the mixture, and appends it to every context in it"
        case ir.Operate(operator="mul"):
            return "draws the next token from the renormalised product, and appends it to every context in it"
        case ir.Operate(operator="pow"):
            return "draws the next token from the renormalised power, and appends it"
        case ir.Builtin(name=name):
            return f"draws from {name}"
        case ir.Local():
            return "draws the next token and appends it, or draws from the distribution held"
    return "draws from this distribution"


def _potentials(name: str, segment: Segment) -> Iterator[str]:
    if not segment.potentials:
        yield f"{name}  = 1"
        return
    for i, instr in enumerate(segment.potentials):
        what = {ir.Condition: "0 unless", ir.Factor: "exp of", ir.Observe: "the probability in"}[type(instr)]
        yield f"{name if i == 0 else '   '}  {'=' if i == 0 else '*'} {what}  {_code(instr.span)}"


def _places(segment: Segment) -> str:
    """Where a segment ends: draws and returns, by line."""
    draws = [f"line {i.span.line}" for i in segment.ends if isinstance(i, ir.Draw) and i.span.source.text]
    parts = []
    if draws:
        parts.append("the draw of " + " or ".join(dict.fromkeys(draws)))
    if any(isinstance(i, ir.Return) for i in segment.ends):
        parts.append("the end, where the particle is absorbed")
    return ", or ".join(parts) or "nowhere"


def _code(span: Span) -> str:
    """A line number and the text that stands there, in one line."""
    text = " ".join(span.text.split())
    text = text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
    prelude = span.source.name.startswith("<")
    return f"{span.source.name if prelude else ''}line {span.line}: {text}"

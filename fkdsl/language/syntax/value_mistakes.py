"""Values that other languages have and this one has not: tuples, sets, steps of slices, unpacked
arguments, types in brackets; and `:`, `=` or `else` where a value went wrong.

Each function says what the mistake is, or None; VALUE_MISTAKES is the order in which they are
asked.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.language.syntax import edits
from fkdsl.language.syntax.stop import Stop

SHORT = 20
"""Characters of a string that a message repeats."""


def tuples(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "COMMA" or stop.innermost not in ("", "("):
        return None
    help = "a list stands in brackets: `[a, b]`; two names take it apart: `a, b = [1, 2]`"
    return stop.mistake("FK120", "there are no tuples", "unexpected `,`", help)


def sets(stop: Stop) -> Diagnostic | None:
    inside = stop.innermost == "{" and stop.token.type in ("COMMA", "RBRACE")
    if not inside or "COLON" not in stop.expected:
        return None
    help = "write a list, `[1, 2]`, and `x in xs`"
    return stop.mistake("FK120", "there are no sets", "expected `:`", help)


def steps(stop: Stop) -> Diagnostic | None:
    """`xs[::2]`."""
    inside = stop.innermost == "[" and stop.token.type == "COLON"
    if not inside or "COLON" in stop.expected:
        return None
    help = "write `xs[a:b]`, or `reversed(xs)`"
    return stop.mistake("FK120", "a slice has no step", "unexpected `:`", help)


def unpacked(stop: Stop) -> Diagnostic | None:
    """`f(*xs)`."""
    if stop.token.type not in ("STAR", "DSTAR") or not stop.wants_expression:
        return None
    message = f"nothing is unpacked by `{stop.token}`"
    return stop.mistake("FK120", message, "unexpected", "give each argument by itself")


def string_behind_name(stop: Stop) -> Diagnostic | None:
    if stop.token.type not in ("STRING", "FSTRING") or not stop.follows("NAME"):
        return None
    text = str(stop.token)
    short = text[:SHORT] + ("..." if len(text) > SHORT else "")
    help = f"arguments stand in brackets: `{stop.before}({short})`"
    return stop.mistake("FK120", f"a string behind `{stop.before}`", "not expected here", help)


def if_without_else(stop: Stop) -> Diagnostic | None:
    if "ELSE" not in stop.expected or stop.token.type == "ELSE":
        return None
    if not any(t.type == "IF" for t in stop.line) or stop.line[0].type == "IF":
        return None
    message = "an `if` within a line needs its `else`"
    help = "write `a if test else b`, or an `if` line of its own"
    return stop.mistake("FK120", message, "expected `else`", help)


def model_with_equals(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "EQUAL" or [t.type for t in stop.line] != ["MODEL"]:
        return None
    help = 'write `model "smollm2"`, or `model judge = "..."`'
    label = "expected a string or a name"
    change = edits.instead(stop.span, "")
    return stop.mistake("FK120", "a model is named without `=`", label, help, change)


def type_in_brackets(stop: Stop) -> Diagnostic | None:
    """`-> {name: str}`, `-> [str]` and `x: (int, int)`, as other languages write types."""
    help = {"{": "write `record`", "[": "write `list[str]`", "(": "write `list[str]`"}.get(
        str(stop.token)
    )
    at_a_type = stop.expected == {"NAME"} and (stop.follows("ARROW") or stop.follows("COLON"))
    if help is None or not at_a_type:
        return None
    return stop.mistake("FK120", "a type has a name", "expected a type", help)


def no_brackets(stop: Stop) -> Diagnostic | None:
    """`program main:`."""
    if stop.token.type != "COLON" or len(stop.line) != 2:
        return None
    name = stop.line[1]
    if stop.line[0].type not in ("PROGRAM", "DEF"):
        return None
    message = f"`{name}` has no brackets"
    change = edits.before(stop.span, "()")
    return stop.mistake("FK120", message, "expected `(`", f"write `{name}()`", change)


def colon_behind_word(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "COLON" or len(stop.line) != 1:
        return None
    message = f"no `:` stands behind `{stop.line[0]}`"
    change = edits.instead(stop.span, "")
    return stop.mistake("FK120", message, "unexpected `:`", "leave it out", change)


VALUE_MISTAKES: tuple[Callable[[Stop], Diagnostic | None], ...] = (
    tuples,
    sets,
    steps,
    unpacked,
    string_behind_name,
    if_without_else,
    model_with_equals,
    type_in_brackets,
    no_brackets,
    colon_behind_word,
)

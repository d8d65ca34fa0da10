"""What the parser could not go on with, in words: what was found, what was expected, and one thing
to try."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax.line_mistakes import LINE_MISTAKES
from fkdsl.language.syntax.stop import Stop
from fkdsl.language.syntax.value_mistakes import VALUE_MISTAKES


def explain(source: Source, tokens: Sequence[Token], error: UnexpectedInput) -> Diagnostic:
    """The diagnostic for the token at which the parse stopped: that of the first mistake with a
    message of its own that it may be, else what was expected."""
    if not isinstance(error, UnexpectedToken) or error.token.type == "$END" or not tokens:
        end = len(source.text.rstrip())
        span = Span(source, max(0, end - 1), max(1, end))
        return Diagnostic(
            "FK120", "the file ends too early", span, "after this", "finish this line or block"
        )
    stop = _stop(source, tokens, error)
    for mistake in (*LINE_MISTAKES, *VALUE_MISTAKES):
        diagnostic = mistake(stop)
        if diagnostic is not None:
            return diagnostic
    wanted = stop.wanted
    simple = " or " not in wanted and wanted not in ("the end of the line", "something else")
    help = f"write {wanted} here" if simple else "compare the line with docs/language.md"
    return stop.mistake("FK120", f"unexpected {stop.found}", f"expected {wanted}", help)


def _stop(source: Source, tokens: Sequence[Token], error: UnexpectedToken) -> Stop:
    at = next((i for i, t in enumerate(tokens) if t is error.token), len(tokens) - 1)
    begin = at
    while begin > 0 and tokens[begin - 1].type not in ("NEWLINE", "INDENT", "DEDENT"):
        begin -= 1
    return Stop(
        source,
        error.token,
        tuple(tokens[begin:at]),
        tokens[at - 1] if at else None,
        tokens[at + 1] if at + 1 < len(tokens) else None,
        frozenset(error.expected),
    )

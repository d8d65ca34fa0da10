"""What the parser could not go on with, in words: what was found, what was expected, and one thing to try."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.spans import Source, Span
from fkdsl.language.lexer import DECLARATIONS, KEYWORDS

EXPRESSION = {"NAME", "NUMBER", "STRING", "LPAR"}
"""Where all of these are possible, an expression is."""
WORDS = {
    "NEWLINE": "the end of the line", "COLON": "`:`", "COMMA": "`,`", "EQUAL": "`=`", "TILDE": "`~`", "ARROW": "`->`",
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LPAR": "`(`", "INDENT": "an indented block", "NAME": "a name",
    "STRING": "a string", "NUMBER": "a number", "IN": "`in`", "ELSE": "`else`", "FROM": "`from`", "DEF": "`def`",
    "EXPECT": "`expect`", "TABLE": "`table`",
}  # fmt: skip
BLOCKS = {"def", "program", "if", "elif", "else", "for", "while", "test"}
PYTHON = {
    "lambda": "write a `def`", "class": "use a record: {\"name\": value}", "import": 'write import "file.fk"',
    "from": 'write import "file.fk"', "try": "test the value first", "with": "there is no `with`",
    "print": "return the value",
    "global": "pass it as an argument", "yield": "draw with `~`", "async": "draw with `~`", "await": "draw with `~`",
    "assert": "write `condition`", "raise": "write `condition false`", "del": "there is no `del`",
    "sample": "write `x ~ distribution`", "is": "write `==`",
}  # fmt: skip


def explain(source: Source, tokens: Sequence[Token], error: UnexpectedInput) -> Diagnostic:
    """The diagnostic for the token at which the parse stopped."""
    if not isinstance(error, UnexpectedToken) or error.token.type == "$END" or not tokens:
        end = len(source.text.rstrip())
        span = Span(source, max(0, end - 1), max(1, end))
        return Diagnostic("FK120", "the file ends too early", span, "after this", "finish this line or block")
    token, expected = error.token, set(error.expected)
    at = next((i for i, t in enumerate(tokens) if t is token), len(tokens) - 1)
    before = tokens[at - 1] if at else None
    line = _line_of(tokens, at)
    span = Span(source, token.start_pos or 0, max(token.end_pos or 0, (token.start_pos or 0) + 1))
    special = _special(source, token, before, line, expected, span)
    if special is not None:
        return special
    wanted = _wanted(expected)
    found = _shown(token)
    simple = " or " not in wanted and wanted not in ("the end of the line", "something else")
    help = f"write {wanted} here" if simple else "compare the line with docs/language.md"
    return Diagnostic("FK120", f"unexpected {found}", span, f"expected {wanted}", help)


def _line_of(tokens: Sequence[Token], at: int) -> list[Token]:
    """The tokens of the logical line up to the one at `at`."""
    begin = at
    while begin > 0 and tokens[begin - 1].type not in ("NEWLINE", "INDENT", "DEDENT"):
        begin -= 1
    return list(tokens[begin:at])


def _special(
    source: Source, token: Token, before: Token | None, line: list[Token], expected: set[str], span: Span
) -> Diagnostic | None:
    """The mistakes that have messages of their own."""
    first = str(line[0]) if line else ""
    if token.type == "INDENT":
        message = "this line is indented, but no block begins before it"
        help = "indent it like the line above, or end that line with `:`"
        return Diagnostic("FK105", message, span, "unexpected indent", help)
    if "INDENT" in expected and token.type != "INDENT":
        return Diagnostic(
            "FK121",
            "expected an indented block",
            span,
            "this line is not indented",
            "indent the block's lines by four spaces; write `pass` if it is empty",
        )
    if token.type == "NEWLINE" and "COLON" in expected and first in BLOCKS:
        return Diagnostic("FK122", f"a `{first}` line ends with `:`", span, "expected `:`", "add `:`")
    if token.type == "EQUAL" and first in ("if", "elif", "while", "condition", "return", "factor", "expect", "observe"):
        if first == "observe":
            return Diagnostic(
                "FK123", "`observe` compares by `~`", span, "expected `~`", "write `observe value ~ distribution`"
            )
        message = f"`=` in a line that begins with `{first}`"
        return Diagnostic("FK123", message, span, "`=` assigns", "write `==` to compare")
    if token.type == "IF" and before is not None and before.type == "ELSE":
        return Diagnostic("FK125", "`else if` is one word here", span, "expected `:`", "write `elif`")
    word = str(before) if before is not None and before.type == "NAME" and token.type == "NAME" else ""
    for candidate in (word, str(token)):
        if candidate in PYTHON and (line == [before] or candidate == str(token) or word):
            if candidate in ("import", "from") and first not in ("import", "from"):
                continue
            where = Span(source, (before if candidate == word and before else token).start_pos or 0, span.end)
            return Diagnostic(
                "FK125", f"`{candidate}` is not a word of this language", where, "here", PYTHON[candidate]
            )
    if word:
        near = near_name(word, sorted(KEYWORDS | DECLARATIONS))
        if near and before is not None and len(line) == 1:
            where = Span(source, before.start_pos or 0, before.end_pos or 0)
            return Diagnostic(
                "FK125", f"`{word}` is not a word of this language", where, "here", f"did you mean `{near}`?"
            )
    if str(token) in KEYWORDS and "NAME" in expected and token.type not in expected:
        return Diagnostic(
            "FK127",
            f"`{token}` is a reserved word",
            span,
            f"expected {_wanted(expected)}",
            "choose another name" if not (expected >= EXPRESSION) else "write an expression here",
        )
    if token.type in ("PLUS", "MINUS") and before is not None and before.type == token.type:
        return Diagnostic("FK125", f"`{token}{token}` has no meaning here", span, "here", f"write `x {token}= 1`")
    if token.type == "NEWLINE" and before is not None and before.type == "TILDE":
        return Diagnostic(
            "FK120",
            "nothing stands right of `~`",
            span,
            "expected a distribution or a context",
            "write `t ~ lm` or `x ~ bernoulli(0.5)`",
        )
    if token.type == "DOT" and before is not None and before.type == "DOT":
        return Diagnostic("FK120", "`...` is no statement", span, "here", "write `pass`")
    return None


def _wanted(expected: set[str]) -> str:
    """The expected tokens in words, the fewest that say it."""
    if expected >= EXPRESSION:
        return "an expression"
    operators = {"PLUS", "MINUS", "STAR", "SLASH", "AND", "OR", "LT", "DSTAR"}
    named = [WORDS[t] for t in WORDS if t in expected]
    if not named and operators & expected:
        return "an operator"
    if len(named) > 3 and "NEWLINE" in expected:
        named = [WORDS["NEWLINE"]]
    return " or ".join(named[:3]) or "something else"


def _shown(token: Token) -> str:
    if token.type == "NEWLINE":
        return "end of the line"
    if token.type in ("INDENT", "DEDENT"):
        return "end of the block"
    text = str(token)
    return f"`{text if len(text) <= 30 else text[:27] + '...'}`"

"""What the parser could not go on with, in words: what was found, what was expected, and one thing
to try."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS
from fkdsl.language.syntax.other_languages import WORDS as WORDS_ELSEWHERE
from fkdsl.language.syntax.other_languages import module_advice
from fkdsl.values.types import NAMED_TYPES

EXPRESSION = {"NAME", "NUMBER", "STRING", "LPAR"}
"""Where all of these are possible, an expression is."""
WORDS = {
    "NEWLINE": "the end of the line", "COLON": "`:`", "COMMA": "`,`", "EQUAL": "`=`", "TILDE": "`~`", "ARROW": "`->`",
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LPAR": "`(`", "INDENT": "an indented block", "NAME": "a name",
    "STRING": "a string", "NUMBER": "a number", "IN": "`in`", "ELSE": "`else`", "FROM": "`from`", "DEF": "`def`",
    "EXPECT": "`expect`", "TABLE": "`table`",
}  # fmt: skip
BLOCKS = {"def", "program", "if", "elif", "else", "for", "while", "test"}


def explain(source: Source, tokens: Sequence[Token], error: UnexpectedInput) -> Diagnostic:
    """The diagnostic for the token at which the parse stopped."""
    if not isinstance(error, UnexpectedToken) or error.token.type == "$END" or not tokens:
        end = len(source.text.rstrip())
        span = Span(source, max(0, end - 1), max(1, end))
        return Diagnostic(
            "FK120", "the file ends too early", span, "after this", "finish this line or block"
        )
    token, expected = error.token, set(error.expected)
    at = next((i for i, t in enumerate(tokens) if t is token), len(tokens) - 1)
    before = tokens[at - 1] if at else None
    line = _line_of(tokens, at)
    span = Span(source, token.start_pos or 0, max(token.end_pos or 0, (token.start_pos or 0) + 1))
    begun = [*line, token, *tokens[at + 1 : at + 2]]
    special = _of_another_language(source, begun, token, span) or _special(
        source, token, before, line, expected, span
    )
    special = special or _of_values(token, before, line, expected, span)
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


def _of_another_language(
    source: Source, line: list[Token], token: Token, span: Span
) -> Diagnostic | None:
    """A line that begins as another language's statements do. line: up to the token behind the one
    that is wrong."""
    first, second = line[0], line[1] if len(line) > 1 else None
    where = Span(source, first.start_pos or 0, max(first.end_pos or 0, 1))
    word = str(first)
    if word in ("import", "from") and second is not None and second.type == "NAME":
        return Diagnostic(
            "FK129", "there are no modules of Python here", where.to(Span(source, where.start, second.end_pos or 0)),
            "not a .fk file", module_advice(str(second)),
        )  # fmt: skip
    starts = second is None or second.type not in (
        "EQUAL",
        "TILDE",
        "DOT",
        "LSQB",
        "PLUSEQ",
        "MINUSEQ",
        "COMMA",
    )
    if (
        first.type == "NAME"
        and word in WORDS_ELSEWHERE
        and starts
        and (second is None or second.type != "LPAR")
    ):
        message = f"`{word}` is not a word of this language"
        return Diagnostic("FK125", message, where, "here", WORDS_ELSEWHERE[word])
    if (
        first.type == "NAME"
        and word in NAMED_TYPES
        and second is not None
        and second.type == "NAME"
    ):
        return Diagnostic(
            "FK125",
            "a type stands behind its variable",
            where,
            "here",
            f"write `{second}: {word} = ...`",
        )
    return None


def _of_values(
    token: Token, before: Token | None, line: list[Token], expected: set[str], span: Span
) -> Diagnostic | None:
    """Values that Python has and this language has not: tuples, sets, steps of slices, unpacked
    arguments."""
    open_bracket = _innermost(line)
    if token.type == "COMMA" and open_bracket in ("", "("):
        help = "a list stands in brackets: `[a, b]`; two names take it apart: `a, b = [1, 2]`"
        return Diagnostic("FK120", "there are no tuples", span, "unexpected `,`", help)
    if open_bracket == "{" and token.type in ("COMMA", "RBRACE") and "COLON" in expected:
        return Diagnostic(
            "FK120",
            "there are no sets",
            span,
            "expected `:`",
            "write a list, `[1, 2]`, and `x in xs`",
        )
    if open_bracket == "[" and token.type == "COLON" and "COLON" not in expected:
        return Diagnostic(
            "FK120",
            "a slice has no step",
            span,
            "unexpected `:`",
            "write `xs[a:b]`, or `reversed(xs)`",
        )
    if token.type in ("STAR", "DSTAR") and expected >= EXPRESSION:
        return Diagnostic(
            "FK120",
            f"nothing is unpacked by `{token}`",
            span,
            "unexpected",
            "give each argument by itself",
        )
    if token.type in ("STRING", "FSTRING") and before is not None and before.type == "NAME":
        help = f"arguments stand in brackets: `{before}({str(token)[:20]}{'...' if len(str(token)) > 20 else ''})`"
        return Diagnostic("FK120", f"a string behind `{before}`", span, "not expected here", help)
    if (
        "ELSE" in expected
        and token.type != "ELSE"
        and any(t.type == "IF" for t in line)
        and line[0].type != "IF"
    ):
        return Diagnostic("FK120", "an `if` within a line needs its `else`", span, "expected `else`",
                          "write `a if test else b`, or an `if` line of its own")  # fmt: skip
    first = line[0].type if line else ""
    if token.type == "EQUAL" and first == "MODEL" and len(line) == 1:
        return Diagnostic("FK120", "a model is named without `=`", span, "expected a string or a name",
                          'write `model "smollm2"`, or `model judge = "..."`')  # fmt: skip
    if token.type == "COLON" and first in ("PROGRAM", "DEF") and len(line) == 2:
        return Diagnostic(
            "FK120", f"`{line[1]}` has no brackets", span, "expected `(`", f"write `{line[1]}()`"
        )
    if token.type == "COLON" and len(line) == 1:
        return Diagnostic(
            "FK120", f"no `:` stands behind `{line[0]}`", span, "unexpected `:`", "leave it out"
        )
    return None


def _innermost(line: list[Token]) -> str:
    """The innermost bracket that is open behind some tokens, "" for none."""
    opened: list[str] = []
    for t in line:
        if str(t) in ("(", "[", "{") and t.type != "STRING":
            opened.append(str(t))
        elif str(t) in (")", "]", "}") and opened:
            opened.pop()
    return opened[-1] if opened else ""


def _special(
    source: Source,
    token: Token,
    before: Token | None,
    line: list[Token],
    expected: set[str],
    span: Span,
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
        return Diagnostic(
            "FK122", f"a `{first}` line ends with `:`", span, "expected `:`", "add `:`"
        )
    if token.type == "EQUAL" and first in (
        "if",
        "elif",
        "while",
        "condition",
        "return",
        "factor",
        "expect",
        "observe",
    ):
        if first == "observe":
            return Diagnostic(
                "FK123",
                "`observe` compares by `~`",
                span,
                "expected `~`",
                "write `observe value ~ distribution`",
            )
        message = f"`=` in a line that begins with `{first}`"
        return Diagnostic("FK123", message, span, "`=` assigns", "write `==` to compare")
    if token.type == "IF" and before is not None and before.type == "ELSE":
        return Diagnostic(
            "FK125", "`else if` is one word here", span, "expected `:`", "write `elif`"
        )
    word = (
        str(before) if before is not None and before.type == "NAME" and token.type == "NAME" else ""
    )
    for candidate in (word, str(token)):
        if candidate in WORDS_ELSEWHERE and (line == [before] or candidate == str(token) or word):
            if candidate in ("import", "from") and first not in ("import", "from"):
                continue
            where = Span(
                source, (before if candidate == word and before else token).start_pos or 0, span.end
            )
            return Diagnostic(
                "FK125",
                f"`{candidate}` is not a word of this language",
                where,
                "here",
                WORDS_ELSEWHERE[candidate],
            )
    if word:
        near = near_name(word, sorted(KEYWORDS | DECLARATIONS))
        if near and before is not None and len(line) == 1:
            where = Span(source, before.start_pos or 0, before.end_pos or 0)
            return Diagnostic(
                "FK125",
                f"`{word}` is not a word of this language",
                where,
                "here",
                f"did you mean `{near}`?",
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
        return Diagnostic(
            "FK125", f"`{token}{token}` has no meaning here", span, "here", f"write `x {token}= 1`"
        )
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

"""Where the parser could not go on, and what it expected there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from lark import Token

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span

EXPRESSION = {"NAME", "NUMBER", "STRING", "LPAR"}
"""Where all of these are possible, an expression is."""
OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "AND", "OR", "LT", "DSTAR"}
WORDS = {
    "NEWLINE": "the end of the line", "COLON": "`:`", "COMMA": "`,`", "EQUAL": "`=`",
    "TILDE": "`~`", "ARROW": "`->`",
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LPAR": "`(`", "INDENT": "an indented block",
    "NAME": "a name",
    "STRING": "a string", "NUMBER": "a number", "IN": "`in`", "ELSE": "`else`", "FROM": "`from`",
    "DEF": "`def`",
    "EXPECT": "`expect`", "TABLE": "`table`",
}  # fmt: skip


@dataclass(frozen=True)
class Stop:
    """token: where the parser stopped. line: the tokens of its logical line before it; following:
    the token behind it, if there is one. expected: the kinds of tokens that could stand there."""

    source: Source
    token: Token
    line: tuple[Token, ...]
    before: Token | None
    following: Token | None
    expected: frozenset[str]

    @cached_property
    def span(self) -> Span:
        start = self.token.start_pos or 0
        return Span(self.source, start, max(self.token.end_pos or 0, start + 1))

    @property
    def first(self) -> str:
        """The first word of the line, "" where the parser stopped at it."""
        return str(self.line[0]) if self.line else ""

    @property
    def wants_expression(self) -> bool:
        return self.expected >= EXPRESSION

    @property
    def wanted(self) -> str:
        """What was expected, in the fewest words that say it."""
        if self.wants_expression:
            return "an expression"
        named = [WORDS[t] for t in WORDS if t in self.expected]
        if not named and OPERATORS & self.expected:
            return "an operator"
        if len(named) > 3 and "NEWLINE" in self.expected:
            named = [WORDS["NEWLINE"]]
        return " or ".join(named[:3]) or "something else"

    @property
    def found(self) -> str:
        """The token as messages show it."""
        if self.token.type == "NEWLINE":
            return "end of the line"
        if self.token.type in ("INDENT", "DEDENT"):
            return "end of the block"
        text = str(self.token)
        return f"`{text if len(text) <= 30 else text[:27] + '...'}`"

    @property
    def innermost(self) -> str:
        """The innermost bracket that is open before the token, "" for none."""
        opened: list[str] = []
        for t in self.line:
            if str(t) in ("(", "[", "{") and t.type != "STRING":
                opened.append(str(t))
            elif str(t) in (")", "]", "}") and opened:
                opened.pop()
        return opened[-1] if opened else ""

    def follows(self, kind: str) -> bool:
        """Whether the token before is of a kind."""
        return self.before is not None and self.before.type == kind

    def mistake(
        self, code: str, message: str, label: str, help: str, edits: Sequence[Edit] = ()
    ) -> Diagnostic:
        return Diagnostic(code, message, self.span, label, help, edits=tuple(edits))

    def place(self, token: Token) -> Span:
        """Where a token stands."""
        return Span(self.source, token.start_pos or 0, token.end_pos or 0)

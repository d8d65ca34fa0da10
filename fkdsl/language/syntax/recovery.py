"""Every mistake of a text at once: the parse goes on after a line that cannot be read.

The line becomes one UNREADABLE token, with the block below it, and the text is parsed again. So
each line is reported once, by its first mistake, and what stands in the other lines is checked too.
What a name in such a line stands for is not known, so nothing is said of it elsewhere
(`Module.unreadable`, and the type `any` of its variables).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Source
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS, MAX_ERRORS
from fkdsl.language.syntax.other_languages import WORDS
from fkdsl.language.syntax.syntax_errors import explain

LAYOUT = ("NEWLINE", "INDENT", "DEDENT")
CONTINUES = {
    "ELIF": ("if", "elif"),
    "ELSE": ("if", "elif", "for", "while"),
    "except": ("try", "except"),
    "finally": ("try", "except"),
}
"""Lines that go on with a block above, and the words that such a block begins with."""
LAYOUT_CODES = ("FK105", "FK106")
_NAME = re.compile(r"[^\W\d]\w*")
_STRING = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|#.*")


def names_in(text: str) -> list[str]:
    """The names that a piece of text uses, in order, each once."""
    known = KEYWORDS | DECLARATIONS | WORDS.keys()
    return [n for n in dict.fromkeys(_NAME.findall(_STRING.sub("", text))) if n not in known]


class Recovery:
    """Parses tokens, around the lines that have mistakes. diagnostics: those of the lexer, to which
    more are added."""

    def __init__(
        self, source: Source, tokens: Sequence[Token], diagnostics: list[Diagnostic]
    ) -> None:
        self.source, self.tokens, self.diagnostics = source, list(tokens), diagnostics
        self.layout_is_wrong = any(d.code in LAYOUT_CODES for d in diagnostics)
        for d in diagnostics:
            if d.code not in LAYOUT_CODES:
                self.replace_line_of(d)

    def parse(self, parser: Lark) -> Any:
        """Lark's tree, or None if there is too much that cannot be read."""
        # Each round takes a line or a pair of tokens away, and most report one mistake.
        for _ in range(4 * MAX_ERRORS):
            try:
                return parser.parse(self.tokens, start="start")
            except UnexpectedInput as error:
                if not self.mend(error) or len(self.diagnostics) > MAX_ERRORS:
                    return None
        return None

    def names(self) -> list[str]:
        """The names in the lines that could not be read."""
        return names_in("\n".join(str(t) for t in self.tokens if t.type == "UNREADABLE"))

    # ------------------------------------------------------------------ mending

    def mend(self, error: UnexpectedInput) -> bool:
        """Reports a mistake, if it is none that another has led to, and takes it out of the tokens;
        False if that cannot be done."""
        if not isinstance(error, UnexpectedToken) or not self.tokens:
            return False
        token, expected = error.token, set(error.expected)
        at = next((i for i, t in enumerate(self.tokens) if t is token), len(self.tokens))
        if token.type == "INDENT":
            self.report(error, led_to=self.layout_is_wrong)
            return self.remove_indent(at)
        if "INDENT" in expected:
            self.report(error, led_to=self.layout_is_wrong)
            return self.replace_line(self.line_before(at))
        if at == len(self.tokens):
            self.report(error)
            return self.replace_line(self.line_before(at))
        self.report(error, led_to=self.goes_on(at))
        begin, _ = self.line(at)
        return (
            self.remove_line(at)
            if self.tokens[begin].type == "UNREADABLE"
            else self.replace_line(at)
        )

    def report(self, error: UnexpectedInput, *, led_to: bool = False) -> None:
        if not led_to:
            self.diagnostics.append(explain(self.source, self.tokens, error))

    def goes_on(self, at: int) -> bool:
        """Whether the line of a token goes on with a block whose own first line could not be
        read."""
        begin, _ = self.line(at)
        first = self.tokens[begin]
        words = CONTINUES.get(first.type) or CONTINUES.get(str(first), ())
        depth = 0
        for t in reversed(self.tokens[:begin]):
            depth += (t.type == "DEDENT") - (t.type == "INDENT")
            if depth < 0:
                return False
            if depth == 0 and t.type == "UNREADABLE" and str(t).split(maxsplit=1)[:1]:
                word = _NAME.match(str(t))
                return word is not None and word.group() in words
        return False

    # ------------------------------------------------------------------- tokens

    def line(self, at: int) -> tuple[int, int]:
        """From the first token of a line to its NEWLINE, which is left out."""
        begin, end = at, at
        while begin > 0 and self.tokens[begin - 1].type not in LAYOUT:
            begin -= 1
        while end < len(self.tokens) and self.tokens[end].type not in LAYOUT:
            end += 1
        return begin, end

    def line_before(self, at: int) -> int:
        """The last token, that is no layout, before an index."""
        at -= 1
        while at > 0 and self.tokens[at].type in LAYOUT:
            at -= 1
        return at

    def replace_line_of(self, mistake: Diagnostic) -> None:
        """Replaces the line of a mistake of the lexer, which may have left no token of it."""
        ends = (
            i
            for i, t in enumerate(self.tokens)
            if t.type == "NEWLINE" and t.start_pos >= mistake.span.start
        )
        end = next(ends, None)
        if end is not None and end > 0 and self.tokens[end - 1].type not in LAYOUT:
            self.replace_line(end - 1)
        elif end is not None:
            del self.tokens[end]

    def replace_line(self, at: int) -> bool:
        begin, end = self.line(at)
        if begin == end or self.tokens[begin].type == "UNREADABLE":
            return begin != end
        start, stop = self.tokens[begin].start_pos or 0, self.tokens[end - 1].end_pos or 0
        text = self.source.text[start:stop]
        self.tokens[begin:end] = [Token("UNREADABLE", text, start_pos=start, end_pos=stop)]
        return True

    def remove_line(self, at: int) -> bool:
        """Takes a line out, and the block below it."""
        begin, end = self.line(at)
        end += 1
        if end < len(self.tokens) and self.tokens[end].type == "INDENT":
            end = self.dedent_of(end) + 1
        del self.tokens[begin:end]
        return True

    def remove_indent(self, at: int) -> bool:
        """Takes an INDENT out, and its DEDENT: the lines stay, as those of the block around
        them."""
        dedent = self.dedent_of(at)
        if dedent < len(self.tokens):
            del self.tokens[dedent]
        del self.tokens[at]
        return True

    def dedent_of(self, at: int) -> int:
        depth = 0
        for i in range(at, len(self.tokens)):
            depth += (self.tokens[i].type == "INDENT") - (self.tokens[i].type == "DEDENT")
            if depth == 0:
                return i
        return len(self.tokens)

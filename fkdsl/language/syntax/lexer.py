"""Program text to tokens: names, numbers, strings, operators, and the layout (NEWLINE, INDENT,
DEDENT).

Written by hand rather than by lark so that every mistake in the text has its own message and the
work is linear and bounded: an unclosed bracket is reported at the bracket, not at the end of the
file, and ten thousand of them are one error. The grammar's parser (parser.py) reads these tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from lark import Token

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax import literals
from fkdsl.language.syntax.layout import Layout

MAX_LINE = 100_000
MAX_DEPTH = 100
MAX_ERRORS = 20
"""Mistakes after which the rest of a file is not read: it is no program."""
KEYWORDS = {
    "def", "if", "elif", "else", "for", "while", "in", "and", "or", "not", "break", "continue",
    "pass", "return", "observe", "condition", "factor", "twist", "checkpoint", "expect", "true",
    "false", "none", "EOS",
}  # fmt: skip
"""Reserved everywhere."""
DECLARATIONS = {"model", "import", "index", "extern", "program", "infer", "query", "test"}
"""Words that begin a declaration; names elsewhere."""
WITHIN = {
    "model": {"table", "with"},
    "extern": {"from", "def"},
    "test": {"with"},
    "index": {"with"},
}
"""Words that are special later in a line that begins with the given one."""
STATEMENTS = {
    "def", "while", "break", "continue", "pass", "return", "observe", "condition", "factor",
    "twist", "checkpoint", "expect", "import", "extern", "program", "query",
}  # fmt: skip
"""Words that begin a line and stand nowhere else."""
OPERATORS = {
    "**": "DSTAR", "//": "DSLASH", "==": "EQEQ", "!=": "NE", "<=": "LE", ">=": "GE", "->": "ARROW",
    "+=": "PLUSEQ", "-=": "MINUSEQ", "*=": "STAREQ", "/=": "SLASHEQ",
    "+": "PLUS", "-": "MINUS", "*": "STAR", "/": "SLASH", "%": "PERCENT", "<": "LT", ">": "GT",
    "=": "EQUAL",
    "~": "TILDE", "(": "LPAR", ")": "RPAR", "[": "LSQB", "]": "RSQB", "{": "LBRACE", "}": "RBRACE",
    ",": "COMMA", ":": "COLON", ".": "DOT",
}  # fmt: skip
PAIRS = {"(": ")", "[": "]", "{": "}"}

_NAME = re.compile(r"[^\W\d]\w*")
_INDENTED = re.compile(r"([ \t]*)((\w+(?=[\s:]))|[^\s]|)")
_WORD = re.compile(r"\w+")
# Only 0 to 9 are digits: \d would take those of every script, which Python's own source does not.
_NUMBER = re.compile(
    r"(?a:(?:\d[\d_]*)(?:\.[\d_]*)?(?:[eE][+-]?\d[\d_]*)?|\.\d[\d_]*(?:[eE][+-]?\d[\d_]*)?)"
)
_GOOD_NUMBER = re.compile(
    r"(?a:(?:0|[1-9]\d*(?:_\d+)*|0[xX][\da-fA-F]+)|(?:\d+(?:_\d+)*)?\.?(?:\d+(?:_\d+)*)?(?:[eE][+-]?\d+)?)"
)
_OPERATOR = re.compile("|".join(re.escape(o) for o in sorted(OPERATORS, key=len, reverse=True)))
_STRING = re.compile(r"([rRfF]{0,2}|[bBuUtT][rR]?)('''|\"\"\"|'|\")")
_SPACE = re.compile(r"[ \t\r]+|\\\r?\n|#[^\n]*")
_PYTHONISMS = {
    "&&": "write `and`", "||": "write `or`", "!": "write `not`", "++": "write `x += 1`",
    "--": "write `x -= 1`",
    ";": "write each statement on a line of its own", ":=": "assign on a line of its own",
    "?": "write `a if test else b`", "@": "there are no decorators", "&": "write `and`",
    "|": "write `or`",
}  # fmt: skip
_WORDS = {
    "&&": " and ", "||": " or ", "&": " and ", "|": " or ", "!": "not ", "++": " += 1",
    "--": " -= 1",
}  # fmt: skip
"""What to write for those that have words here."""
_ALIKE = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "−": "-", "–": "-", "—": "-", "×": "*",  # noqa: RUF001
    "÷": "/", "≤": "<=", "≥": ">=", "≠": "!=", "…": "...", "（": "(", "）": ")", "，": ",",  # noqa: RUF001
    "：": ":", "\u00a0": " ",  # noqa: RUF001
}  # fmt: skip
"""What to write for signs that look like ours, as editors and other keyboards make them."""
NEW_LINE = "; a line break in it is written `\\n`"
NO_CONVERSION = "leave `!r` out: values are written as `str` writes them"
_CONVERSION = re.compile(r"![rsa](?=[}:])")


class Lexer:
    """Tokens of a source, from offset `start` to `stop`; mistakes are collected in `diagnostics`.

    inline: the range is an expression (of an f-string): no layout.
    """

    def __init__(
        self, source: Source, start: int = 0, stop: int | None = None, inline: bool = False
    ) -> None:
        self.source, self.text = source, source.text
        self.at, self.stop = start, len(source.text) if stop is None else stop
        self.diagnostics: list[Diagnostic] = []
        self.layout = Layout(self.span, self.diagnostics)
        self.brackets: list[tuple[str, int]] = []
        self.inline = inline
        self.first_word = ""
        self.line_begins = True

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def error(
        self, code: str, message: str, start: int, end: int, label: str, help: str,
        instead: str | None = None,
    ) -> None:  # fmt: skip
        """Reports a mistake. instead: what to write in its place, None where that is not sure."""
        span = self.span(start, end)
        edits = (Edit(span, instead),) if instead is not None else ()
        self.diagnostics.append(Diagnostic(code, message, span, label, help, edits=edits))

    def token(self, kind: str, start: int, end: int) -> Token:
        return Token(kind, self.text[start:end], start_pos=start, end_pos=end)

    # -------------------------------------------------------------- main loop

    def tokens(self) -> list[Token]:
        """Every token to the end; afterwards `diagnostics` is complete.

        Behind a bracket that is never closed all is read anew from the next line that looks like
        another statement.
        """
        tokens = list(self.scan())
        while self.brackets and len(self.diagnostics) <= MAX_ERRORS:
            opened, where = self.brackets[0]
            again = self.stop if self.inline else self.next_statement(where)
            tokens = [t for t in tokens if t.start_pos is not None and t.start_pos < again]
            self.diagnostics[:] = [d for d in self.diagnostics if d.span.start < again]
            if not any(d.code == "FK101" and d.span.start > where for d in self.diagnostics):
                what, help = f"`{opened}` is never closed", f"close it with `{PAIRS[opened]}`"
                self.error("FK102", what, where, where + 1, "opened here", help)
            self.at, self.brackets = again, []
            if again < self.stop:
                tokens.append(self.token("NEWLINE", again - 1, again))
                self.line_begins = True
            tokens.extend(self.scan())
        if not self.inline:
            if not self.line_begins:
                tokens.append(self.token("NEWLINE", self.stop, self.stop))
            tokens.extend(
                self.token("DEDENT", self.stop, self.stop) for _ in range(self.layout.close())
            )
        return tokens

    def next_statement(self, where: int) -> int:
        """Where the next statement begins behind the line of a bracket that is never closed: at a
        line that begins with a word of a statement, or that is not indented more than the
        bracket's own."""
        lines = self.source.line_starts
        number = self.source.position(where)[0]
        own = _INDENTED.match(self.text, lines[number - 1])
        for start in lines[number:]:
            line = _INDENTED.match(self.text, start)
            if line is None or own is None or not line[2]:
                continue
            if line[3] in STATEMENTS or (len(line[1]) <= len(own[1]) and line[2] not in ")]}#"):
                return min(start, self.stop)
        return self.stop

    def scan(self) -> Iterator[Token]:
        """The tokens from the current position to the end of the text, or to too many mistakes."""
        while self.at < self.stop:
            if len(self.diagnostics) > MAX_ERRORS:
                return
            if self.line_begins and not self.inline and not self.brackets:
                yield from self.indentation()
                if self.at >= self.stop:
                    break
            yield from self.one()

    def indentation(self) -> Iterator[Token]:
        """The layout tokens before a logical line; blank lines and lines of comment have none."""
        begin = self.at
        while self.at < self.stop and self.text[self.at] in " \t":
            self.at += 1
        if self.at >= self.stop or self.text[self.at] in "\r\n#":
            return
        self.line_begins, self.first_word = False, ""
        for kind in self.layout.line(self.text[begin : self.at], begin):
            yield self.token(kind, self.at, self.at)

    def one(self) -> Iterator[Token]:
        text, at = self.text, self.at
        if text[at] == "\n":
            self.at += 1
            if not self.brackets and not self.line_begins and not self.inline:
                yield self.token("NEWLINE", at, at + 1)
                self.line_begins = True
            return
        if match := _SPACE.match(text, at, self.stop):
            self.at = match.end()
        elif match := _STRING.match(text, at, self.stop):
            yield from self.string(match)
        elif match := _NAME.match(text, at, self.stop):
            self.at = self.end_of_name(match.end())
            yield self.word(text[at : self.at], at)
        elif _NUMBER.match(text, at, self.stop):
            yield from self.number()
        elif text[at : at + 2] in _PYTHONISMS or (
            text[at] in _PYTHONISMS and text[at : at + 2] != "!="
        ):
            bad = text[at : at + 2] if text[at : at + 2] in _PYTHONISMS else text[at]
            self.at += len(bad)
            self.error(
                "FK104",
                f"`{bad}` has no meaning here",
                at,
                self.at,
                "not part of the language",
                NO_CONVERSION if _CONVERSION.match(text, at) else _PYTHONISMS[bad],
                None if _CONVERSION.match(text, at) else _WORDS.get(bad),
            )
        elif match := _OPERATOR.match(text, at, self.stop):
            self.at = match.end()
            yield from self.operator(match.group(), at)
        else:
            self.stray()

    # ------------------------------------------------------------- kinds

    def word(self, word: str, at: int) -> Token:
        kind = "NAME"
        if not word.isascii():
            return self.foreign_word(word, at)
        declares = (
            not self.first_word
            and self.layout.depth == 0
            and not self.inline
            and word in DECLARATIONS
        )
        # `infer steer(factor=3)`: options of a method have no statements among them.
        option = self.first_word == "infer" and bool(self.brackets) and word == "factor"
        if (word in KEYWORDS and not option) or declares or word in WITHIN.get(self.first_word, ()):
            kind = word.upper()
        self.first_word = self.first_word or word
        return self.token(kind, at, self.at)

    def end_of_name(self, end: int) -> int:
        """Where a name ends whose first word characters end at `end`: accents that stand alone are
        parts of it too."""
        while (
            end < self.stop and not self.text[end].isascii() and f"a{self.text[end]}".isidentifier()
        ):
            match = _WORD.match(self.text, end + 1, self.stop)
            end = match.end() if match else end + 1
        return end

    def foreign_word(self, word: str, at: int) -> Token:
        """A name with letters beyond ASCII, in Unicode's NFKC form as in Python: the same letters
        are the same name, however an editor writes them."""
        name = unicodedata.normalize("NFKC", word)
        self.first_word = self.first_word or name
        if not word.isidentifier() or name in KEYWORDS | DECLARATIONS:
            i = next((i for i in range(len(word)) if not f"a{word[i]}".isidentifier()), 0)
            shown, i = (word[i], i) if name not in KEYWORDS | DECLARATIONS else (word, 0)
            help = (
                f"write `{name}`"
                if name.isascii() and name.isidentifier()
                else "names are letters, digits and `_`"
            )
            message = f"`{shown}` cannot stand in a name"
            self.error("FK104", message, at + i, at + i + len(shown), "here", help)
        return Token("NAME", name, start_pos=at, end_pos=self.at)

    def number(self) -> Iterator[Token]:
        at = self.at
        match = _NUMBER.match(self.text, at, self.stop)
        assert match is not None
        self.at = match.end()
        tail = _NAME.match(self.text, self.at, self.stop)
        self.at = tail.end() if tail else self.at
        number = self.text[at : self.at]
        if tail or not _GOOD_NUMBER.fullmatch(number) or len(number) > 400:
            self.error(
                "FK110",
                f"`{number[:30]}` is no number",
                at,
                self.at,
                "here",
                "write 12, 1_000, 0.5 or 1e-3",
            )
            number = "0"
        elif not literals.is_finite(number):
            help = "the largest number with a point or an exponent is about 1.8e308"
            self.error("FK110", f"`{number[:30]}` is too large", at, self.at, "here", help)
            number = "0"
        yield Token("NUMBER", number, start_pos=at, end_pos=self.at)

    def operator(self, op: str, at: int) -> Iterator[Token]:
        if op in PAIRS:
            self.brackets.append((op, at))
            if len(self.brackets) == MAX_DEPTH + 1:
                help = "name the inner parts and use the names"
                self.error(
                    "FK109",
                    f"brackets nested more than {MAX_DEPTH} deep",
                    at,
                    at + 1,
                    "too deep",
                    help,
                )
                self.at, self.brackets = self.stop, []
                return
        elif op in PAIRS.values():
            if not self.brackets:
                self.error(
                    "FK103", f"`{op}` closes nothing", at, at + 1, "no bracket is open",
                    "delete it", "",
                )  # fmt: skip
                return
            opened, where = self.brackets.pop()
            if PAIRS[opened] != op:
                message = f"`{op}` closes `{opened}` of line {self.span(where, where).line}"
                self.error(
                    "FK103",
                    message,
                    at,
                    at + 1,
                    f"expected `{PAIRS[opened]}`",
                    f"write `{PAIRS[opened]}`",
                    PAIRS[opened],
                )
        yield self.token(OPERATORS[op], at, self.at)

    def string(self, match: re.Match[str]) -> Iterator[Token]:
        """A whole string literal, its prefix and quotes included: STRING or FSTRING."""
        at, prefix, quote = self.at, match.group(1).lower(), match.group(2)
        end = match.end()
        if prefix not in ("", "r", "f", "rf", "fr"):
            message = f"`{match.group(1)}` is no prefix of a string"
            self.error(
                "FK113",
                message,
                at,
                at + len(prefix),
                "here",
                'write "...", r"..." for a pattern, or f"...{x}..."',
            )
        while True:
            if end >= self.stop or (self.text[end] == "\n" and len(quote) == 1):
                self.at = end
                label = "opened here"
                self.error(
                    "FK101",
                    f"this string is never closed by {quote}",
                    at,
                    match.end(),
                    label,
                    f"add {quote} at its end" + NEW_LINE * (len(quote) == 1),
                )
                yield Token("STRING", '""', start_pos=at, end_pos=end)
                return
            if self.text[end] == "\\":
                end += 2
            elif self.text.startswith(quote, end):
                break
            else:
                end += 1
        self.at = end + len(quote)
        self.first_word = self.first_word or '"'
        yield self.token("FSTRING" if "f" in prefix else "STRING", at, self.at)

    def stray(self) -> None:
        at = self.at
        c = self.text[at]
        self.at += 1
        while self.at < self.stop and self.text[self.at] == c:
            self.at += 1
        shown = c if c.isprintable() else f"U+{ord(c):04X}"
        help = f"write {_ALIKE[c].replace(' ', 'a plain space')}" if c in _ALIKE else "delete it"
        self.error(
            "FK104",
            f"a stray {shown!r}" if c.isprintable() else f"a stray {shown}",
            at,
            self.at,
            "here",
            help,
            _ALIKE.get(c, ""),
        )

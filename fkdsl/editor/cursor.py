"""What stands before a place in a text that is being typed: the word begun there, the tokens of its
line, the string and the calls that it is in. It reads tokens alone, so it needs no line that
parses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field

from lark import Token

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source
from fkdsl.editor.analysis import Analysis
from fkdsl.language.syntax.lexer import PAIRS, Lexer
from fkdsl.language.syntax.recovery import LAYOUT

_WORD_BEFORE = re.compile(r"\w*\Z")
_QUOTES = re.compile(r"[a-zA-Z]{0,2}('''|\"\"\"|'|\")")
_BRACES = re.compile(r"\{\{|\}\}|[{}]")
CLOSING = frozenset(PAIRS.values())


@dataclass(frozen=True)
class OpenCall:
    """A call whose bracket is open. argument: how many commas stand before the place. keyword: the
    name of the argument that the place is in, "". given: the names of arguments before it. infer:
    whether these are a method's options."""

    name: str
    argument: int
    keyword: str
    given: tuple[str, ...]
    infer: bool = False


@dataclass(frozen=True)
class Cursor:
    """word, start: what is typed of a word, and where that begins. line: the tokens of the logical
    line before it. string: what is typed of the string that the place is in; None outside.
    """

    offset: int
    word: str
    start: int
    line: tuple[Token, ...] = ()
    string: str | None = None
    comment: bool = False
    calls: tuple[OpenCall, ...] = field(default=())

    @property
    def before(self) -> str:
        """The kind of the token before the word, "" where the line begins."""
        return self.line[-1].type if self.line else ""

    @property
    def first(self) -> str:
        """The first word of the line."""
        return str(self.line[0]) if self.line else ""


def cursor(analysis: Analysis, offset: int) -> Cursor:
    """What stands before an offset."""
    text = analysis.text
    offset = min(max(offset, 0), len(text))
    line_start = text.rfind("\n", 0, offset) + 1
    match = _WORD_BEFORE.search(text, line_start, offset)
    start = match.start() if match else offset
    word = text[start:offset]
    tokens = analysis.tokens_before(offset)
    inside = tokens[-1] if tokens and _is_inside(tokens[-1], text, offset) else None
    if inside is not None:
        begin = _brace(inside, text, offset)
        if begin is None:
            body = (inside.start_pos or 0) + _prefix_length(text[inside.start_pos or 0 : offset])
            line = _line(tokens[:-1])
            return Cursor(offset, "", offset, line, text[body:offset], calls=_open_calls(line))
        tokens = Lexer(analysis.source, begin, offset, inline=True).tokens()
    elif _in_comment(tokens, text, line_start, offset):
        return Cursor(offset, word, start, comment=True)
    line = tuple(t for t in _line(tokens) if (t.end_pos or 0) <= start)
    return Cursor(offset, word, start, line, calls=_open_calls(line))


def _is_inside(token: Token, text: str, offset: int) -> bool:
    """Whether an offset is within a string: behind its first quote, and not behind its last."""
    if token.type not in ("STRING", "FSTRING"):
        return False
    start, end = token.start_pos or 0, token.end_pos or 0
    written = text[start:end]
    opened = _prefix_length(written)
    quote = _QUOTES.match(written)
    closed = (
        quote is not None and len(written) >= opened + len(quote[1]) and written.endswith(quote[1])
    )
    return start + opened <= offset and (offset < end or (offset == end and not closed))


def _prefix_length(written: str) -> int:
    match = _QUOTES.match(written)
    return match.end() if match else 0


def _brace(token: Token, text: str, offset: int) -> int | None:
    """Where the value begins, within the braces of an f-string, that an offset is in."""
    start = token.start_pos or 0
    opening = _QUOTES.match(text, start)
    if opening is None or "f" not in opening[0].lower():
        return None
    begin: int | None = None
    for match in _BRACES.finditer(text, opening.end(), offset):
        if match[0] == "{":
            begin = match.end()
        elif match[0] == "}":
            begin = None
    return begin


def _in_comment(tokens: Sequence[Token], text: str, line_start: int, offset: int) -> bool:
    last = max((t.end_pos or 0 for t in tokens[-4:]), default=0)
    return "#" in text[max(last, line_start) : offset]


def _line(tokens: Sequence[Token]) -> tuple[Token, ...]:
    begin = len(tokens)
    while begin > 0 and tokens[begin - 1].type not in LAYOUT:
        begin -= 1
    return tuple(tokens[begin:])


def _open_calls(line: Sequence[Token]) -> tuple[OpenCall, ...]:
    """The calls that are open at the end of some tokens, the innermost last."""
    stack: list[tuple[str, int]] = []
    for i, t in enumerate(line):
        if t.type in ("LPAR", "LSQB", "LBRACE"):
            stack.append((t.type, i))
        elif str(t) in CLOSING and t.type not in ("STRING", "FSTRING") and stack:
            stack.pop()
    calls = []
    for kind, i in stack:
        if kind == "LPAR" and i > 0 and line[i - 1].type == "NAME":
            calls.append(_call(line, i))
    return tuple(calls)


def _call(line: Sequence[Token], at: int) -> OpenCall:
    """The call whose bracket is the token at an index."""
    depth, argument, keyword = 0, 0, ""
    given: list[str] = []
    for i in range(at + 1, len(line)):
        t = line[i]
        if t.type in ("LPAR", "LSQB", "LBRACE"):
            depth += 1
        elif t.type in ("RPAR", "RSQB", "RBRACE"):
            depth -= 1
        elif depth == 0 and t.type == "COMMA":
            argument, keyword = argument + 1, ""
        elif depth == 0 and t.type == "EQUAL" and line[i - 1].type == "NAME":
            keyword = str(line[i - 1])
            given.append(keyword)
    infer = at == 2 and line[0].type == "INFER"
    return OpenCall(str(line[at - 1]), argument, keyword, tuple(given), infer)


def word_at(source: Source, offset: int) -> tuple[int, int]:
    """From where to where the word goes that an offset is in or at the end of."""
    text = source.text
    start = end = min(max(offset, 0), len(text))
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return start, end

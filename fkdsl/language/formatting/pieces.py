"""A program's text as the formatter sees it: logical lines of tokens, with the comments and empty
lines between them.

A token keeps the text that the file has for it; the formatter changes none but a string's quotes.
"""

from __future__ import annotations

import re
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source
from fkdsl.language.syntax.lexer import Lexer

_GAP = re.compile(r"#[^\n]*|\\\n|\n")


@dataclass(frozen=True)
class Comment:
    """text: from its `#` on. column: characters before it in its line. blank: whether an empty line
    stands before it."""

    text: str
    column: int
    blank: bool


@dataclass
class Piece:
    """A token. above: comments on lines of their own between the token before and it. beside: the
    comment behind it in its line. broken: whether a line ends between the token before and it.
    continued: whether it ends in a backslash."""

    kind: str
    text: str
    above: list[Comment] = field(default_factory=list)
    beside: str | None = None
    broken: bool = False
    continued: bool = False


@dataclass
class Line:
    """A logical line. depth: blocks around it. above: comments on lines of their own before it.
    blank: whether an empty line stands before it, behind those comments. verbatim: its text in the
    file, from its first token to its last. column: characters before its first token."""

    pieces: list[Piece]
    depth: int
    column: int
    above: list[Comment]
    blank: bool
    verbatim: str


@dataclass(frozen=True)
class _Gap:
    """What stands between two tokens. beside: a comment in the line of the first."""

    beside: str | None
    comments: list[Comment]
    blank: bool
    broken: bool
    continued: bool


def lines_of(source: Source) -> tuple[list[Line], list[Comment]]:
    """The logical lines of a text without mistakes, and the comments behind the last of them."""
    lines: list[Line] = []
    depth, end, starts_line = 0, 0, True
    first = 0
    for token in Lexer(source).tokens():
        if token.type == "NEWLINE":
            if not starts_line:  # a backslash before an empty line ends a line of no tokens
                lines[-1].verbatim = source.text[first:end]
            starts_line = True
        elif token.type in ("INDENT", "DEDENT"):
            depth += 1 if token.type == "INDENT" else -1
        else:
            start = token.start_pos or 0
            gap = _gap(source, end, start)
            if lines:
                lines[-1].pieces[-1].beside = gap.beside
            piece = Piece(token.type, source.text[start : token.end_pos])
            if starts_line:
                column = start - source.text.rfind("\n", 0, start) - 1
                lines.append(Line([piece], depth, column, gap.comments, gap.blank, ""))
                first, starts_line = start, False
            else:
                piece.above, piece.broken = gap.comments, gap.broken
                piece.continued = gap.continued
                lines[-1].pieces.append(piece)
            end = token.end_pos or start
    gap = _gap(source, end, len(source.text))
    if lines:
        lines[-1].pieces[-1].beside = gap.beside
    return lines, gap.comments


def _gap(source: Source, start: int, stop: int) -> _Gap:
    beside: str | None = None
    comments: list[Comment] = []
    newlines, continued, broken = 0, False, False
    for match in _GAP.finditer(source.text, start, stop):
        text = match.group()
        if text.startswith("#"):
            if start > 0 and not broken:
                beside = text.rstrip()
            else:
                column = match.start() - source.text.rfind("\n", 0, match.start()) - 1
                comments.append(Comment(text.rstrip(), column, newlines > 1))
            newlines = 0
        else:
            continued = continued or text.startswith("\\")
            newlines, broken = newlines + 1, True
    return _Gap(beside, comments, newlines > 1, broken, continued)

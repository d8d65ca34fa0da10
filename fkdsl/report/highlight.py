"""A program's text in pieces with a class each, for a page to colour."""

from __future__ import annotations

import re

from fkdsl.base.spans import Source
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS, Lexer

_COMMENT = re.compile(r"#[^\n]*")
CONSTANTS = frozenset({"TRUE", "FALSE", "NONE", "EOS"})
WORDS = frozenset(word.upper() for word in KEYWORDS | DECLARATIONS) - CONSTANTS

Pieces = list[tuple[str, str]]
"""(class, text): "" for plain text, else keyword, constant, number, string, comment or draw."""


def highlighted(source: Source) -> list[Pieces]:
    """The lines of a text, each in pieces; the texts of the pieces are the line."""
    pieces: Pieces = []
    at = 0
    for token in Lexer(source).tokens():
        start, end = token.start_pos or 0, token.end_pos or 0
        if end <= at or token.type == "NEWLINE":
            continue
        pieces += _between(source.text[at:start])
        pieces.append((_class(token.type), source.text[start:end]))
        at = end
    pieces += _between(source.text[at:])
    return _lines(pieces)


def _class(kind: str) -> str:
    if kind in ("STRING", "FSTRING"):
        return "string"
    if kind == "NUMBER":
        return "number"
    if kind == "TILDE":
        return "draw"
    return "constant" if kind in CONSTANTS else "keyword" if kind in WORDS else ""


def _between(text: str) -> Pieces:
    """White space, comments, and what the lexer made nothing of."""
    found: Pieces = []
    at = 0
    for match in _COMMENT.finditer(text):
        found += [("", text[at : match.start()]), ("comment", match.group())]
        at = match.end()
    return [*found, ("", text[at:])]


def _lines(pieces: Pieces) -> list[Pieces]:
    lines: list[Pieces] = [[]]
    for name, text in pieces:
        for k, part in enumerate(text.split("\n")):
            if k:
                lines.append([])
            if part:
                lines[-1].append((name, part))
    return lines

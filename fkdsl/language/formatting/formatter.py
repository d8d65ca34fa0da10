"""`fkdsl fmt`: one form for every program text, with its comments and its meaning.

    indentation   4 spaces a block
    spaces        around operators, behind commas and colons; none within brackets, around the `=`
                  of an argument, or before a bracket that calls
    lines         at most 100 characters where a bracket lets them be broken (wrapping.py)
    empty lines   one around each `def`, `program`, `test` and table; elsewhere at most one
    tables        their arrows below one another
    texts         in double quotes, unless that needs a backslash
    comments      kept, each where it stands, with a space behind `#`

Law: the formatted text parses to the same tree, has the same comments in the same order, and is
formatted already. What breaks the law is an InternalError, and no file is touched.

>>> print(format_text(Source("p.fk", "def  f(x:int)->int :\\n  return -x+ 1 #up\\n")), end="")
def f(x: int) -> int:
    return -x + 1  # up
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from fkdsl.base.errors import InternalError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source
from fkdsl.language.formatting.pieces import Comment, Line, Piece, lines_of
from fkdsl.language.formatting.wrapping import INDENT, TEXTS, Unbreakable, tidy, wrapped
from fkdsl.language.syntax.parser import parse

BLOCKS = frozenset({"DEF", "PROGRAM", "TEST"})
_SINGLE = re.compile(r"([a-zA-Z]*)('''|')(.*)\2", re.DOTALL)


def format_text(source: Source) -> str:
    """The text in its canonical form. Raises ProgramError for a text with mistakes."""
    module = parse(source)
    text = _formatted(source)
    again = Source(source.name, text)
    if parse(again) != module or _comments(again) != _comments(source):
        raise InternalError(f"formatting would change what {source.name} says")
    return text


def _formatted(source: Source) -> str:
    lines, last = lines_of(source)
    _align(lines)
    out: list[str] = []
    columns: list[int] = []
    before: Line | None = None
    for line in lines:
        elements = _between(before, line, columns, line.above)
        if elements:
            elements[-1].blank = elements[-1].blank and bool(out or len(elements) > 1)
        for element in elements:
            out += [""] * (element.blank and bool(out)) + [element.text]
        columns = [*columns[: line.depth], line.column]
        before = line
    end = Line([], 0, 0, [], False, "")
    for element in _between(before, end, columns, last)[:-1]:
        out += [""] * (element.blank and bool(out)) + [element.text]
    return "\n".join(out) + "\n" if out else ""


@dataclass
class _Element:
    """A comment or a logical line. blank: whether an empty line stands before it."""

    text: str
    depth: int
    blank: bool


def _between(
    before: Line | None, line: Line, columns: Sequence[int], comments: Sequence[Comment]
) -> list[_Element]:
    """The comments between two lines, and the second line. columns: where the blocks around the
    first line begin in the file, by depth."""
    deepest = max(before.depth if before else 0, line.depth)
    elements = []
    for comment in comments:
        deepest = min(deepest, _depth_of(comment, line.depth, columns))
        elements.append(_Element(INDENT * deepest + tidy(comment.text), deepest, comment.blank))
    elements.append(_Element(_one(line), line.depth, line.blank))
    if before is None:
        return elements
    outer = next((e for e in elements if e.depth == 0), elements[-1])
    if line.depth > before.depth:
        elements[0].blank = False
    elif line.depth == 0 and (before.depth > 0 or _is_block(before)):
        outer.blank = True
    if _is_block(line):
        k = len(elements) - 1
        while not elements[k].blank and k and elements[k - 1].depth == 0:
            k -= 1
        elements[k].blank = True
    return elements


def _depth_of(comment: Comment, least: int, columns: Sequence[int]) -> int:
    """The innermost of the blocks that end before the next line in which a comment may stand."""
    inside = [d for d, column in enumerate(columns) if d >= least and column <= comment.column]
    return max(inside, default=least)


def _is_block(line: Line) -> bool:
    kinds = [piece.kind for piece in line.pieces]
    return line.depth == 0 and bool(kinds) and (kinds[0] in BLOCKS or "TABLE" in kinds)


def _one(line: Line) -> str:
    """A logical line with its comments, broken where it is too long."""
    indent = INDENT * line.depth
    if not line.pieces:
        return ""
    pieces = [replace(piece, text=_requoted(piece)) for piece in line.pieces]
    try:
        return indent + wrapped(pieces, indent)
    except Unbreakable:
        beside = line.pieces[-1].beside
        return indent + line.verbatim + (f"  {tidy(beside)}" if beside is not None else "")


def _align(lines: Sequence[Line]) -> None:
    """The arrows of a table stand below one another."""
    for _, group in groupby(
        lines, lambda line: len(line.pieces) > 1 and line.pieces[1].kind == "ARROW"
    ):
        rows = [line.pieces for line in group if line.pieces[1:] and line.pieces[1].kind == "ARROW"]
        for row in rows:
            row[0].text = _requoted(row[0])
        width = max((len(row[0].text) for row in rows), default=0)
        for row in rows:
            row[0].text = row[0].text.ljust(width)


def _requoted(piece: Piece) -> str:
    """A text in double quotes, where that takes no backslash."""
    match = _SINGLE.fullmatch(piece.text) if piece.kind in TEXTS else None
    if match is None or '"' in match[3] or "\\" in match[3]:
        return piece.text
    quote = '"' * len(match[2])
    return f"{match[1]}{quote}{match[3]}{quote}"


def _comments(source: Source) -> list[str]:
    """The comments of a text, in order."""
    lines, last = lines_of(source)
    found: list[str] = []
    for line in lines:
        found += [comment.text for comment in line.above]
        for piece in line.pieces:
            found += [comment.text for comment in piece.above]
            found += [piece.beside] if piece.beside is not None else []
    return [tidy(text) for text in [*found, *(comment.text for comment in last)]]

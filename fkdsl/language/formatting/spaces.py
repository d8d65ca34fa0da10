"""What stands between two tokens of a line: a space, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.language.formatting.pieces import Piece

OPENING = frozenset({"LPAR", "LSQB", "LBRACE"})
CLOSING = frozenset({"RPAR", "RSQB", "RBRACE"})
OPERANDS = frozenset(
    {"NAME", "NUMBER", "STRING", "FSTRING", "TRUE", "FALSE", "NONE", "EOS", *CLOSING}
)
"""Kinds of tokens that end an operand: what follows is no sign, but an operator."""
CALLED = frozenset({"NAME", "STRING", "FSTRING", *CLOSING})
"""Kinds of tokens behind which a bracket calls or subscripts."""
TIGHT = frozenset({"NAME", "NUMBER", "DOT"})
"""Kinds of tokens that a slice's bounds may have without spaces around the colon."""


def spaced(pieces: Sequence[Piece]) -> list[bool]:
    """For each token whether a space stands before it, if the line is not broken there.

    Fractions of two whole numbers are tight. A slice's colon is tight between single names and
    numbers, and has spaces beside longer bounds.
    """
    found = [False] * len(pieces)
    opened: list[int] = []
    annotated = [False]
    for i, piece in enumerate(pieces):
        kind = piece.kind
        if kind in CLOSING and opened:
            opened.pop()
            annotated.pop()
        within = pieces[opened[-1]].kind if opened else None
        if i:
            found[i] = _space(pieces, i, opened, annotated[-1])
        if kind == "COMMA":
            annotated[-1] = False
        elif kind == "COLON" and within == "LPAR":
            annotated[-1] = True
        if kind in OPENING:
            opened.append(i)
            annotated.append(False)
    return found


def _space(pieces: Sequence[Piece], i: int, opened: Sequence[int], annotated: bool) -> bool:
    before, here = pieces[i - 1].kind, pieces[i].kind
    if before == "NUMBER" and here == "DOT":
        return True  # `1.x` would be read as a number
    if before in OPENING or here in CLOSING or before == "DOT" or here in ("DOT", "COMMA"):
        return False
    if here in ("LPAR", "LSQB") and before in CALLED:
        return False
    if is_sign(pieces, i - 1):
        return here == before  # `--` is no token of the language
    if _is_fraction(pieces, i) or _is_fraction(pieces, i - 1):
        return False
    if here == "COLON" or before == "COLON":
        slice = _is_slice(pieces, opened)
        if not slice:
            return before == "COLON"
        return _wide(pieces, i if here == "COLON" else i - 1, opened[-1], left=here == "COLON")
    if "EQUAL" in (before, here) and not annotated:
        return not (opened or any(piece.kind == "WITH" for piece in pieces[:i]))
    return True


def _is_fraction(pieces: Sequence[Piece], i: int) -> bool:
    """Whether a token is the bar of a fraction of two whole numbers, such as 1/3."""
    around = pieces[max(0, i - 1) : i + 2]
    if [piece.kind for piece in around] != ["NUMBER", "SLASH", "NUMBER"]:
        return False
    return around[0].text.isdigit() and around[2].text.isdigit()


def is_sign(pieces: Sequence[Piece], i: int) -> bool:
    """Whether a token is the sign of what follows it."""
    if pieces[i].kind not in ("MINUS", "PLUS"):
        return False
    return i == 0 or pieces[i - 1].kind not in OPERANDS


def is_subscript(pieces: Sequence[Piece], bracket: int) -> bool:
    """Whether a bracket, by its index, subscripts what stands before it."""
    return pieces[bracket].kind == "LSQB" and bracket > 0 and pieces[bracket - 1].kind in CALLED


def _is_slice(pieces: Sequence[Piece], opened: Sequence[int]) -> bool:
    return bool(opened) and is_subscript(pieces, opened[-1])


def _wide(pieces: Sequence[Piece], colon: int, bracket: int, *, left: bool) -> bool:
    """Whether a slice's colon has a space on one side: where that bound is there, and either bound
    is more than a name or a number."""
    end = closing(pieces, bracket)
    bounds = pieces[bracket + 1 : colon], pieces[colon + 1 : end]
    plain = all(_is_plain(bound) for bound in bounds)
    return bool(bounds[0 if left else 1]) and not plain


def _is_plain(bound: Sequence[Piece]) -> bool:
    rest = bound[1:] if bound and bound[0].kind in ("MINUS", "PLUS") else bound
    return all(piece.kind in TIGHT for piece in rest)


def closing(pieces: Sequence[Piece], bracket: int) -> int:
    """The index of the bracket that closes the one at an index."""
    depth = 0
    for i in range(bracket, len(pieces)):
        depth += (pieces[i].kind in OPENING) - (pieces[i].kind in CLOSING)
        if depth == 0:
            return i
    return len(pieces)

"""The one thing to try as a change of the text, where that is certain.

A mistake's `help` says it in words; these make the edits that go with it (base/diagnostics.py).

>>> from fkdsl.base.spans import Source
>>> source = Source("a.fk", "x = max_leters")
>>> spelt(Span(source, 4, 14), "max_leters", ["max_letters"])[0].text
'max_letters'
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fkdsl.base.diagnostics import Edit, near_name
from fkdsl.base.spans import Span
from fkdsl.language.syntax import tree

Edits = tuple[Edit, ...]
ATOMS = (tree.Name, tree.Call, tree.Attribute, tree.Index, tree.Slice, tree.Literal, tree.ListExpr)
"""Expressions that an operator may stand beside without brackets."""
_EQUALS = re.compile(r"\s*(=)(?!=)")
_WHOLE = re.compile(r"\s*=\s*(\d+)[ \t]*(?=$|#)", re.MULTILINE)
_TILDE = re.compile(r"\s*(~)")


def instead(span: Span, text: str) -> Edits:
    """A text in place of what stands in a span."""
    return (Edit(span, text),)


def before(span: Span, text: str) -> Edits:
    return instead(Span(span.source, span.start, span.start), text)


def behind(span: Span, text: str) -> Edits:
    return instead(Span(span.source, span.end, span.end), text)


def spelt(span: Span, name: str, known: Iterable[str]) -> Edits:
    """What `did_you_mean` says: the near name in place of `name`, with which the span begins; none
    where there is no near one."""
    near = near_name(name, list(known))
    if near is None or not span.text.startswith(name):
        return ()
    return instead(Span(span.source, span.start, span.start + len(name)), near)


def drawn(target: Span) -> Edits:
    """`~` for the `=` behind a variable."""
    return _replaced(_EQUALS, target, "~")


def with_point(target: Span) -> Edits:
    """`.0` behind the whole number that is the value of a variable."""
    match = _WHOLE.match(target.source.text, target.end)
    return behind(Span(target.source, match.start(1), match.end(1)), ".0") if match else ()


def set_to(target: Span) -> Edits:
    """`=` for the `~` behind a variable."""
    return _replaced(_TILDE, target, "=")


def _replaced(pattern: re.Pattern[str], target: Span, text: str) -> Edits:
    match = pattern.match(target.source.text, target.end)
    if match is None:
        return ()
    return instead(Span(target.source, match.start(1), match.end(1)), text)


def exchanged(a: Span, b: Span) -> Edits:
    """The texts of two spans, each in the other's place."""
    return (Edit(a, b.text), Edit(b, a.text))

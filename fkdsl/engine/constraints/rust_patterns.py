r"""Patterns of Python's `re` in the syntax of llguidance, without the parts that it cannot follow.

>>> weaker_search(r"^(?!a)\bb{2}$")
('^(?:[\\u{62}]){2}$', False)

The second value is whether nothing was left out. The parts that are left out are conditions on the
text (a look-around, a word boundary, the text that a back-reference repeats), so the pattern
without them matches wherever the whole pattern does.
"""

from __future__ import annotations

import re
from typing import Any

from fkdsl.engine.constraints.charsets import Charset
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.python_characters import characters

SIZE = 20_000
"""Most characters of a pattern that is written for llguidance."""


def weaker_search(pattern: str) -> tuple[str, bool]:
    """(a pattern that is searched for in a text, or a weaker one; whether nothing was left out).
    Raises Unsupported."""
    items, flags = _parsed(pattern)
    writer = _Writer()
    return _bounded(writer.sequence(items, flags, top=True)), writer.exact


def weaker_terminal(pattern: str) -> tuple[str, bool]:
    """`weaker_search` for the pattern of a terminal, which matches the whole terminal."""
    items, flags = _parsed(pattern)
    writer = _Writer()
    return _bounded(writer.sequence(items, flags)), writer.exact


class Characters:
    """Patterns as grammar rules whose terminals are single characters. names: the terminal of each
    class of characters."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def rule(self, pattern: str) -> str:
        """The right side of a rule that has every text that the pattern matches."""
        items, flags = _parsed(pattern)
        return _bounded(_RuleWriter(self.names).sequence(items, flags)) or '""'


def _parsed(pattern: str) -> tuple[list[Any], int]:
    from re import _parser  # type: ignore[attr-defined]

    try:
        parsed = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unsupported(str(error)) from None
    return list(parsed), parsed.state.flags


def _bounded(text: str) -> str:
    if len(text) > SIZE:
        raise Unsupported("too long a pattern")
    return text


class _Writer:
    """Writes a pattern for llguidance. exact: whether nothing was left out."""

    opens, between = "(?:", ""

    def __init__(self) -> None:
        self.exact = True
        self.groups: dict[int, str] = {}

    def sequence(self, items: list[Any], flags: int, *, top: bool = False) -> str:
        out = []
        for at, (operator, value) in enumerate(items):
            name = str(operator)
            if name == "AT":
                out.append(
                    self.edge(str(value), top and at == 0, top and at == len(items) - 1, flags)
                )
            elif name in ("ASSERT", "ASSERT_NOT"):
                self.exact = False
            else:
                out.append(self.item(name, value, flags))
        return self.between.join(filter(None, out))

    def group(self, text: str) -> str:
        return f"{self.opens}{text})" if text else ""

    def character(self, runs: Charset) -> str:
        return _class(runs)

    def edge(self, where: str, first: bool, last: bool, flags: int) -> str:
        if not flags & re.MULTILINE:
            if first and where in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
                return "^"
            if last and where in ("AT_END", "AT_END_STRING"):
                return "$"
        self.exact = False
        return ""

    def item(self, name: str, value: Any, flags: int) -> str:
        match name:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return self.character(characters(name, value, flags))
            case "BRANCH":
                return self.choice([self.sequence(list(b), flags) for b in value[1]])
            case "SUBPATTERN":
                number, added, removed, inner = value
                text = self.sequence(list(inner), (flags | added) & ~removed)
                if number is not None:
                    self.groups[number] = text
                return self.group(text)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                self.exact = self.exact and name != "POSSESSIVE_REPEAT"
                least, most, inner = value
                return self.repeat(int(least), most, list(inner), flags)
            case "ATOMIC_GROUP":
                self.exact = False
                return self.group(self.sequence(list(value), flags))
            case "GROUPREF" if value in self.groups:
                self.exact = False
                return self.group(self.groups[value])
        raise Unsupported(f"a part of it ({name.lower()})")

    def repeat(self, least: int, most: Any, inner: list[Any], flags: int) -> str:
        text = self.sequence(inner, flags)
        if not text:
            return ""
        bound = "" if str(most) == "MAXREPEAT" else str(int(most))
        times = bound if bound == str(least) else f"{least},{bound}"
        return f"{self.group(text)}{{{times}}}"

    def choice(self, options: list[str]) -> str:
        return self.group("|".join(options))


class _RuleWriter(_Writer):
    """Writes a pattern as the right side of a grammar rule."""

    opens, between = "(", " "

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.names = names

    def character(self, runs: Charset) -> str:
        return self.names.setdefault(_class(runs), f"C{len(self.names)}")

    def choice(self, options: list[str]) -> str:
        return self.group(" | ".join(option or '""' for option in options))

    def edge(self, where: str, first: bool, last: bool, flags: int) -> str:
        return ""


def _class(runs: Charset) -> str:
    if not runs:
        raise Unsupported("a class without characters")
    parts = (f"\\u{{{a:x}}}" if b == a + 1 else f"\\u{{{a:x}}}-\\u{{{b - 1:x}}}" for a, b in runs)
    return f"[{''.join(parts)}]"

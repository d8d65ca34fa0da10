r"""Outlines of Lark grammars, from what Lark itself has compiled.

>>> outline = grammar_outline('start: "a" ("," "a")*')
>>> outline.length, set(outline.returns)
(1, set())

Law: an outline has every text that Lark derives; terminals match any text of their pattern, where
Lark takes the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fkdsl.engine.constraints.followed_grammars import compiled
from fkdsl.engine.constraints.outlines import (
    ANY_TEXT,
    NO_TEXT,
    Outline,
    alternatives,
    reference,
    repeated,
    sequence,
)
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported, text_tree
from fkdsl.engine.constraints.patterns import parse_pattern
from fkdsl.engine.constraints.stripped_patterns import stripped

Symbols = tuple[Tree, ...]


def grammar_outline(grammar: str) -> Outline:
    """The outline of a grammar. Raises ValueError if Lark cannot read it; Unsupported,
    RecursionError."""
    parser = compiled(grammar)
    terminals = {t.name: _terminal(t.pattern) for t in parser.terminals}
    ignored = [terminals[name] for name in parser.ignore_tokens]
    gap = (repeated(alternatives(*ignored)),) if ignored else ()
    options: dict[str, list[Symbols]] = {}
    for rule in parser.rules:
        symbols: list[Tree] = []
        for s in rule.expansion:
            symbols += (*gap, terminals[s.name]) if s.is_term else (reference(s.name),)
        options.setdefault(rule.origin.name, []).append(tuple(symbols))
    rules = {name: _rule(name, alternatives_) for name, alternatives_ in options.items()}
    for name in {s.name for rule in parser.rules for s in rule.expansion if not s.is_term}:
        rules.setdefault(name, NO_TEXT)
    return Outline(rules, sequence(reference("start"), *gap))


def _terminal(pattern: Any) -> Tree:
    if type(pattern).__name__ == "PatternStr" and not pattern.flags:
        return text_tree(pattern.value)
    try:
        return stripped(parse_pattern(pattern.to_regexp()))
    except Unsupported:
        return ANY_TEXT


def _rule(name: str, options: Sequence[Symbols]) -> Tree:
    """The tree of a rule. One that refers to itself only at the beginning of its options, or only
    at their end, as Lark writes `*` and `+`, becomes a repeat."""
    itself = reference(name)
    ends = [o for o in options if itself not in o]
    for at, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        recursive = [o[rest] for o in options if o and o[at] == itself]
        if len(ends) + len(recursive) == len(options) and not any(itself in o for o in recursive):
            more = repeated(_options(recursive)) if recursive else None
            base = _options(ends)
            if more is None:
                return base
            return sequence(base, more) if at == 0 else sequence(more, base)
    return _options(options)


def _options(options: Sequence[Symbols]) -> Tree:
    return alternatives(*(Tree("seq", symbols) for symbols in options))

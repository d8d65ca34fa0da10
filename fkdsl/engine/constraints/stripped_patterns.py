"""The trees of patterns without their assertions: larger languages, whatever stands beside a
text."""

from __future__ import annotations

from fkdsl.engine.constraints.outlines import ANY_TEXT, alternatives, character_in, repeated
from fkdsl.engine.constraints.pattern_trees import EMPTY_TEXT, ZERO_WIDTH, Tree


def stripped(tree: Tree) -> Tree:
    """A tree without its assertions, each of which may hold.

    >>> from fkdsl.engine.constraints.patterns import parse_pattern
    >>> stripped(parse_pattern(r"a(?=b)\\b")) == stripped(parse_pattern("a"))
    True
    """
    match tree.operator, tree.parts:
        case (("weaker" | "atomic"), (inner, *_)):
            return stripped(inner)
        case "group", (_, inner, _):
            return stripped(inner)
        case "ref", (_, _, inner, _):
            return stripped(inner)
        case "given", (_, yes, no):
            return alternatives(stripped(yes), stripped(no))
        case operator, _ if operator in ZERO_WIDTH:
            return EMPTY_TEXT
        case "set", _:
            return tree
    parts = (stripped(part) if isinstance(part, Tree) else part for part in tree.parts)
    kept = tuple(part for part in parts if part != EMPTY_TEXT or tree.operator != "seq")
    return kept[0] if tree.operator == "seq" and len(kept) == 1 else Tree(tree.operator, kept)


def searched(tree: Tree) -> Tree:
    """The texts in which a pattern is found, or more.

    >>> from fkdsl.engine.constraints.patterns import parse_pattern
    >>> searched(parse_pattern("^a$")) == stripped(parse_pattern("a\\\\n?"))
    True
    """
    if tree.operator == "alt":
        return alternatives(*map(searched, tree.parts))
    parts = list(tree.parts) if tree.operator == "seq" else [tree]
    before, after = ANY_TEXT, ANY_TEXT
    if parts and parts[0].operator == "start":
        before, parts = EMPTY_TEXT, parts[1:]
    if parts and parts[-1].operator == "end":
        newline = parts[-1].parts[0]
        after = EMPTY_TEXT if newline is None else repeated(character_in(newline), 0, 1)
        parts = parts[:-1]
    return stripped(Tree("seq", (before, *parts, after)))

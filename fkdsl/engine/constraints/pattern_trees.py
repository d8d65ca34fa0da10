"""Patterns as trees, which the reader makes (pattern_reader.py) and automata are made of
(pattern_expressions.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Charset

Text = tuple[Charset, ...]
"""A text that a group captures, a set for each character; a set of several characters stands for
any of them."""


def is_known(text: Text) -> bool:
    """Whether a text that a group captures is known to the character."""
    return all(len(runs) == 1 and runs[0][1] - runs[0][0] == 1 for runs in text)


class Unsupported(Exception):
    """No automaton here can follow a language; the message names the part that prevents it."""


@dataclass(frozen=True)
class Tree:
    """A parsed pattern: an operator and its parts.

    Reading characters:
    set (a Charset), seq (trees), alt (trees, the first of which is tried first),
    repeat (a tree, least, most, greedy; most -1 for no bound),
    atomic (a tree: its first match, without backtracking).
    Groups that a part elsewhere refers to:
    group (number, a tree, the Texts that it captures, or None if they are not known),
    ref (number, pairs of a Charset and the same in either case, a tree of all texts that it may
    stand for, whether the group's texts are all known),
    given (number, a tree if the group has matched, a tree if not),
    forget (numbers: of these groups no more is known).
    Assertions, which read none, with `must` False for their negations:
    ahead (a tree, must: what follows begins with it), behind (a tree, must: what was read ends with
    it), boundary (the Charset of word characters, must), start, end (the Charset of newlines if one
    may follow, else None).
    weaker (a larger tree, the name of the part that it replaces).
    Of the reader alone: open ref, open given (with the name of a group), call (the name of a
    group), tested (ahead or behind, a tree, a tree if that matches, a tree if not).
    """

    operator: str
    parts: tuple[Any, ...]


EMPTY_TEXT = Tree("seq", ())
NOTHING = Tree("alt", ())
NEWLINE: Charset = ((10, 11),)
ANY_TEXT = Tree("repeat", (Tree("set", (ALL_CHARACTERS,)), 0, -1, True))
ZERO_WIDTH = ("ahead", "behind", "boundary", "start", "end", "forget")
ASSERTIONS = (*ZERO_WIDTH, "weaker", "atomic", "group", "ref", "given")
"""Operators whose language depends on what stands beside it, or is not theirs alone."""


def sequence(parts: Iterable[Tree]) -> Tree:
    """The parts one after the other."""
    flat: list[Tree] = []
    for part in parts:
        flat += part.parts if part.operator == "seq" else (part,)
    return flat[0] if len(flat) == 1 else Tree("seq", tuple(flat))


def weaker(tree: Tree, reason: str) -> Tree:
    """A tree that stands for a part of a smaller language."""
    return Tree("weaker", (tree, reason))


def text_tree(text: str) -> Tree:
    """The language of one text."""
    return Tree("seq", tuple(Tree("set", (((ord(c), ord(c) + 1),),)) for c in text))


def subtrees(tree: Tree) -> Iterable[Tree]:
    """The trees that are parts of a tree, one level down."""
    return (part for part in tree.parts if isinstance(part, Tree))


def rebuilt(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The tree with each of the trees one level down changed."""
    parts = tuple(change(part) if isinstance(part, Tree) else part for part in tree.parts)
    return sequence(parts) if tree.operator == "seq" else Tree(tree.operator, parts)


def within(tree: Tree) -> Iterable[Tree]:
    """The tree and all trees in it, each object once: parts may stand in several places."""
    todo, seen = [tree], set[int]()
    while todo:
        part = todo.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            todo += subtrees(part)


def charsets_of(tree: Tree) -> Iterable[Charset]:
    """Every charset in a tree."""
    for part in within(tree):
        match part.operator, part.parts:
            case ("set" | "boundary", (runs, *_)):
                yield runs
            case "end", (runs,) if runs is not None:
                yield runs
            case "group", (_, _, texts) if texts is not None:
                yield from (runs for text in texts for runs in text)
            case "ref", (_, cases, _, _):
                yield from (runs for _, runs in cases)


def has_assertions(tree: Tree) -> bool:
    """Whether a tree is more than classes, sequences, alternatives and repeats."""
    return any(part.operator in ASSERTIONS for part in within(tree))


def least_width(tree: Tree) -> int:
    """A number of characters that every text of the tree has at least."""
    match tree.operator, tree.parts:
        case "set", _:
            return 1
        case "seq", parts:
            return sum(map(least_width, parts))
        case "alt", parts:
            return min(map(least_width, parts), default=1)
        case "repeat", (inner, least, _, _):
            return int(least) * least_width(inner)
        case ("atomic", (inner,)) | ("weaker", (inner, _)) | ("group", (_, inner, _)):
            return least_width(inner)
        case "given", (_, yes, no):
            return min(least_width(yes), least_width(no))
    return 0


def weaker_reasons(tree: Tree) -> Iterable[str]:
    """The names of the parts of a tree that have only a weaker form."""
    for part in within(tree):
        match part.operator, part.parts:
            case "weaker", (_, reason):
                yield reason
            case "ref", (_, _, _, False):
                yield "a back-reference"
            case "forget", _:
                yield "a group inside a look-around that is referred to outside"

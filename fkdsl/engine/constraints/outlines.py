r"""Outlines: rules that derive every text of a schema or a grammar, and perhaps more, written as
trees of sets of characters.

The fewest tokens to a complete text are computed from an outline (completion_bounds.py). Its trees
are those of patterns (pattern_trees.py) without assertions, with two operators more: `rule`, the
texts of a rule, and `and`, the texts that all parts derive.

>>> from fkdsl.engine.constraints.pattern_trees import text_tree
>>> inner = sequence(text_tree("["), reference("v"), text_tree("]"))
>>> outline = Outline({"v": alternatives(text_tree("x"), inner)}, reference("v"))
>>> outline.length, set(outline.returns), outline.is_left_recursive
(1, {'v'}, False)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field

from fkdsl.base.deadline import check
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Charset
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported

NO_TEXT = Tree("alt", ())
"""The empty language."""
MOST_NODES = 50_000
"""Most nodes of the trees of an outline."""


def sequence(*parts: Tree) -> Tree:
    return parts[0] if len(parts) == 1 else Tree("seq", parts)


def alternatives(*parts: Tree) -> Tree:
    return parts[0] if len(parts) == 1 else Tree("alt", parts)


def factored(*trees: Tree) -> Tree:
    """The alternatives, with what several begin with, or all end with, written once.

    >>> from fkdsl.engine.constraints.charsets import characters_of
    >>> a, b, c = (character_in(characters_of(character)) for character in "abc")
    >>> factored(sequence(a, a, c), sequence(a, b, c)) == sequence(a, alternatives(a, b), c)
    True
    """
    return _factored([_steps(tree) for tree in trees])


def _steps(tree: Tree) -> tuple[Tree, ...]:
    """A tree as parts that stand one behind the other."""
    if tree.operator != "seq":
        return (tree,)
    return tuple(step for part in tree.parts for step in _steps(part))


def _factored(rows: list[tuple[Tree, ...]]) -> Tree:
    rows = list(dict.fromkeys(rows))
    shortest = min(map(len, rows), default=0)
    same = 0
    while len(rows) > 1 and same < shortest and len({row[-same - 1] for row in rows}) == 1:
        same += 1
    if same:
        before = _factored([row[: len(row) - same] for row in rows])
        return sequence(*_steps(before), *rows[0][len(rows[0]) - same :])
    if len(rows) == 1:
        return sequence(*rows[0])
    by_first: dict[tuple[Tree, ...], list[tuple[Tree, ...]]] = {}
    for row in rows:
        by_first.setdefault(row[:1], []).append(row[1:])
    options = [sequence(*first, *_steps(_factored(rests))) for first, rests in by_first.items()]
    return alternatives(*options)


def repeated(tree: Tree, least: int = 0, most: int = -1) -> Tree:
    """A tree from `least` to `most` times; most -1: no bound."""
    return Tree("repeat", (tree, least, most, True))


def character_in(runs: Charset) -> Tree:
    """One character of a set."""
    return Tree("set", (runs,))


def reference(rule: str) -> Tree:
    """The texts of a rule."""
    return Tree("rule", (rule,))


ANY_TEXT = repeated(character_in(ALL_CHARACTERS))


@dataclass(frozen=True, eq=False)
class Outline:
    """rules: the tree of each rule, by name. start: the tree of whole texts.

    shortest: for each rule the fewest characters of a text of it, inf if it derives none; of an
    `and` the most that a part needs, which is a lower bound (Knuth 1977, by rounds).
    length: that of a whole text. returns: rules of which every way from a rule back to itself has
    one, as far as whole texts lead to it. is_left_recursive: whether one does so before
    it has read a character. Raises Unsupported where the trees are too large.
    """

    rules: Mapping[str, Tree]
    start: Tree
    shortest: Mapping[str, float] = field(init=False, repr=False)
    length: float = field(init=False, repr=False)
    returns: frozenset[str] = field(init=False, repr=False)
    is_left_recursive: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _distinct(self.trees)
        shortest = _shortest(self.rules)
        leads = {name: set(_references(tree)) for name, tree in self.rules.items()}
        lengths = Lengths(shortest)
        first = {name: set(_first(tree, lengths)) for name, tree in self.rules.items()}
        object.__setattr__(self, "shortest", shortest)
        object.__setattr__(self, "length", lengths.of(self.start))
        object.__setattr__(self, "returns", frozenset(_returns(leads, _references(self.start))))
        object.__setattr__(self, "is_left_recursive", _has_cycle(first))

    @property
    def trees(self) -> Iterable[Tree]:
        """The trees of the start and of all rules."""
        return (self.start, *self.rules.values())


def _inner(tree: Tree) -> Iterable[Tree]:
    return (part for part in tree.parts if isinstance(part, Tree))


def _distinct(trees: Iterable[Tree]) -> dict[int, Tree]:
    """The nodes of some trees, each object once."""
    nodes: dict[int, Tree] = {}
    todo = list(trees)
    while todo:
        tree = todo.pop()
        if id(tree) not in nodes:
            nodes[id(tree)] = tree
            todo.extend(_inner(tree))
            if len(nodes) + len(todo) > MOST_NODES:
                raise Unsupported(f"more than {MOST_NODES:,} parts")
    return nodes


def _references(tree: Tree) -> Iterable[str]:
    return (node.parts[0] for node in _distinct([tree]).values() if node.operator == "rule")


def _shortest(rules: Mapping[str, Tree]) -> dict[str, float]:
    shortest = dict.fromkeys(rules, math.inf)
    while True:
        check()
        lengths = Lengths(shortest)
        after = {name: lengths.of(tree) for name, tree in rules.items()}
        if after == shortest:
            return shortest
        shortest = after


class Lengths:
    """The fewest characters of a text of a tree, given that of each rule."""

    def __init__(self, shortest: Mapping[str, float]) -> None:
        self._shortest = shortest
        self._known: dict[int, float] = {}

    def of(self, tree: Tree) -> float:
        """The length for a tree, which must live as long as this object."""
        if id(tree) not in self._known:
            self._known[id(tree)] = self._of(tree)
        return self._known[id(tree)]

    def _of(self, tree: Tree) -> float:
        match tree.operator, tree.parts:
            case "set", (runs,):
                return 1 if runs else math.inf
            case "rule", (name,):
                return self._shortest[name]
            case "seq", parts:
                return sum(map(self.of, parts))
            case "alt", parts:
                return min(map(self.of, parts), default=math.inf)
            case "and", parts:
                return max(map(self.of, parts))
            case "repeat", (inner, least, *_):
                return least * self.of(inner) if least else 0
        raise AssertionError(tree.operator)


def _first(tree: Tree, lengths: Lengths) -> Iterable[str]:
    """The rules that a text of a tree may begin with, before it has read a character."""
    match tree.operator, tree.parts:
        case "rule", (name,):
            yield name
        case "seq", parts:
            for part in parts:
                yield from _first(part, lengths)
                if lengths.of(part):
                    return
        case "alt" | "and", parts:
            for part in parts:
                yield from _first(part, lengths)
        case "repeat", (inner, *_):
            yield from _first(inner, lengths)


def _returns(leads: Mapping[str, set[str]], begin: Iterable[str]) -> Iterable[str]:
    """The rules that a depth-first walk comes back to while it is below them."""
    seen, below = set[str](), set[str]()
    todo = [(name, False) for name in begin]
    while todo:
        name, done = todo.pop()
        if done:
            below.discard(name)
        elif name in below:
            yield name
        elif name not in seen:
            seen.add(name)
            below.add(name)
            todo.append((name, True))
            todo += [(onward, False) for onward in sorted(leads[name])]


def _has_cycle(leads: Mapping[str, set[str]]) -> bool:
    """Whether a name leads to itself. Names that lead nowhere are dropped until none is left."""
    left = dict(leads)
    while True:
        ended = [name for name, onward in left.items() if not onward & left.keys()]
        if not ended:
            return bool(left)
        for name in ended:
            del left[name]

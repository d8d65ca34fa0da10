r"""Patterns with assertions as expressions: `\b`, `^`, `$` and look-around say what stands beside a
place in the text.

A tree is translated together with what may follow it, K: an assertion about what comes next is an
intersection with K. What came before is a few facts about the last character (whether it is a part
of a word), so K is a function of these:

    [[ set S ]] K     = union over facts f of (S with f) K(f)
    [[ A | B ]] K     = [[A]] K | [[B]] K            [[ A B ]] K  =  [[A]] ([[B]] K)
    [[ (?=A) ]] K     = [[A]] everything  &  K        [[ \b ]] K   =  (word, or not a word, by the facts) & K
    [[ A* ]] K        = X  where  X = K | [[A without the empty text]] X

A part that is not regular has a weaker form; where a language is asked for that must not be too
large (under a complement), no text at all stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fkdsl.engine.constraints.charsets import Charset
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.patterns import ASSERTIONS, Tree

UNROLLED = 64
"""Times that a part with assertions is written out at most."""


class TextPlace(NamedTuple):
    """Where a text stands. facts: which of the sets the last character is in, in order; moved:
    whether anything was read since a repeat began."""

    start: bool
    facts: tuple[bool, ...]
    moved: bool


Rest = Callable[[TextPlace], int]


class PatternExpressions:
    """The translation of one pattern's tree. plain: the translation of trees without assertions.
    upper: whether the weaker form stands for what is not regular, else no text."""

    def __init__(
        self,
        algebra: Algebra,
        members: dict[Charset, frozenset[int]],
        plain: Callable[[Tree], int],
        tree: Tree,
    ) -> None:
        self.a, self.members, self.plain = algebra, members, plain
        self.behind = list(dict.fromkeys(_looked_behind(tree)))
        self.tree = tree

    def expression(self, upper: bool) -> int:
        start = TextPlace(True, (False,) * len(self.behind), True)
        return self.of(self.tree, start, lambda place: Algebra.EPSILON, upper)

    def of(self, tree: Tree, place: TextPlace, rest: Rest, upper: bool) -> int:
        if not has_assertions(tree):
            return self.without(self.plain(tree), place, rest)
        a = self.a
        match tree.operator, tree.parts:
            case "seq", parts:
                return self.sequence(parts, place, rest, upper)
            case "alt", parts:
                return a.union([self.of(p, place, rest, upper) for p in parts])
            case "repeat", (inner, least, most):
                return self.repeat(inner, least, most, place, rest, upper)
            case "ahead", (inner, must):
                begins = self.of(inner, place, lambda _: Algebra.EVERYTHING, upper == must)
                return a.intersection([begins if must else a.complement(begins), rest(place)])
            case "boundary", (word, must):
                on = a.concat(a.symbol(self.members[word]), Algebra.EVERYTHING)
                after_word = self.fact(place, word)
                wanted = a.complement(on) if after_word == must else on
                return a.intersection([wanted, rest(place)])
            case "behind", (runs, must):
                return rest(place) if self.fact(place, runs) == must else Algebra.EMPTY
            case "start", ():
                return rest(place) if place.start else Algebra.EMPTY
            case "end", (newline,):
                last = [a.symbol(self.members[newline])] if newline else []
                return a.intersection([a.union([Algebra.EPSILON, *last]), rest(place)])
            case "weaker", (inner, _):
                return self.of(inner, place, rest, upper) if upper else Algebra.EMPTY
        raise AssertionError(tree.operator)

    def fact(self, place: TextPlace, runs: Charset) -> bool:
        return place.facts[self.behind.index(runs)]

    def sequence(self, parts: tuple[Tree, ...], place: TextPlace, rest: Rest, upper: bool) -> int:
        if not parts:
            return rest(place)
        return self.of(
            parts[0], place, lambda then: self.sequence(parts[1:], then, rest, upper), upper
        )

    def without(self, expression: int, place: TextPlace, rest: Rest) -> int:
        """An expression without assertions, and then the rest, by the facts about its last
        character."""
        a = self.a
        options = [rest(place)] if a.nullable(expression) else []
        for facts, classes in self.by_facts():
            ends = a.intersection([expression, a.concat(Algebra.EVERYTHING, a.symbol(classes))])
            options.append(a.concat(ends, rest(TextPlace(False, facts, True))))
        return a.union(options)

    def by_facts(self) -> Iterable[tuple[tuple[bool, ...], frozenset[int]]]:
        found: dict[tuple[bool, ...], set[int]] = {}
        for symbol in range(self.a.symbols):
            found.setdefault(tuple(symbol in self.members[s] for s in self.behind), set()).add(
                symbol
            )
        return [(facts, frozenset(classes)) for facts, classes in found.items()]

    def repeat(
        self, inner: Tree, least: int, most: int, place: TextPlace, rest: Rest, upper: bool
    ) -> int:
        if least > UNROLLED or (most != INFINITE and most > UNROLLED):
            # Too much to be written out: any number of times, which is weaker.
            return self.repeat(inner, 0, INFINITE, place, rest, upper) if upper else Algebra.EMPTY
        if least:
            left = most if most == INFINITE else most - 1
            return self.of(
                inner,
                place,
                lambda then: self.repeat(inner, least - 1, left, then, rest, upper),
                upper,
            )
        if most == 0:
            return rest(place)
        a, known = self.a, dict[tuple[TextPlace, int], int]()

        def times(here: TextPlace, left: int) -> int:
            """What may follow before one more time, which must read something."""
            key = (here, left)
            if key not in known:
                known[key] = a.later() if left == INFINITE else Algebra.EMPTY
                options = [rest(here)]
                if left:
                    fewer = left if left == INFINITE else left - 1
                    again = self.of(
                        inner,
                        here._replace(moved=False),
                        lambda then: times(then, fewer) if then.moved else Algebra.EMPTY,
                        upper,
                    )
                    options.append(again)
                found = a.union(options)
                if left == INFINITE:
                    a.define(known[key], found)
                else:
                    known[key] = found
            return known[key]

        return times(place, most)


def has_assertions(tree: Tree) -> bool:
    """Whether anything in it looks at what stands beside it, or is not regular."""
    return tree.operator in ASSERTIONS or any(
        has_assertions(p) for p in tree.parts if isinstance(p, Tree)
    )


def _looked_behind(tree: Tree) -> Iterable[Charset]:
    if tree.operator in ("boundary", "behind"):
        yield tree.parts[0]
    for part in tree.parts:
        if isinstance(part, Tree):
            yield from _looked_behind(part)


def left_in(tree: Tree) -> Iterable[str]:
    """What in a tree has but a weaker form."""
    if tree.operator == "weaker":
        yield tree.parts[1]
    for part in tree.parts:
        if isinstance(part, Tree):
            yield from left_in(part)

r"""Patterns with assertions as expressions. An assertion (`\b`, `^`, `$`, look-around) is a
condition on the characters beside a place in the text.

The translation of a tree takes K, the language of what follows the tree. An assertion about what
comes next is an intersection with K. An assertion about what came before needs only a few facts
about the last character, such as whether it is part of a word. So K is a function of these facts:

    [[ set S ]] K     = union over facts f of (S with f) K(f)
    [[ A | B ]] K     = [[A]] K | [[B]] K           [[ A B ]] K  =  [[A]] ([[B]] K)
    [[ (?=A) ]] K     = [[A]] everything  &  K      [[ \b ]] K   =  (word or no word, by f)  &  K
    [[ A* ]] K        = X  where  X = K | [[A without the empty text]] X

A part that is not regular is replaced by its weaker form. Under a complement a larger language
would be wrong; there the part is replaced by the empty language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fkdsl.engine.constraints.charsets import Charset
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.patterns import ASSERTIONS, Tree

UNROLLED = 64
"""Most times that a repeated part with assertions is written out."""


class TextPlace(NamedTuple):
    """A place in a text. start: whether it is the beginning. facts: for each set that some
    assertion looks behind for, whether it has the last character. moved: whether a character was
    read since the innermost repeat began."""

    start: bool
    facts: tuple[bool, ...]
    moved: bool


Rest = Callable[[TextPlace], int]


class PatternExpressions:
    """The translation of one pattern's tree. plain: translates trees without assertions. In all
    methods upper says whether a part that is not regular becomes its weaker form, else the empty
    language."""

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
                word_next = a.concat(a.symbol(self.members[word]), Algebra.EVERYTHING)
                after_word = self.fact(place, word)
                asserted = a.complement(word_next) if after_word == must else word_next
                return a.intersection([asserted, rest(place)])
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
        """An expression without assertions followed by the rest, which depends on the facts about
        the expression's last character."""
        a = self.a
        options = [rest(place)] if a.nullable(expression) else []
        for facts, classes in self.by_facts():
            ends = a.intersection([expression, a.concat(Algebra.EVERYTHING, a.symbol(classes))])
            options.append(a.concat(ends, rest(TextPlace(False, facts, True))))
        return a.union(options)

    def by_facts(self) -> Iterable[tuple[tuple[bool, ...], frozenset[int]]]:
        """(facts, the classes of characters with these facts)."""
        classes_of: dict[tuple[bool, ...], set[int]] = {}
        for symbol in range(self.a.symbols):
            facts = tuple(symbol in self.members[s] for s in self.behind)
            classes_of.setdefault(facts, set()).add(symbol)
        return [(facts, frozenset(classes)) for facts, classes in classes_of.items()]

    def repeat(
        self, inner: Tree, least: int, most: int, place: TextPlace, rest: Rest, upper: bool
    ) -> int:
        if least > UNROLLED or (most != INFINITE and most > UNROLLED):
            # Too long to be written out. Any number of times is weaker.
            return self.repeat(inner, 0, INFINITE, place, rest, upper) if upper else Algebra.EMPTY
        if least:
            more = most if most == INFINITE else most - 1
            return self.of(
                inner,
                place,
                lambda then: self.repeat(inner, least - 1, more, then, rest, upper),
                upper,
            )
        if most == 0:
            return rest(place)
        a, known = self.a, dict[tuple[TextPlace, int], int]()

        def times(here: TextPlace, at_most: int) -> int:
            """The part at most so many times more, each time reading a character, then the rest."""
            key = (here, at_most)
            if key not in known:
                known[key] = a.later() if at_most == INFINITE else Algebra.EMPTY
                options = [rest(here)]
                if at_most:
                    fewer = at_most if at_most == INFINITE else at_most - 1
                    again = self.of(
                        inner,
                        here._replace(moved=False),
                        lambda then: times(then, fewer) if then.moved else Algebra.EMPTY,
                        upper,
                    )
                    options.append(again)
                expression = a.union(options)
                if at_most == INFINITE:
                    a.define(known[key], expression)
                else:
                    known[key] = expression
            return known[key]

        return times(place, most)


def has_assertions(tree: Tree) -> bool:
    """Whether a tree has an assertion or a part that is not regular."""
    return tree.operator in ASSERTIONS or any(
        has_assertions(p) for p in tree.parts if isinstance(p, Tree)
    )


def _looked_behind(tree: Tree) -> Iterable[Charset]:
    if tree.operator in ("boundary", "behind"):
        yield tree.parts[0]
    for part in tree.parts:
        if isinstance(part, Tree):
            yield from _looked_behind(part)


def weaker_reasons(tree: Tree) -> Iterable[str]:
    """The names of the parts of a tree that have only a weaker form."""
    if tree.operator == "weaker":
        yield tree.parts[1]
    for part in tree.parts:
        if isinstance(part, Tree):
            yield from weaker_reasons(part)

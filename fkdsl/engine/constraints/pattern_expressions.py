r"""Patterns with assertions and groups as expressions.

The translation of a tree takes K, the language of what follows the tree. An assertion about what
comes next is an intersection with K. An assertion about what came before, a back-reference and a
conditional need to know something of the text before. So K is a function of a place in a text, of
which just that is known (TextPlace):

    [[ set S ]] K     = union over places p behind a character of S of (S up to p) K(p)
    [[ A | B ]] K     = [[A]] K | [[B]] K           [[ A B ]] K  =  [[A]] ([[B]] K)
    [[ (?=A) ]] K     = [[A]] everything  &  K      [[ \b ]] K   =  (word or no word, by p)  &  K
    [[ A* ]] K        = X  where  X = K | [[A without the empty text]] X
    [[ (A) ]] K       = union over texts t of A of t K(the group is t)
    [[ (?>A) ]] K     = first_match.py

A part that is not regular is replaced by its weaker form. Under a complement a larger language
would be wrong; there the part is replaced by the empty language.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.engine.constraints.charsets import Charset
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.first_match import FirstMatch
from fkdsl.engine.constraints.histories import Histories
from fkdsl.engine.constraints.pattern_trees import (
    ANY_TEXT,
    Text,
    Tree,
    has_assertions,
    is_known,
    sequence,
    within,
)
from fkdsl.engine.constraints.text_places import (
    PERHAPS,
    UNKNOWN,
    UNSET,
    Capture,
    Later,
    Rest,
    TextPlace,
    remembered,
)


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
        self.tree = tree
        past = dict.fromkeys(t for part in within(tree) for t in _looked_behind(part))
        self.behind = list(past)
        self.histories = Histories(
            algebra, [self.past(t) for t in past], all(t.operator == "set" for t in past)
        )
        self.groups = list(dict.fromkeys(number for t in within(tree) for number in _captured(t)))

    def past(self, tree: Tree) -> int:
        """The texts that end with a text of a tree."""
        ends = sequence((ANY_TEXT, tree))
        if not has_assertions(tree):
            return self.plain(ends)
        return PatternExpressions(self.a, self.members, self.plain, ends).expression(True)

    def expression(self, upper: bool) -> int:
        captures = (UNSET,) * len(self.groups)
        start = TextPlace(True, self.histories.start, captures)
        return self.of(self.tree, lambda place: Algebra.EPSILON, upper)(start)

    def of(self, tree: Tree, rest: Rest, upper: bool) -> Rest:
        """The language of a tree and the rest, as a function of the place before them."""
        a = self.a
        if not has_assertions(tree):
            expression = self.plain(tree)
            return remembered(lambda place: self.without(expression, place, rest))
        match tree.operator, tree.parts:
            case "seq", parts:
                for part in reversed(_joined(parts)):
                    rest = self.of(part, rest, upper)
                return rest
            case "alt", parts:
                options = [self.of(part, rest, upper) for part in parts]
                return remembered(lambda place: a.union([option(place) for option in options]))
            case "repeat", (inner, least, most, _):
                return self.repeat(inner, least, most, rest, upper)
            case "atomic", (inner,):
                return FirstMatch(a, self.of, self.branches, rest, upper).of((inner,))
            case "group" | "ref" | "given" | "forget", _:
                return self.of_group(tree, rest, upper)
            case "weaker", (inner, _):
                return self.of(inner, rest, upper) if upper else _nothing
        return remembered(self.assertion(tree, rest, upper))

    def assertion(self, tree: Tree, rest: Rest, upper: bool) -> Rest:
        a = self.a
        match tree.operator, tree.parts:
            case "ahead", (inner, must):
                begins = self.of(inner, lambda _: Algebra.EVERYTHING, upper == must)
                if must:
                    return lambda place: a.intersection([begins(place), rest(place)])
                return lambda place: a.intersection([a.complement(begins(place)), rest(place)])
            case "boundary", (word, must):
                before = Tree("set", (word,))
                word_next = a.concat(a.symbol(self.members[word]), Algebra.EVERYTHING)
                no_word_next = a.complement(word_next)
                return lambda place: a.intersection(
                    [
                        no_word_next if self.is_behind(place, before) == must else word_next,
                        rest(place),
                    ]
                )
            case "behind", (inner, must):
                return lambda place: (
                    rest(place) if self.is_behind(place, inner) == must else Algebra.EMPTY
                )
            case "start", ():
                return lambda place: rest(place) if place.start else Algebra.EMPTY
            case "end", (newline,):
                last = [a.symbol(self.members[newline])] if newline else []
                ends = a.union([Algebra.EPSILON, *last])
                return lambda place: a.intersection([ends, rest(place)])
        raise AssertionError(tree.operator)

    def is_behind(self, place: TextPlace, tree: Tree) -> bool:
        return self.a.nullable(place.history[self.behind.index(tree)])

    def without(self, expression: int, place: TextPlace, rest: Rest) -> int:
        """An expression without assertions followed by the rest, which depends on the place behind
        the expression."""
        a = self.a
        options = [rest(place)] if a.nullable(expression) else []
        read = (None,) * len(place.times)
        for history, ends in self.histories.ends(place.history, expression):
            behind = place._replace(start=False, history=history, times=read)
            options.append(a.concat(ends, rest(behind)))
        return a.union(options)

    # ---------------------------------------------------------------------- groups

    def of_group(self, tree: Tree, rest: Rest, upper: bool) -> Rest:
        a = self.a
        match tree.operator, tree.parts:
            case "group", (number, inner, texts):
                if texts is None or has_assertions(inner):
                    return self.of(inner, self.capturing(number, UNKNOWN, rest), upper)
                options = [
                    self.of(_text(text), self.capturing(number, text, rest), upper)
                    for text in texts
                ]
                return remembered(lambda place: a.union([option(place) for option in options]))
            case "ref", (number, cases, unknown, _):
                any_text = self.of(unknown, rest, upper) if upper else _nothing
                return remembered(self.reference(number, dict(cases), any_text, rest, upper))
            case "given", (number, yes, no):
                ways = {tree: self.of(tree, rest, upper) for tree in (yes, no)}
                return remembered(
                    lambda place: a.union(
                        [ways[t](place) for t in self.branches(number, yes, no, place)]
                    )
                )
            case "forget", (numbers,) if upper:
                for number in numbers:
                    rest = self.capturing(number, PERHAPS, rest)
                return rest
        return _nothing

    def reference(
        self, number: int, either: dict[Charset, Charset], any_text: Rest, rest: Rest, upper: bool
    ) -> Rest:
        """A back-reference. either: what a character may be instead. any_text: what follows where
        the text is not known."""

        def again(place: TextPlace) -> int:
            text = self.capture(place, number)
            if isinstance(text, str):
                return Algebra.EMPTY if text == UNSET else any_text(place)
            if not (upper or is_known(text)):
                return Algebra.EMPTY
            sets = tuple(either.get(runs, runs) for runs in text)
            return self.without(self.plain(_text(sets)), place, rest)

        return again

    def branches(self, number: int, yes: Tree, no: Tree, place: TextPlace) -> list[Tree]:
        """What a conditional may go on with: one tree, or both where nothing is known."""
        text = self.capture(place, number)
        return [yes, no] if text == PERHAPS else [no if text == UNSET else yes]

    def capturing(self, number: int, text: Capture, rest: Rest) -> Rest:
        """The rest behind a place where a group captures a text."""
        at = self.groups.index(number)

        def then(place: TextPlace) -> int:
            captures = (*place.captures[:at], text, *place.captures[at + 1 :])
            return rest(place._replace(captures=captures))

        return then

    def capture(self, place: TextPlace, number: int) -> Capture:
        return place.captures[self.groups.index(number)] if number in self.groups else UNSET

    # --------------------------------------------------------------------- repeats

    def repeat(self, inner: Tree, least: int, most: int, rest: Rest, upper: bool) -> Rest:
        more = self.star(inner, rest, upper) if most == INFINITE else rest
        for _ in range(most - least if most != INFINITE else 0):
            more = self.perhaps(inner, more, rest, upper)
        for _ in range(least):
            more = self.of(inner, more, upper)
        return more

    def perhaps(self, inner: Tree, more: Rest, rest: Rest, upper: bool) -> Rest:
        """The part once and more of it, or the rest. See `star`."""

        def then(place: TextPlace) -> int:
            before, outside = place.times[-1], place._replace(times=place.times[:-1])
            ends = before is not None and place.captures in before
            return Algebra.EMPTY if ends else more(outside)

        once = self.of(inner, then, upper)
        return remembered(
            lambda place: self.a.union([rest(place), once(_begun(place, (place.captures,)))])
        )

    def star(self, inner: Tree, rest: Rest, upper: bool) -> Rest:
        """The part any number of times, then the rest. The library ends a repeat after a time that
        has read nothing and captured nothing new."""
        repeats = Later(self.a)

        def again(place: TextPlace, before: tuple[tuple[Capture, ...], ...]) -> int:
            before = (*before, place.captures)
            return self.a.union([rest(place), once(_begun(place, before))])

        def then(place: TextPlace) -> int:
            before, outside = place.times[-1], place._replace(times=place.times[:-1])
            if before is None:
                return repeats(outside)
            return Algebra.EMPTY if place.captures in before else again(outside, before)

        once = self.of(inner, remembered(then), upper)
        repeats.definition = lambda place: again(place, ())
        return repeats


def _begun(place: TextPlace, before: tuple[tuple[Capture, ...], ...]) -> TextPlace:
    """A place in one more time of a repeat. before: see TextPlace."""
    return place._replace(times=(*place.times, before))


def _nothing(place: TextPlace) -> int:
    return Algebra.EMPTY


def _text(text: Text) -> Tree:
    return Tree("seq", tuple(Tree("set", (runs,)) for runs in text))


def _joined(parts: tuple[Tree, ...]) -> list[Tree]:
    """The parts of a sequence, those without assertions that stand side by side as one."""
    joined: list[Tree] = []
    for part in parts:
        plain = not has_assertions(part)
        if plain and joined and not has_assertions(joined[-1]):
            joined[-1] = sequence((joined[-1], part))
        else:
            joined.append(part)
    return joined


def _captured(tree: Tree) -> tuple[int, ...]:
    """The groups of which a tree tells something."""
    match tree.operator, tree.parts:
        case "group", (number, *_):
            return (number,)
        case "forget", (numbers,):
            return tuple(numbers)
    return ()


def _looked_behind(tree: Tree) -> list[Tree]:
    match tree.operator, tree.parts:
        case "boundary", (word, _):
            return [Tree("set", (word,))]
        case "behind", (inner, _):
            return [inner]
    return []

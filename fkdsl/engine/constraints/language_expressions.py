"""Regular languages as expressions of an algebra, which make an automaton (automaton.py)."""

from __future__ import annotations

from collections.abc import Iterable

from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    REPLACEMENT,
    Charset,
    charset,
    letter_charset,
    without_point,
)
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.languages import (
    IN_WORD,
    JOINT,
    WORD,
    Both,
    Complement,
    Contains,
    EachWord,
    Either,
    EndsWith,
    Language,
    Larger,
    LastWord,
    Length,
    Letters,
    Matches,
    StartsWith,
    Texts,
    WordAt,
    WordCount,
)
from fkdsl.engine.constraints.pattern_expressions import PatternExpressions
from fkdsl.engine.constraints.patterns import Tree, Unsupported, parse_pattern, text_tree


class LanguageExpressions:
    """Languages as expressions of an algebra over a partition. members: the classes of each
    charset. clean: the expression of texts without U+FFFD."""

    def __init__(self, algebra: Algebra, members: dict[Charset, frozenset[int]]) -> None:
        self.a, self.members = algebra, members
        self.clean = algebra.star(
            algebra.symbol(members[without_point(ALL_CHARACTERS, REPLACEMENT)])
        )

    def language(self, language: Language, upper: bool = True) -> int:
        """The expression of a language. Where a part has only a weaker form, the result is larger
        than the language, or, if not `upper`, smaller."""
        a = self.a
        match language:
            case Matches(pattern):
                return a.intersection([self.matches(pattern, upper), self.clean])
            case Texts(texts):
                return a.intersection([self.texts(texts), self.clean])
            case Contains(part):
                return a.concat_all([a.EVERYTHING, self.text(part), a.EVERYTHING])
            case StartsWith(part):
                return a.concat(self.text(part), a.EVERYTHING)
            case EndsWith(part):
                return a.concat(a.EVERYTHING, self.text(part))
            case Length(least, most):
                return a.repeat(a.any_symbol(), least, most)
            case Letters(least, most):
                return self.letter_count(least, most)
            case EachWord() | WordCount() | WordAt() | LastWord():
                return self.of_words(language, upper)
            case Larger(part=inner):
                return self.language(inner, True) if upper else a.EMPTY
            case Both(parts):
                return a.intersection([self.language(p, upper) for p in parts])
            case Either(parts):
                return a.union([self.language(p, upper) for p in parts])
            case Complement(part=inner):
                return a.complement(self.language(inner, not upper))
        raise Unsupported("a schema or a grammar inside `or` or `not`")

    def of_words(self, language: EachWord | WordCount | WordAt | LastWord, upper: bool) -> int:
        """`language` for those that speak of the words of a text."""
        match language:
            case WordCount(least, most):
                return self.word_count(least, most)
            case EachWord(part):
                return self.each_word(self.language(part, upper))
            case WordAt(index, part):
                return self.word_at(index, self.language(part, upper))
            case LastWord(part):
                return self.last_word(self.language(part, upper))

    def matches(self, pattern: str, upper: bool) -> int:
        """The texts that a pattern matches, those with U+FFFD included."""
        tree = parse_pattern(pattern)
        return PatternExpressions(self.a, self.members, self.tree, tree).expression(upper)

    def letter_count(self, least: int, most: int) -> int:
        a, letter = self.a, self.members[letter_charset()]
        others = a.star(self.all_but(letter))
        return a.concat(a.repeat(a.concat(others, a.symbol(letter)), least, most), others)

    def gaps(self) -> tuple[int, int]:
        """(any characters outside of words, such characters as separate two words): a single joint
        separates no words, since it would join them into one."""
        a = self.a
        inside, joint = (self.members[charset(one)] for one in (IN_WORD, JOINT))
        outside = self.all_but(inside)
        apart = a.star(outside)
        gap = a.union(
            [
                a.concat(self.all_but(inside | joint), apart),
                a.concat_all([a.symbol(joint), outside, apart]),
            ]
        )
        return apart, gap

    def each_word(self, language: int) -> int:
        """The texts of which every word is in a language."""
        a = self.a
        apart, gap = self.gaps()
        word = a.intersection([self.tree(parse_pattern(WORD)), language])
        more = a.star(a.concat(gap, word))
        return a.union([apart, a.concat_all([apart, word, more, apart])])

    def word_among(
        self, least: int, most: int, word: int, least_after: int, most_after: int
    ) -> int:
        """The texts with a word of the language `word` that has `least` to `most` words before it
        and `least_after` to `most_after` words after it."""
        a = self.a
        apart, gap = self.gaps()
        any_word = self.tree(parse_pattern(WORD))
        before = a.repeat(a.concat(any_word, gap), least, most)
        after = a.repeat(a.concat(gap, any_word), least_after, most_after)
        return a.concat_all([apart, before, a.intersection([any_word, word]), after, apart])

    def word_count(self, least: int, most: int) -> int:
        a = self.a
        none = a.star(self.all_but(self.members[charset(IN_WORD)])) if least <= 0 else a.EMPTY
        if most == 0:
            return none
        more = INFINITE if most == INFINITE else most - 1
        return a.union([none, self.word_among(max(least, 1) - 1, more, a.EVERYTHING, 0, 0)])

    def last_word(self, word: int) -> int:
        a = self.a
        none = self.word_count(0, 0) if a.nullable(word) else a.EMPTY
        return a.union([none, self.word_among(0, INFINITE, word, 0, 0)])

    def word_at(self, index: int, word: int) -> int:
        a = self.a
        if index >= 0:
            return a.union(
                [self.word_count(0, index), self.word_among(index, index, word, 0, INFINITE)]
            )
        after = -index - 1
        return a.union(
            [self.word_count(0, after), self.word_among(0, INFINITE, word, after, after)]
        )

    def all_but(self, classes: frozenset[int]) -> int:
        """One character that is in none of the classes."""
        return self.a.symbol(set(range(self.a.symbols)) - classes)

    def text(self, text: str) -> int:
        return self.tree(text_tree(text))

    def texts(self, texts: Iterable[str]) -> int:
        """One of the texts, as a trie: so the union at each character has few parts, however many
        texts there are."""
        by_first: dict[str, list[str]] = {}
        for text in texts:
            by_first.setdefault(text[:1], []).append(text[1:])
        parts = [self.a.concat(self.text(c), self.texts(rest)) for c, rest in by_first.items() if c]
        return self.a.union([*parts, *([self.a.EPSILON] if "" in by_first else [])])

    def tree(self, tree: Tree) -> int:
        a = self.a
        match tree.operator, tree.parts:
            case "set", (runs,):
                return a.symbol(self.members[runs])
            case "seq", parts:
                return a.concat_all(map(self.tree, parts))
            case "alt", parts:
                return a.union(map(self.tree, parts))
            case "repeat", (inner, least, most):
                return a.repeat(self.tree(inner), least, INFINITE if most == -1 else most)
        raise AssertionError(tree.operator)

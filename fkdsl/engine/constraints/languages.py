r"""Languages: sets of texts, as values.

    Matches(r"\d+")  Texts(("yes", "no"))  Contains("sea")  StartsWith("A")  EndsWith(".")
    Length(0, 20)  Letters(0, 5)  EachWord(Letters(0, 5))  JsonText(schema)  GrammarText(grammar)
    Both((a, b))  Either((a, b))  Complement(a)

A text with U+FFFD, which stands for bytes that are no text, is in no Matches, Texts, JsonText or
GrammarText.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    REPLACEMENT,
    Charset,
    charset,
    letter_charset,
    without_point,
)
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.pattern_expressions import PatternExpressions, weaker_reasons
from fkdsl.engine.constraints.patterns import (
    Tree,
    Unsupported,
    charsets_of,
    parse_pattern,
    text_tree,
)

IN_WORD, JOINT = r"[^\W_]", "['\u2019-]"
"""A letter or digit, and a sign that may stand between two of them within a word."""
WORD = f"{IN_WORD}+(?:{JOINT}{IN_WORD}+)*"
"""The pattern of a word."""


@dataclass(frozen=True)
class Language:
    """A set of texts."""


@dataclass(frozen=True)
class Matches(Language):
    pattern: str


@dataclass(frozen=True)
class Texts(Language):
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Contains(Language):
    part: str


@dataclass(frozen=True)
class StartsWith(Language):
    part: str


@dataclass(frozen=True)
class EndsWith(Language):
    part: str


@dataclass(frozen=True)
class Length(Language):
    """The texts of `least` to `most` characters; most -1: no upper bound."""

    least: int
    most: int


@dataclass(frozen=True)
class Letters(Language):
    """The texts with `least` to `most` letters; most -1: no upper bound."""

    least: int
    most: int


@dataclass(frozen=True)
class EachWord(Language):
    """The texts of which every word (WORD) is in the part, whatever stands between the words."""

    part: Language


@dataclass(frozen=True)
class WordCount(Language):
    """The texts of `least` to `most` words; most -1: no upper bound."""

    least: int
    most: int


@dataclass(frozen=True)
class WordAt(Language):
    """The texts whose word at an index, counted from the end if negative, is in the part; and the
    texts with too few words: for these the program raises an error, which a mask must not hide."""

    index: int
    part: Language


@dataclass(frozen=True)
class LastWord(Language):
    """The texts whose last word, "" if there is none, is in the part."""

    part: Language


@dataclass(frozen=True)
class Larger(Language):
    """A language that is known only as a subset of the part. reason: why no more is known."""

    part: Language
    reason: str


@dataclass(frozen=True)
class JsonText(Language):
    """The JSON texts that fit a schema. schema: its text, "" for any JSON. format: whether `format`
    is asserted. order: whether properties must come in the schema's order."""

    schema: str
    format: bool = True
    order: bool = True


@dataclass(frozen=True)
class GrammarText(Language):
    grammar: str


@dataclass(frozen=True)
class Both(Language):
    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Either(Language):
    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Complement(Language):
    part: Language


def conjunct_languages(language: Language) -> Iterable[Language]:
    """The parts of a conjunction, one by one."""
    if isinstance(language, Both):
        for part in language.parts:
            yield from conjunct_languages(part)
    else:
        yield language


def is_strict(language: Language) -> bool:
    """Whether the form of a language shows that it has no text with U+FFFD."""
    match language:
        case Matches() | Texts() | JsonText() | GrammarText():
            return True
        case Both(parts):
            return any(map(is_strict, parts))
        case Either(parts):
            return all(map(is_strict, parts))
    return False


def is_regular(language: Language) -> bool:
    """Whether an automaton can follow a language: it has no schema or grammar in it."""
    match language:
        case JsonText() | GrammarText():
            return False
        case Both(parts) | Either(parts):
            return all(map(is_regular, parts))
        case (
            Complement(part)
            | EachWord(part)
            | WordAt(part=part)
            | LastWord(part)
            | Larger(part=part)
        ):
            return is_regular(part)
    return True


def trees_of(language: Language) -> Iterable[Tree]:
    """The pattern trees of a regular language and its parts. Raises Unsupported."""
    match language:
        case Matches(pattern):
            yield parse_pattern(pattern)
        case Texts(texts):
            yield from map(text_tree, texts)
        case Contains(part) | StartsWith(part) | EndsWith(part):
            yield text_tree(part)
        case Both(parts) | Either(parts):
            for p in parts:
                yield from trees_of(p)
        case Complement(part=inner) | Larger(part=inner):
            yield from trees_of(inner)
        case WordCount():
            yield parse_pattern(WORD)
        case EachWord(part=inner) | WordAt(part=inner) | LastWord(part=inner):
            yield parse_pattern(WORD)
            yield from trees_of(inner)


def weaker_form_reasons(language: Language) -> list[str]:
    """A line for each part of a regular language that is followed by a weaker form. Raises
    Unsupported."""
    pattern_reasons = (reason for tree in trees_of(language) for reason in weaker_reasons(tree))
    return [*dict.fromkeys([*pattern_reasons, *larger_reasons(language)])]


def larger_reasons(language: Language) -> Iterable[str]:
    """The reasons of the parts of a language that are Larger."""
    match language:
        case Larger(reason=reason):
            yield reason
        case Both(parts) | Either(parts):
            for part in parts:
                yield from larger_reasons(part)
        case (
            Complement(part=inner)
            | EachWord(part=inner)
            | WordAt(part=inner)
            | LastWord(part=inner)
        ):
            yield from larger_reasons(inner)


def charsets_in(language: Language, stops: Iterable[str]) -> list[Charset]:
    """Every set of characters that the automaton of a language must distinguish."""
    trees = [*trees_of(language), *map(text_tree, stops)]
    counted = [letter_charset()] if counts_letters(language) else []
    return [
        *dict.fromkeys(s for tree in trees for s in charsets_of(tree)),
        *counted,
        without_point(ALL_CHARACTERS, REPLACEMENT),
    ]


def counts_letters(language: Language) -> bool:
    match language:
        case Letters():
            return True
        case Both(parts) | Either(parts):
            return any(map(counts_letters, parts))
        case (
            Complement(part)
            | EachWord(part)
            | WordAt(part=part)
            | LastWord(part)
            | Larger(part=part)
        ):
            return counts_letters(part)
    return False


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
            case EachWord(part=inner):
                return self.each_word(self.language(inner, upper))
            case WordCount(least, most):
                return self.word_count(least, most)
            case WordAt(index, inner):
                return self.word_at(index, self.language(inner, upper))
            case LastWord(part=inner):
                return self.last_word(self.language(inner, upper))
            case Larger(part=inner):
                return self.language(inner, True) if upper else a.EMPTY
            case Both(parts):
                return a.intersection([self.language(p, upper) for p in parts])
            case Either(parts):
                return a.union([self.language(p, upper) for p in parts])
            case Complement(part=inner):
                return a.complement(self.language(inner, not upper))
        raise Unsupported("a schema or a grammar inside `or` or `not`")

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

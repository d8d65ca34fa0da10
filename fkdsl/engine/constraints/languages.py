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
    letter_charset,
    without_point,
)
from fkdsl.engine.constraints.pattern_expressions import weaker_reasons
from fkdsl.engine.constraints.patterns import (
    Tree,
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


def components(language: Language) -> tuple[Language, ...]:
    """The languages of which a language is made, one level down."""
    match language:
        case Both(parts) | Either(parts):
            return parts
        case (
            Complement(part)
            | EachWord(part)
            | WordAt(part=part)
            | LastWord(part)
            | Larger(part=part)
        ):
            return (part,)
    return ()


def is_regular(language: Language) -> bool:
    """Whether an automaton can follow a language: it has no schema or grammar in it."""
    if isinstance(language, JsonText | GrammarText):
        return False
    return all(map(is_regular, components(language)))


def trees_of(language: Language) -> Iterable[Tree]:
    """The pattern trees of a regular language and its parts. Raises Unsupported."""
    match language:
        case Matches(pattern):
            yield parse_pattern(pattern)
        case Texts(texts):
            yield from map(text_tree, texts)
        case Contains(part) | StartsWith(part) | EndsWith(part):
            yield text_tree(part)
        case WordCount() | EachWord() | WordAt() | LastWord():
            yield parse_pattern(WORD)
    for component in components(language):
        yield from trees_of(component)


def weaker_form_reasons(language: Language) -> list[str]:
    """A line for each part of a regular language that is followed by a weaker form. Raises
    Unsupported."""
    pattern_reasons = (reason for tree in trees_of(language) for reason in weaker_reasons(tree))
    return [*dict.fromkeys([*pattern_reasons, *larger_reasons(language)])]


def larger_reasons(language: Language) -> Iterable[str]:
    """The reasons of the parts of a language that are Larger."""
    if isinstance(language, Larger):
        yield language.reason
        return
    for component in components(language):
        yield from larger_reasons(component)


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
    """Whether a language has a part of Letters."""
    return isinstance(language, Letters) or any(map(counts_letters, components(language)))

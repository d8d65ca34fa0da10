"""What languages (languages.py) are made of, and what their form shows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from fkdsl.engine.constraints.json_languages import JsonField, JsonItems, JsonNumbers
from fkdsl.engine.constraints.languages import (
    Added,
    Beginnings,
    Both,
    Cased,
    Complement,
    Contains,
    Count,
    Counted,
    Either,
    Framed,
    GrammarText,
    Items,
    JsonText,
    Language,
    Larger,
    Listed,
    Matches,
    MayFail,
    NoneIf,
    One,
    OneOf,
    Replaced,
    Row,
    Sliced,
    Stripped,
    Summed,
    Texts,
    Times,
    Undivided,
    WholeNumber,
)

PLAIN_PATTERN = re.compile(r"(?:(?:\[[A-Za-z'-]+\]|\\[dw]|[A-Za-z0-9])[+*]?){1,8}")
"""Patterns that are a few characters and classes in a row."""
SHORT = 100
"""Most characters of few texts."""


def conjunct_languages(language: Language) -> Iterable[Language]:
    """The parts of a conjunction, one by one."""
    if isinstance(language, Both):
        for part in language.parts:
            yield from conjunct_languages(part)
    else:
        yield language


def is_plain(language: Language) -> bool:
    """Whether a language is seen at once to have a small automaton: of every word it is said that
    it is, or is not, one of few texts, or that it matches a pattern of a few characters and
    classes. No automaton is made for that, nor what makes them imported.

    >>> every = OneOf((Row((Times(One(Matches("[a-z'-]+")), 0, -1),)),))
    >>> is_plain(Listed("words", every)), is_plain(Matches("(a|b)*"))
    (True, False)
    """
    match language:
        case Listed(by="words", items=OneOf(parts=(Row(parts=parts),))):
            ones = [part.part for part in parts if isinstance(part, Times)]
            return len(ones) == len(parts) and all(
                isinstance(one, One) and _is_plain_word(one.part) for one in ones
            )
    return False


def _is_plain_word(language: Language) -> bool:
    match language:
        case Matches(pattern):
            return PLAIN_PATTERN.fullmatch(pattern) is not None
        case Texts(texts):
            return sum(map(len, texts)) <= SHORT
        case Complement(part):
            return _is_plain_word(part)
        case Both(parts):
            return not parts
    return False


def words_together(parts: Iterable[Language]) -> list[Language]:
    """The parts of a conjunction, with all the words that a text must not contain in one of them:
    that is one automaton, however many they are."""
    parts, others, words = list(parts), list[Language](), dict[Language, None]()
    for part in parts:
        match part:
            case Complement(Contains() as word):
                words[word] = None
            case Complement(Either(banned)) if all(isinstance(b, Contains) for b in banned):
                words |= dict.fromkeys(banned)
            case _:
                others.append(part)
    together = Complement(Either(tuple(words)))
    return [*others, together] if len(others) + 1 < len(parts) else parts


def without_mistakes(language: Language) -> Language:
    """The language with the texts for which the program raises an error outside of it, as others
    that are not in it."""

    def change(node: Any) -> Any:
        if isinstance(node, MayFail):
            return change(node.part)
        if isinstance(node, tuple):
            return tuple(map(change, node))
        if isinstance(node, Language | Items | Count):
            changed = {f.name: change(getattr(node, f.name)) for f in fields(node)}
            return replace(node, **changed)
        return node

    result: Language = change(language)
    return result


def components(language: Language) -> tuple[Language, ...]:
    """The languages of which a language is made, one level down."""
    match language:
        case Both(parts) | Either(parts):
            return parts
        case (
            Complement(part)
            | Cased(part=part)
            | Stripped(part=part)
            | Sliced(part=part)
            | Framed(part=part)
            | Replaced(part=part)
            | Larger(part=part)
            | Undivided(part=part)
            | Beginnings(part=part)
        ):
            return (part,)
        case Counted(counts):
            return tuple(count.part for count in counts)
        case MayFail(part, fails):
            return (part, fails)
        case Listed(items=items):
            return tuple(parts_of(items))
    return ()


def parts_of(items: Items) -> Iterable[Language]:
    """The languages of the items."""
    match items:
        case One(part) | NoneIf(part):
            yield part
        case Row(lists) | OneOf(lists):
            for inner in lists:
                yield from parts_of(inner)
        case Times(part=inner):
            yield from parts_of(inner)
        case Added() | Summed():
            yield WholeNumber(((None, None),))


def has_larger(language: Language) -> bool:
    """Whether a part of a language is known only as a subset of another one."""
    return isinstance(language, Larger) or any(map(has_larger, components(language)))


def is_regular(language: Language) -> bool:
    """Whether an automaton can follow a language: it has no schema or grammar in it."""
    if isinstance(language, JsonText | JsonNumbers | JsonField | JsonItems | GrammarText):
        return False
    return all(map(is_regular, components(language)))

"""The sets of characters that an automaton must tell apart to follow a language, and where it can
only follow a weaker form of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from fkdsl.engine.constraints.case_mapping import preimages, tells_sigmas_apart, unchanged
from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    REPLACEMENT,
    Charset,
    all_characters,
    charset,
    letter_charset,
    single,
    without_point,
)
from fkdsl.engine.constraints.language_parts import components
from fkdsl.engine.constraints.languages import (
    CLOSER,
    IN_WORD,
    JOINT,
    MARK,
    Cased,
    Contains,
    Counted,
    EndsWith,
    InCase,
    Language,
    Larger,
    Letters,
    Listed,
    Matches,
    Ordered,
    Outlined,
    PartOf,
    Replaced,
    StartsWith,
    Stripped,
    Texts,
    Trimmed,
    WholeNumber,
)
from fkdsl.engine.constraints.pattern_trees import (
    Tree,
    charsets_of,
    text_tree,
    weaker_reasons,
    within,
)
from fkdsl.engine.constraints.patterns import parse_pattern

BREAK = r"[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]"
"""The characters that end a line for `str.splitlines`."""
SPACE = r"[\s\x1c-\x1f]"
"""The characters that `str.strip` and `str.split` take for white space."""


def white_space(characters: str) -> Charset:
    """What `strip` takes away: the characters, or white space if there are none."""
    return (
        tuple((p, p + 1) for p in sorted(set(map(ord, characters))))
        if characters
        else charset(SPACE)
    )


def digit_charset(value: int) -> Charset:
    """The characters that Python takes for a digit of a value."""
    return _digits()[value]


@lru_cache(maxsize=1)
def _digits() -> tuple[Charset, ...]:
    digits = [c for c in all_characters() if c.isdecimal()]
    return tuple(
        tuple((ord(c), ord(c) + 1) for c in digits if int(c) == value) for value in range(10)
    )


def charsets_in(language: Language, stops: Iterable[str]) -> list[Charset]:
    """Every set of characters that the automaton of a language must distinguish. Raises
    Unsupported."""
    trees = map(text_tree, stops)
    return [
        *dict.fromkeys([*_charsets(language), *(s for tree in trees for s in charsets_of(tree))]),
        without_point(ALL_CHARACTERS, REPLACEMENT),
    ]


def _charsets(language: Language) -> list[Charset]:
    below = [s for part in components(language) for s in _charsets(part)]
    match language:
        case Matches() | Texts() | Contains() | StartsWith() | EndsWith() | Outlined():
            return [s for tree in _trees(language) for s in charsets_of(tree)]
        case PartOf(whole):
            return list(map(single, dict.fromkeys(whole)))
        case Letters():
            return [letter_charset()]
        case Ordered(_, text):
            points = sorted({ord(c) for c in text} - {0})
            return [*map(single, text), *(((0, point),) for point in points)]
        case WholeNumber():
            return [*map(digit_charset, range(10)), charset(SPACE), *map(single, "+-_")]
        case Replaced(old):
            return [*below, *map(single, old)]
        case Counted(counts):
            return [*below, *(s for count in counts for s in _charsets_of_items(count.by))]
        case InCase(to):
            return [unchanged(to)]
        case Trimmed(characters) | Stripped(characters=characters):
            return [*below, white_space(characters)]
        case Cased(to):
            return [*below, *preimages(to, list(dict.fromkeys(below)))]
        case Listed(by):
            return [*below, *_charsets_of_items(by)]
    return below


def _charsets_of_items(by: str | tuple[str, str]) -> list[Charset]:
    match by:
        case "words":
            return [charset(IN_WORD), charset(JOINT)]
        case "lines":
            return [charset(BREAK), single("\n"), single("\r")]
        case "sentences":
            return [charset(MARK), charset(CLOSER), charset(SPACE)]
        case "parts":
            return [charset(SPACE)]
        case (_, between):
            return list(map(single, between))
    return []


def _trees(language: Language) -> Iterable[Tree]:
    """Pattern trees with the sets of characters and the assertions of a language, not of its
    parts. Raises Unsupported."""
    match language:
        case Matches(pattern):
            yield parse_pattern(pattern)
        case Texts(texts):
            yield text_tree("".join(dict.fromkeys("".join(texts))))  # each character once
        case Contains(part) | StartsWith(part) | EndsWith(part):
            yield text_tree(part)
        case Outlined(outline, stops):
            yield from outline.trees
            yield from map(text_tree, stops)


def weaker_form_reasons(language: Language) -> list[str]:
    """A line for each part of a regular language that is followed by a weaker form. Raises
    Unsupported."""
    return list(dict.fromkeys(_reasons(language)))


def _reasons(language: Language) -> Iterable[str]:
    if isinstance(language, Larger):
        if language.reason:
            yield language.reason
        return
    for tree in _trees(language):
        yield from weaker_reasons(tree)
    if isinstance(language, Cased) and tells_sigmas_apart(language.to, _charsets(language.part)):
        yield "the lower case of a capital sigma, which depends on its neighbours"
    for component in components(language):
        yield from _reasons(component)


def refers_to_groups(language: Language) -> bool:
    """Whether a pattern in a regular language has back-references."""
    here = any(part.operator == "ref" for tree in _trees(language) for part in within(tree))
    return here or any(map(refers_to_groups, components(language)))

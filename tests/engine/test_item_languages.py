"""Languages of words, lines, sentences and parts of a text, and of its forms: for every short text
what the library's functions say."""

from itertools import product
from re import fullmatch

import pytest

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.charsets import all_characters, charset
from fkdsl.engine.constraints.language_charsets import BREAK, SPACE, weaker_form_reasons
from fkdsl.engine.constraints.languages import (
    Cased,
    Complement,
    Contains,
    EndsWith,
    InCase,
    Matches,
    Sliced,
    StartsWith,
    Stripped,
    Texts,
    Trimmed,
    character_at,
    each_item,
    item_at,
    item_count,
    last_word,
)
from fkdsl.values.library import text as library

WAYS = {
    "words": (library.all_words, "ab '-"),
    "lines": (library.lines, "a\n\r\x0b"),
    "sentences": (library.sentences, "a .)\n"),
    "characters": (tuple, "ab "),
    "parts": (lambda s: tuple(s.split()), "a b\n"),
    ("parts", "aa"): (lambda s: tuple(s.split("aa")), "ab"),
    ("parts", ", "): (lambda s: tuple(s.split(", ")), "a, "),
    ("parts", "aba"): (lambda s: tuple(s.split("aba")), "abc"),
}
PART = Texts(("a", "a-b", "a.", ""))


def assert_same(language, holds, characters, longest=5):
    """The automaton accepts the texts of which `holds` says true, among all that are short."""
    automaton = Automaton(language)
    for n in range(longest + 1):
        for s in map("".join, product(characters, repeat=n)):
            assert automaton.accepts(s) == holds(s), repr(s)


@pytest.mark.parametrize("by", WAYS, ids=str)
def test_languages_of_items_are_those_of_the_library(by):
    items, characters = WAYS[by]
    assert_same(each_item(by, PART), lambda s: set(items(s)) <= set(PART.texts), characters)
    assert_same(item_count(by, 1, 2), lambda s: 1 <= len(items(s)) <= 2, characters)
    assert_same(item_count(by, 3, -1), lambda s: len(items(s)) >= 3, characters)


@pytest.mark.parametrize("index", [0, 2, -1, -2])
@pytest.mark.parametrize("by", WAYS, ids=str)
def test_an_item_at_an_index_is_the_library_s_and_where_there_is_none_no_way_is_open(by, index):
    items, characters = WAYS[by]

    def says(s, with_item):
        listed = items(s)
        return -len(listed) <= index < len(listed) and (listed[index] in PART.texts) == with_item

    at = item_at(by, index, PART)
    assert_same(at, lambda s: says(s, True), characters, 4)
    assert_same(Complement(at), lambda s: says(s, False), characters, 4)


def test_the_last_word_and_characters_are_the_library_s():
    assert_same(last_word(PART), lambda s: library.last_word(s) in PART.texts, "ab '-")
    for index in (0, 1, -1, -2):
        assert_same(
            character_at(index, Texts(("a",))),
            lambda s, i=index: -len(s) <= i < len(s) and s[i] == "a",
            "ab",
        )


@pytest.mark.parametrize("stop", [None, 0, 1, 3, -1, -2])
@pytest.mark.parametrize("start", [None, 0, 2, -1, -3])
def test_slices_are_pythons(start, stop):
    if (start or 0) < 0 and stop is not None and stop >= 0:
        return
    for part, holds in [
        (Texts(("a", "ab", "")), lambda s: s in ("a", "ab", "")),
        (Contains("b"), lambda s: "b" in s),
        (EndsWith("a"), lambda s: s.endswith("a")),
    ]:
        assert_same(Sliced(start, stop, part), lambda s, h=holds: h(s[start:stop]), "ab")


@pytest.mark.parametrize("characters", ["", "ab"])
def test_stripped_texts_are_pythons(characters):
    texts = ("c", "c c", "", " c")
    assert_same(
        Stripped(characters, Texts(texts)),
        lambda s: s.strip(characters or None) in texts,
        "ac \n",
    )
    assert_same(Trimmed(characters), lambda s: s.strip(characters or None) == s, "ac \n")


ODD = "kKiI\u212a\u0130\u0307\u0131ß\u1e9esS\u017f\ufb01\ufb05fF\u0149nN\u02bc"
"""Characters whose case has another length, or is shared by several."""


@pytest.mark.parametrize(
    ("to", "texts"),
    [
        ("lower", ("ki", "i̇k", "ß", "ss", "k", "\u017fs", "i")),
        ("upper", ("KI", "SS", "FI", "ST", "SFI", "\u02bcN", "K", "İ", "I")),
    ],
)
def test_case_is_pythons_where_it_changes_the_length_too(to, texts):
    case = getattr(str, to)
    assert_same(Cased(to, Texts(texts)), lambda s: case(s) in texts, ODD, 2)
    assert_same(InCase(to), lambda s: case(s) == s, ODD + "\u03a3", 2)
    assert_same(
        Cased(to, Matches(".s|S.")), lambda s: fullmatch(".s|S.", case(s)) is not None, ODD, 2
    )


def test_a_capital_sigma_is_followed_where_its_neighbours_do_not_matter():
    exact, weaker = Cased("lower", Contains("a")), Cased("lower", Contains("\u03c2"))
    assert (weaker_form_reasons(exact), len(weaker_form_reasons(weaker))) == ([], 1)
    assert_same(exact, lambda s: "a" in s.lower(), "A\u03a3\u03c3 ", 3)
    larger, smaller = Automaton(weaker), Automaton(Complement(weaker))
    for s in map("".join, product("A\u03a3\u03c3\u03c2 ", repeat=3)):
        assert larger.accepts(s) or "\u03c2" not in s.lower()
        assert smaller.accepts(s) or "\u03c2" in s.lower()


def test_views_of_views_are_exact():
    words = library.all_words
    assert_same(
        each_item("lines", each_item("words", StartsWith("a"))),
        lambda s: all(w[0] == "a" for line in s.splitlines() for w in words(line)),
        "ab \n-",
        4,
    )
    first = Cased("lower", item_at("words", 0, StartsWith("k")))
    assert_same(
        first,
        lambda s: bool(words(s.lower())) and words(s.lower())[0][0] == "k",
        "kK \u212a\u0130'",
        4,
    )


def test_the_characters_of_breaks_and_white_space_are_pythons():
    every = all_characters()
    spaces = "".join(c for c in every if c.isspace())
    breaks = "".join(c for c in spaces if len(f"a{c}b".splitlines()) == 2)
    assert (points(SPACE), points(BREAK)) == (spaces, breaks)
    others = every.translate(dict.fromkeys(map(ord, spaces)))
    assert others.split() == [others] == [others.strip()]
    assert len(every.translate(dict.fromkeys(map(ord, breaks))).splitlines()) == 1


def points(one_character):
    return "".join(chr(p) for first, last in charset(one_character) for p in range(first, last))

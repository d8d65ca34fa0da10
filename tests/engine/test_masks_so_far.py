"""Languages of the text so far: as the library has them, and their masks, for every token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    Either,
    EndsWith,
    Length,
    Letters,
    Matches,
    StartsWith,
    Texts,
    each_item,
)
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.prefix_tree import PrefixTree
from fkdsl.models.vocabulary import Vocabulary, decoded_text
from fkdsl.values.library.text import letters, matches, words

LANGUAGES = [
    (Letters(1, 3), lambda s: 1 <= letters(s) <= 3),
    (each_item("words", Letters(0, 2)), lambda s: all(letters(w) <= 2 for w in words(s))),
    (each_item("words", Length(2, -1)), lambda s: all(len(w) >= 2 for w in words(s))),
    (
        Complement(each_item("words", Complement(Contains("-")))),
        lambda s: any("-" in w for w in words(s)),
    ),
    (
        each_item("words", Either((StartsWith("a"), EndsWith("é")))),
        lambda s: all(w[0] == "a" or w[-1] == "é" for w in words(s)),
    ),
    (each_item("words", Matches("[a-z]+")), lambda s: all(matches(w, "[a-z]+") for w in words(s))),
    (Complement(Contains("a-")), lambda s: "a-" not in s),
    (Matches(r"(\w| )*"), lambda s: matches(s, r"(\w| )*")),
    (
        Both((Length(0, 4), Complement(Texts(("ab", "é"))))),
        lambda s: len(s) <= 4 and s not in ("ab", "é"),
    ),
]
ALPHABET = "ab1é漢_-'\u2019 .\ufffd\u0301²٣Ⅷ"
PIECES = (
    b"a",
    b"b1",
    b"-",
    b" ",
    b"'",
    "é".encode(),
    b"\xc3",
    b"\xa9",
    b"\xe6\xbc",
    b"\xa2",
    b"\xff",
    b"a\xe2",
    b"\x80\x99b",
    b"",
)


@pytest.mark.parametrize(("language", "holds"), LANGUAGES)
@given(text=st.text(ALPHABET, max_size=9))
def test_languages_are_what_the_library_says_of_texts(language, holds, text):
    found = automaton(language)
    assert found.explored
    assert found.accepts(text) == holds(text)


def test_letters_are_pythons_in_all_of_unicode():
    found = automaton(Letters(1, 1))
    every = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    states = found.steps(
        np.full(len(every), found.start, dtype=np.int32),
        found.partition.classes(
            np.frombuffer(every.encode("utf-32-le"), dtype="<u4").astype(np.int64)
        ),
    )
    assert (
        np.array(found.accepting)[states] == np.fromiter(map(str.isalpha, every), dtype=bool)
    ).all()


@pytest.mark.parametrize(("language", "holds"), LANGUAGES)
@given(st.lists(st.sampled_from(range(len(PIECES) - 1)), max_size=5))
def test_a_mask_holds_the_tokens_after_which_the_text_so_far_is_in_the_language(
    language, holds, ids
):
    """Tokens of whole characters, pieces of them, bytes that are none, and an end, after which
    nothing is held back."""
    vocabulary = Vocabulary((*PIECES, b""), ends=frozenset({len(PIECES)}))
    masks = RegularMasks(automaton(language), vocabulary)
    raw = vocabulary.raw(ids)
    tree = PrefixTree(lambda node: None)
    prompt = tree.extend(tree.root, (0, 1))
    for known in (True, False):  # the text that it goes on from has been asked about before, or not
        before = tree.extend(prompt, ids[:-1])
        if known:
            masks.position_at(before, 2)
        mask = masks.prefix_mask(masks.position_at(tree.extend(before, ids[-1:]), 2))
        masks = RegularMasks(automaton(language), vocabulary)
        expected = [
            holds(decoded_text(raw + t, final=i in vocabulary.ends))
            for i, t in enumerate(vocabulary.tokens)
        ]
        assert mask.tolist() == expected

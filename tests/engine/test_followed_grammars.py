"""Grammars as llguidance follows them, against Lark: ignored text at the ends, priorities,
templates, look-around."""

from itertools import product

import lark
import pytest

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import GrammarMasks, accepts_text
from fkdsl.engine.constraints.languages import GrammarText
from fkdsl.models.vocabulary import Vocabulary

WHOLE = [
    # grammars that are followed whole, and the letters of the texts that are tried
    ('start: "a"\n%ignore " "', "a b"),
    ('start: "a" B?\nB: "b"\n%ignore /[ \\n]/\n%ignore "#"', "ab #\n"),
    ('start: X Y\nX.2: "a"\nY: /b+/', "ab"),
    ('start.3: x | y\nx: "a" "b"?\ny.2: "a"', "ab"),
    ('start: _list{x}\n_list{i}: i ("," i)*\nx: "a" | "b"', "ab,"),
    ('start: _pair{x, y}\n_pair{i, j}: i j\nx: "a"\ny: "b"~1..2\n%ignore " "', "ab "),
    ('start: "a"~2..3 ("b" | start)?', "ab"),
    ('start: "ab"i /a/i\n%ignore " "', "aAbB "),
    ('%import common (WS, LETTER)\nstart: LETTER "," LETTER\n%ignore WS', "a,\n "),
]
WEAKER = [
    # grammars with a weaker terminal: it, its letters
    ('start: T "x"\nT: /[a-x]+(?<!x)/', "abx"),
    ('start: "ab" N "," | N ","\nN: /(?!ab)[ab]+/', "ab,"),
    ('start: Q+\nQ: /([ab])\\1/\n%ignore " "', "ab "),
    ('start: W ("," W)*\nW: /\\b[ab]+\\b/\n%ignore " "', "ab, "),
    ('start: A "b"\nA: /a++|(?>a|ab)/', "ab"),
]


def texts(letters, longest=3):
    return ["".join(t) for n in range(longest + 1) for t in product(letters, repeat=n)]


def derives(grammar):
    parser = lark.Lark(grammar, parser="earley", lexer="dynamic")

    def ask(text):
        try:
            parser.parse(text)
        except lark.exceptions.LarkError:
            return False
        return True

    return ask


@pytest.mark.parametrize(("grammar", "letters"), WHOLE)
def test_a_grammar_that_is_followed_whole_has_larks_texts(grammar, letters):
    ask = derives(grammar)
    assert followed(GrammarText(grammar)).left_out == ()
    for text in texts(letters):
        assert accepts_text(GrammarText(grammar), text) == ask(text), text


@pytest.mark.parametrize(("grammar", "letters"), WEAKER)
def test_a_weaker_terminal_refuses_no_text_of_larks(grammar, letters):
    ask = derives(grammar)
    assert "beyond a weaker pattern" in followed(GrammarText(grammar)).left_out[0]
    good = [t for t in texts(letters, 4) if ask(t)]
    assert good
    assert all(accepts_text(GrammarText(grammar), t) for t in good)
    assert not accepts_text(GrammarText(grammar), "")


def test_a_weaker_terminal_that_is_read_as_far_as_it_goes_would_refuse_some():
    """Why every character is a terminal of its own then: the planted other way loses "abx"."""
    assert accepts_text(GrammarText(WEAKER[0][0]), "abx")
    assert not accepts_text(GrammarText('start: T "x"\nT: /[a-x]+/'), "abx")


def test_a_quoted_text_of_lark_is_followed_whole_beside_ignored_text():
    grammar = GrammarText(
        '%import common.ESCAPED_STRING\nstart: "[" ESCAPED_STRING "]"\n%ignore " "'
    )
    assert followed(grammar).left_out == ()
    assert accepts_text(grammar, '[ "a\\"b" ] ')
    assert not accepts_text(grammar, '[ "a"b" ]')


def test_masks_allow_ignored_text_first_and_last():
    vocabulary = Vocabulary((b" ", b"a", b" a", b"a ", b"b", b""), frozenset({5}))
    masks = GrammarMasks(GrammarText('start: "a"\n%ignore " "'), "", vocabulary)
    assert masks.mask((), None).tolist() == [True, True, True, True, False, False]
    assert masks.mask((2,), None).tolist() == [True, False, False, False, False, True]
    assert masks.mask((2, 0), None).tolist()[5]

"""Offsets and the positions by which editors speak of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.editor.positions import Lines

TEXTS = st.text(st.sampled_from("ab\n\r\té\u2028😀中\x0b"), max_size=40)
UNITS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
WIDTH = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


@pytest.mark.parametrize("encoding", UNITS)
@given(text=TEXTS)
def test_a_position_counts_lines_and_the_units_before_it(encoding, text):
    lines = Lines(text, encoding)
    for offset in range(len(text) + 1):
        before = text[:offset]
        if before.endswith("\r") and text[offset : offset + 1] == "\n":
            continue  # within a line's end
        whole = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        units = len(whole[-1].encode(UNITS[encoding])) // WIDTH[encoding]
        assert lines.position(offset) == (len(whole) - 1, units)
        assert lines.offset(*lines.position(offset)) == offset


@pytest.mark.parametrize("encoding", UNITS)
@given(TEXTS, st.integers(-1, 9), st.integers(-1, 99))
def test_no_position_is_outside_the_text(encoding, text, line, character):
    offset = Lines(text, encoding).offset(line, character)
    assert 0 <= offset <= len(text)


@pytest.mark.parametrize("encoding", UNITS)
def test_a_negative_character_is_the_first(encoding):
    assert Lines("é", encoding).offset(0, -1) == 0


def test_a_position_within_a_character_is_the_characters():
    assert Lines("a😀b").offset(0, 2) == 1
    assert Lines("a😀b").offset(0, 3) == 2

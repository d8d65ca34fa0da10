"""Masks of predicates that only compare the token: few tokens asked, and the mask that asking of
every token gives."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.machine.ops import DrawOp

VALUES = ('"a"', '"b"', '"zz"', '"é"', "EOS", "word", "pick(word)", "str(n)")
ATOMS = st.one_of(
    st.builds("t {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(VALUES)),
    st.builds("{} == t".format, st.sampled_from(VALUES)),
    st.builds(
        "t {} [{}, {}]".format, st.sampled_from(["in", "not in"]), *[st.sampled_from(VALUES)] * 2
    ),
    st.sampled_from(["n > 1", "1 / n > 0.5", "t == [word, word][n]"]),
)
TESTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=4,
)
WORDS = ", ".join(f'"w{i}": 0.01' for i in range(50))


def guided(test, n, whole, compared=None):
    """(mask of the one draw of a program with that condition, how many tokens were asked about),
    None without a mask. whole: every token is asked about. compared: what the plan says
    instead."""
    model = fkdsl.parse(
        f'model m = table:\n    "" -> "a": 0.2, "b": 0.1, "0": 0.1, "é": 0.05, EOS: 0.05, {WORDS}\n'
        "def pick(s: str) -> str:\n    return s\n\n"
        'program main(word: str = "b", n: int = 2) -> str:\n    lm = prompt("")\n    t ~ lm\n'
        f"    condition {test}\n"
        "    return lm.text\n"
    )(n=n).feynman_kac()
    entry = model.code.functions[model.code.entry]
    op = next(op for op in entry.ops if isinstance(op, DrawOp))
    if op.plan is None or op.plan.mask is None:
        return None
    asked, predicate = [], op.plan.mask
    watched = replace(op.plan, mask=lambda frame: asked.append(0) or predicate(frame))
    if whole or compared is not None:
        watched = replace(watched, compared=compared)
    object.__setattr__(op, "plan", watched)
    with contextlib.suppress(fkdsl.PopulationDied, fkdsl.ProgramError):
        fkdsl.run(model, "importance", particles=1)
    (mask,) = op.token_masks.values()
    return mask.allowed, len(asked)


@settings(max_examples=60)
@given(TESTS, st.integers(0, 2))
def test_a_mask_by_comparison_is_the_mask_of_every_token_asked(test, n):
    few, every = guided(test, n, False), guided(test, n, True)
    assert (few is None) == (every is None)
    if few is not None:
        np.testing.assert_array_equal(few[0], every[0])


@pytest.mark.parametrize(
    ("test", "most"), [("t != EOS", 2), ('t in ["a", word] or not t == "w7"', 8)]
)
def test_only_the_tokens_that_are_compared_with_are_asked_about_and_one_more(test, most):
    assert guided(test, 2, False)[1] <= most
    assert guided(test, 2, True)[1] >= 50


def test_a_predicate_that_reads_the_token_is_asked_about_every_one():
    assert guided("t != EOS and len(t) != 2", 2, False)[1] >= 50


def test_leaving_out_what_is_compared_with_is_seen():
    """A planted bug: EOS is not among the values."""
    few, every = (
        guided('t != EOS and t != "a"', 2, False, ()),
        guided('t != EOS and t != "a"', 2, True),
    )
    assert (few[0] != every[0]).any()

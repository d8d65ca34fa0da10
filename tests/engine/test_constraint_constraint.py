"""A constraint is the conjunction of its parts; what no mask can follow is left out, and said."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.constraint import (
    Constraint,
    make_constraint,
    parts_left_out,
    why_unfollowed,
)
from fkdsl.engine.constraints.grammars import GrammarMasks, accepts_text
from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    Either,
    GrammarText,
    JsonText,
    Length,
    Matches,
    StartsWith,
)
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.drawn_texts import completions, member
from tests.engine.languages import languages

V = Vocabulary((b"a", b"b", b"1", b'"', b"a\n", b"ab", b"\n", b""), frozenset({7}))
TEXTS = [ids for n in range(3) for ids in product((0, 1, 2, 3, 5), repeat=n)]
JSON, GRAMMAR = JsonText('{"type": "string"}'), GrammarText('start: "\\"" /[ab]/* "\\""')


@pytest.mark.parametrize("left", [None, 0, 2])
def test_masks_are_the_conjunction_of_the_parts(left):
    regular = Both((Matches('"a.*'), Complement(Contains("bb"))))
    constraint = Constraint(Both((regular, JSON, GRAMMAR)), "\n", V)
    parts = [GrammarMasks(JSON, "\n", V), GrammarMasks(GRAMMAR, "\n", V)]
    automaton = RegularMasks(Automaton(regular, "\n"), V)
    constraint.prepare(TEXTS)
    assert constraint.left_out == []
    for ids in TEXTS:
        expected = automaton.mask(automaton.position(ids), left)
        for part in parts:
            expected = expected & part.mask(ids, left)
        assert (constraint.mask(ids, left) == expected).all()


@given(
    st.lists(languages, min_size=1, max_size=3),
    st.sampled_from(["", "\n"]),
    st.sampled_from([0, 1]),
)
def test_no_token_is_refused_that_can_be_completed(parts, until, left):
    language = Both(tuple(parts))
    constraint = Constraint(language, until, V)
    for ids in TEXTS[:6]:
        mask = constraint.mask(ids, left)
        for x in np.flatnonzero(~mask).tolist() if mask is not None else []:
            assert not any(member(language, s) for s in completions(V, (*ids, x), until, left))


def test_what_cannot_be_followed_is_left_out_and_said():
    unsound = JsonText('{"$ref": "#/nowhere"}'), GrammarText("start: x")
    parts = (Matches("a(*SKIP)b"), Complement(JSON), *unsound, StartsWith("a"))
    constraint = Constraint(Both(parts), "", V)
    assert len(constraint.left_out) == 4
    assert "(*SKIP)" in constraint.left_out[0]
    assert constraint.mask((), None).tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_an_alternative_that_cannot_be_followed_leaves_all_of_them_out():
    unsound = JsonText('{"$ref": "#/nowhere"}')
    for other in (Matches("x(*SKIP)x"), unsound, Complement(JSON)):
        constraint = Constraint(Either((Matches("a"), other)), "", V)
        assert len(constraint.left_out) == 1
        assert constraint.mask((), 0) is None


UNIONS = [
    Either((GRAMMAR, Matches("b1*"))),
    Either((JSON, Both((StartsWith('"a'), Length(2, 3))), Matches("ab"))),
    Both((Either((GRAMMAR, Matches('"?b*'))), Complement(Contains("bb")))),
    Either((Both((GRAMMAR, Length(-1, 3))), Either((JsonText('{"const": 1}'), Matches("a"))))),
]


@cache
def belongs(language, s):
    """`member` of languages with schemas and grammars in them. Many tokens complete to one text."""
    match language:
        case JsonText() | GrammarText():
            return accepts_text(language, s)
        case Both(parts):
            return all(belongs(part, s) for part in parts)
        case Either(parts):
            return any(belongs(part, s) for part in parts)
    return member(language, s)


@pytest.mark.parametrize("left", [None, 0, 1])
@pytest.mark.parametrize("until", ["", "\n"])
@pytest.mark.parametrize("language", UNIONS)
def test_of_a_union_no_token_is_refused_that_can_be_completed(language, until, left):
    constraint = Constraint(language, until, V)
    assert constraint.left_out == []
    constraint.prepare(TEXTS[:12])
    for ids in TEXTS[:12]:
        for x in np.flatnonzero(~constraint.mask(ids, left)).tolist():
            found = completions(V, (*ids, x), until, 2 if left is None else left)
            assert not any(belongs(language, s) for s in found)


def test_a_part_of_a_union_drops_out_with_the_first_token_that_it_refuses():
    constraint = Constraint(UNIONS[0], "", V)
    quote, a, b, one, end = 3, 0, 1, 2, 7
    assert np.flatnonzero(constraint.mask((), None)).tolist() == [b, quote]
    assert np.flatnonzero(constraint.mask((b,), None)).tolist() == [one, end]
    inside = constraint.mask((quote, a), None)
    assert inside[[a, b, quote]].all()
    assert not inside[[one, end]].any()
    assert not constraint.mask((one,), None).any()


def test_a_union_without_a_text_is_found_at_once():
    nothing = Both((JSON, Both((Length(3, 4), Length(5, 6)))))
    assert Constraint(Either((nothing, nothing)), "", V).is_empty
    assert not Constraint(Either((nothing, JSON)), "", V).is_empty


def test_nothing_is_masked_where_nothing_can_be_followed():
    assert Constraint(Both(()), "", V).mask((), 0) is None
    assert not Constraint(Both(()), "", V).is_empty


EMPTY = [
    Both((Matches("a+"), Matches("b+"))),
    Both((StartsWith("a"), Complement(Contains("a")))),
    Both((JSON, Both((Length(3, 4), Length(5, 6))))),
    Both((Matches("a"), Matches("b"), Matches(r"\bx"))),
]


@pytest.mark.parametrize("language", EMPTY, ids=str)
def test_a_contradiction_is_found_at_once(language):
    constraint = Constraint(language, "\n", V)
    assert constraint.is_empty
    assert not constraint.mask((), None).any()


@pytest.mark.parametrize(
    "pattern",
    ["(a|b)*a(a|b){30}", ".{0,100}" * 50, r"(\w{1,200} ){1,200}", "(.{0,60}a.{0,60}){0,50}"],
)
@pytest.mark.parametrize("left", [None, 0, 9])
def test_complex_patterns_refuse_nothing_that_they_match(pattern, left):
    constraint = Constraint(Matches(pattern), "\n", V)
    vocabulary = Vocabulary((*V.tokens[:-1], b" ", b""), frozenset({8}))
    constraint = Constraint(Matches(pattern), "\n", vocabulary)
    for text in ["ab" * 30, "a" * 31, "ab1 " * 30, "aaaabbbb " * 10]:
        ids = tuple(vocabulary.tokens.index(c.encode()) for c in text)
        if member(Matches(pattern), text):
            assert all(
                constraint.mask(ids[:k], left)[x]
                for k, x in enumerate(ids)
                if left is None or len(ids) - k - 1 <= left
            )
            assert constraint.mask(ids, left)[8]


def test_parts_that_are_too_complex_together_are_left_out_one_by_one(monkeypatch):
    monkeypatch.setattr("fkdsl.engine.constraints.constraint.automaton", refuse_more_than(1))
    constraint = Constraint(Both((StartsWith("a"), Contains("b"), Contains("1"))), "", V)
    assert len(constraint.left_out) == 2
    assert constraint.mask((), None).tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def refuse_more_than(most):
    from fkdsl.engine.constraints.automaton import automaton
    from fkdsl.engine.constraints.expressions import TooComplex

    def bounded(language, until=""):
        if isinstance(language, Both) and len(language.parts) > most:
            raise TooComplex("more than enough")
        return automaton(language, until)

    return bounded


def test_the_reason_why_a_language_has_no_automaton():
    assert why_unfollowed(Matches("a")) == ""
    assert why_unfollowed(Matches("a(*SKIP)b")) == "(*SKIP)"
    assert why_unfollowed(Matches(r"a\b")) == why_unfollowed(Matches(r"(a+)\1")) == ""
    assert parts_left_out(Matches(r"(a+)\1")) == ("a back-reference",)
    assert why_unfollowed(Matches("a?" * 2_000)).startswith("an automaton with")


def test_a_constraint_is_made_once():
    assert make_constraint(Matches("a"), "\n", V) is make_constraint(Matches("a"), "\n", V)


LISTS = JsonText('{"type": "array", "items": {"const": 1}}')
APART = (b"[", b"1", b",", b"]", b"\n", b"")
MERGED = (b"[", b"1", b",", b"]", b"]\n", b"\n", b"")


@pytest.mark.parametrize("tokens", [APART, MERGED])
@pytest.mark.parametrize("until", ["", "\n"])
def test_a_closed_text_of_a_schema_has_a_token_left_for_its_end(tokens, until):
    """At 24 tokens `{"a": 5` was let go on to its last one, behind which `}` and an end are two."""
    vocabulary = Vocabulary(tokens, frozenset({len(tokens) - 1}))

    def closes(ids, left):
        """Whether some text of the schema, so many tokens on at most, is ended by EOS or a stop."""
        raw, stop = vocabulary.raw(ids), until.encode()
        if ids[-1] in vocabulary.ends or (stop and stop in raw):
            return accepts_text(LISTS, (raw.split(stop)[0] if stop else raw).decode())
        return left > 0 and any(closes((*ids, x), left - 1) for x in range(vocabulary.size))

    constraint = Constraint(LISTS, until, vocabulary, closed=True)
    for ids in [(), (0,), (0, 1), (0, 1, 2), (0, 3)]:
        for left in range(4):
            mask, true = (
                constraint.mask(ids, left),
                [closes((*ids, x), left) for x in range(vocabulary.size)],
            )
            assert not (np.array(true) & ~mask).any(), (ids, left)
            if until == "" or tokens is APART:
                assert mask.tolist() == true, (ids, left)

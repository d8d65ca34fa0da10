r"""Patterns with \b, look-around, atomic groups and back-references: automata against the `regex`
library."""

from itertools import product

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.language_charsets import weaker_form_reasons
from fkdsl.engine.constraints.languages import Complement, Matches
from fkdsl.engine.constraints.pattern_trees import Unsupported

EXACT = [
    r"",
    r"\ba\b",
    r".*\ba",
    r"\B",
    r"a\B|\b",
    r"(\ba\b ?)+",
    r"(?:\b|a)+",
    r"^a|b$",
    r"(^a|b)+",
    r"a$\n?",
    r"(a$|b)*",
    r"(a|(?<=a)b)*",
    r"(?<!a)b|ab",
    r"(a(?!b)|b)*",
    r"(?:a(?=b)|b){2,3}",
    r"(a(?=b)|b(?=a))*.",
    r"(?>a|ab)b",
    r"(?>ab|a)b",
    r"(?>a|b|ab)*",
    r"a++b",
    r"a*+a",
    r"a{1,2}+a",
    r"\p{Lu}\p{Ll}*",
    r"[^\p{Lu}]+",
    r"(?<x>a)b",
    r"(?i)A\bx?",
    r"(?a)\bé?",
    r"(?:(?:\ba\b)|[ b])*",
    r"((?<!a)b?)*a",
    r"\A(a|\Zb)*",
    r"(?s).\b.",
    r"",
][1:-1]
GROUPS = [
    r"(a)\1",
    r"(a|b)\1?b",
    r"(?:(a|b)\1)+",
    r"(a|b)(a|)\2\1",
    r"(?i)(a)b?\1",
    r"(a)(?i:\1)",
    r"\1?(a)|(b)",
    r"(?:(a)|b)*\1",
    r"(a|)*\1b",
    "(?<x>a|b)-(?P=x)",
    "(?P<x>a)|(?P<x>b)",
    r"(?|(a)|(b))-?\1",
    "(a)?(?(1)b|A)",
    "(?<x>a)?b(?(x)-|A)",
    "(?(?=a)ab|b.)",
    "(?(?<=a)a|b)*",
    r"(?!(a|b)\1).*",
    r"(?!.*(a|b)\1).*",
    r"(?=(a|b)*$)(?!.*aa).*",
    r"([ab]?)(?1)-",
    "(?(DEFINE)(?<x>a|b-))(?&x)+",
    "((?(1)a|b?))*",
    "(?:(?(1)a|b)|())*",
    "(?:(?(1)a|b)|()){,3}",
    "(?:(?(2)a|(?(1)()|())))*",
    "(?:a(?:()(?=a))*)*(?(1)-|b)",
]
ATOMIC = [
    "(?>a*)b",
    "(?>a*)a",
    "(?>a*?)b",
    "(?>a|ab*)b",
    "(?>(?:a|ab)*)b",
    "(?>(?:ab|a)+)b?",
    "(?:a|ab)++b",
    "(?>a(?:b|)|-)b",
    "(?>(?>a|ab)b?)b",
    r"(?>(a|b)-?)\1",
    "(?!(?>a*)b)[ab]*",
]
BEHIND = [
    "(?:(?<=ab)a|.)*",
    "(?:(?<!ab)a|b)*",
    "(?:a|(?<=a+b)b)*",
    "(?:a|(?<!^ab*)b)*",
    r".*(?<=\bab)",
    r".*(?<=ab\b) ?",
    r".*(?<!ab\b)[ -]?",
    "(?:a(?<=(?<!a)a)|b)*",
]
WEAKER = [
    r"(a+)b\1",
    r"(.)b?\1",
    r"(?<=(a|b)\1)a",
    "a(?<=(?=ab)a)b",
    r"(?=(a|ab))\1",
    r"(?>(a|)*)b",
    r"\X",
    "(?:ab){e<=1}",
    "a(?R)?b",
]
TEXTS = [
    "".join(t) for n in range(5) for t in product("ab -\nA"[: 6 if n < 4 else 3], repeat=n)
] + [
    "é",
    "éa",
    "aé",
    "é ",
]


def verify(pattern, texts=TEXTS):
    """No text that matches is refused, nor one that does not by the complement; exact where nothing
    is weaker."""
    language, opposite = automaton(Matches(pattern)), automaton(Complement(Matches(pattern)))
    exact = not weaker_form_reasons(Matches(pattern))
    for text in texts:
        matches = regex.fullmatch(pattern, text) is not None
        assert language.accepts(text) >= matches, text
        assert opposite.accepts(text) >= (not matches), text
        if exact:
            assert language.accepts(text) == matches == (not opposite.accepts(text)), text
    return exact


@pytest.mark.parametrize("pattern", [*EXACT, *GROUPS, *ATOMIC, *BEHIND])
def test_what_is_regular_is_followed_exactly(pattern):
    assert verify(pattern)


@pytest.mark.parametrize("pattern", WEAKER)
def test_what_is_not_regular_is_followed_by_a_weaker_form_either_way_round(pattern):
    assert not verify(pattern)
    assert not all(automaton(Matches(pattern)).accepts(t) for t in TEXTS) or "e<=1" in pattern


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        " ",
        ".",
        r"\b",
        r"\B",
        "^",
        "$",
        "(?=a)",
        "(?!b)",
        "(?<=a)",
        "(?<! )",
        r"\1",
        "(?>a|ab)",
        "a++",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda p: st.one_of(
        st.lists(p, min_size=1, max_size=3).map("".join),
        st.lists(p, min_size=2, max_size=2).map(lambda ps: f"(?:{'|'.join(ps)})"),
        st.tuples(p, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"])).map(
            lambda t: f"(?:{t[0]}){t[1]}"
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(PATTERNS)
def test_drawn_patterns_agree_with_regex(pattern):
    pattern = f"(a|b)?{pattern}" if r"\1" in pattern else pattern
    try:
        verify(pattern, TEXTS[:260])
    except Unsupported:
        return


def test_an_atomic_group_as_it_stands_in_a_program_is_exact():
    language = Matches("(?>sea|seaside)wall")
    assert weaker_form_reasons(language) == []
    assert [automaton(language).accepts(t) for t in ("seawall", "seasidewall")] == [True, False]

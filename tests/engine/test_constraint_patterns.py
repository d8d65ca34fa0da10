"""Patterns as automata: what is read means what `regex` means by it; what is not read raises
Unsupported."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.languages import Matches
from fkdsl.engine.constraints.patterns import Unsupported, parse_pattern

ALPHABET = "ab1éßs\u017fKk\u212aiIİ \n.-_{}^&[:\u00a0\u2028\x1c\u0345\ufffd\U0001f600"
TEXTS = st.text(ALPHABET, max_size=6)
CLASSES = [
    "[ab]",
    "[^ab]",
    "[a-k]",
    r"[^\W\d]",
    r"[\w-]",
    "[]a]",
    "[^]a]",
    "[a-]",
    r"[\]\\^]",
    r"[\s\d]",
    "[^\n]",
    "[{:]",
]
ATOMS = [
    *CLASSES,
    *"ab1éßk\u017fi-_ ",
    r"\d",
    r"\D",
    r"\w",
    r"\W",
    r"\s",
    r"\S",
    ".",
    r"\.",
    r"\n",
    r"\x41",
    r"\{",
    "}",
]
REPEATS = [
    "",
    "",
    "*",
    "+",
    "?",
    "*?",
    "+?",
    "??",
    "{2}",
    "{1,2}",
    "{,2}",
    "{1,}",
    "{0}",
    "{2}?",
    "{,}",
]
GROUPS = ["(", "(?:", "(?i:", "(?s:", "(?-i:", "(?s-i:", "(?P<n>", "(?u:"]


def agree(automaton, compiled, texts):
    """Asserts that both say the same of each text; one on which `regex` searches for long is left
    out."""
    for text in texts:
        try:
            matched = compiled.fullmatch(text, timeout=0.05) is not None
        except TimeoutError:
            continue
        assert automaton.accepts(text) == (matched and "\ufffd" not in text), (
            compiled.pattern,
            text,
        )


def repeated(item, repeat):
    return item + repeat


def grouped(opening, inner):
    return f"{opening}{inner})".replace("(?P<n>", "(")


ITEMS = st.recursive(
    st.builds(repeated, st.sampled_from(ATOMS), st.sampled_from(REPEATS)),
    lambda inner: st.builds(
        lambda opening, branches, repeat: (
            grouped(opening, "|".join("".join(b) for b in branches)) + repeat
        ),
        st.sampled_from(GROUPS),
        st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3),
        st.sampled_from(REPEATS),
    ),
    max_leaves=5,
)
AHEAD = st.builds(lambda kind, inner: f"(?{kind}{inner})", st.sampled_from(["=", "!"]), ITEMS)


@st.composite
def patterns(draw):
    """Patterns of the part that is read: look-aheads at the top, `^` and `$` at the ends, flags in
    front."""
    top = "".join(draw(st.lists(st.one_of(ITEMS, ITEMS, AHEAD), min_size=1, max_size=4)))
    flags = draw(
        st.sampled_from(["", "", "(?i)", "(?s)", "(?si)", "(?u)", "" if "i:" in top else "(?a)"])
    )
    first, last = (
        draw(st.sampled_from(["", "", "^", r"\A"])),
        draw(st.sampled_from(["", "", "$", r"\Z"])),
    )
    return flags + first + top + last


SUPPORTED = """
(?:(?=a))a
a|b||c
(?=a)(?!ab).*
(?i)ß
(?i)[^k]
(?a)(?u:\\w)
(?s-i:.)a
[a&b]
[a|b]
\\{"k": "[^"]*"\\}
[{}]+
()
(?:)*
(a*)*
(a?){3}
x*$
^$
.*(?=b).*
(?a:\\w)(?u:\\w)\\w
[\\b]
\\0
\\012
\\u00e9
""".strip().split("\n")


@settings(max_examples=200)
@given(patterns(), st.lists(TEXTS, min_size=4, max_size=12))
def test_an_automaton_accepts_what_regex_matches(pattern, texts):
    agree(Automaton(Matches(pattern)), regex.compile(pattern), ["", *ALPHABET, *texts, pattern])


@pytest.mark.parametrize("pattern", SUPPORTED)
@settings(max_examples=25)
@given(texts=st.lists(TEXTS, min_size=4, max_size=8))
def test_these_mean_the_same(pattern, texts):
    agree(
        Automaton(Matches(pattern)), regex.compile(pattern), ["", *ALPHABET, '{"k": "a"}', *texts]
    )


UNSUPPORTED = r"""
(?:a){e<=1}
(?:a){1<=e<=2}
(?:ab){i<=1}
(?:ab){e}
(?:ab){s<=1,i<=1}
a{1e<2}
a{ 1}
[[:alpha:]]
[[:^alpha:]b]
[a[[:alpha:]]
[^[:digit:]]
[\w[:alpha:]]
[[a]b]
[a--b]
[\w--\d]
[a&&b]
[a||b]
[a~~b]
(?V1)[a]
\L<names>
(?m)a
(?m)^a$
(?m:^a)
(?x)a b
(?x: a )
(?i)(?a)k
(?ia)k
(?a:(?i:k))
(?L)a
(?r)ab
(?b)a
(?e)a
(?p)a
(?w).
(?R)
(?1)
(?|a|b)
(?P>n)
a\K
\G
\X
\R
\h
\m
\M
\N
\N{DIGIT ONE}
^*
(*FAIL)
a{3,2}
a**
(
[
*a
\ud800
[\ud800-\udfff]
""".strip().split("\n")


@pytest.mark.parametrize(
    "pattern",
    [*UNSUPPORTED, "(?x)\u2028a", "(?x)\x85", "a" * 6_000, "a{1000000}", "(a{1000}){1000}"],
)
def test_what_is_no_regular_pattern_or_read_in_two_ways_is_refused(pattern):
    with pytest.raises(Unsupported):
        parse_pattern(pattern)


def test_a_pattern_that_regex_does_not_read_is_refused():
    with pytest.raises(Unsupported, match="does not read"):
        parse_pattern("(?t)a")


PIECES = [
    *ATOMS,
    *GROUPS,
    *REPEATS,
    "(?=",
    "(?!",
    "(?>",
    ")",
    ")",
    "|",
    "^",
    "$",
    r"\b",
    r"\1",
    "{1",
    "{e}",
    "{1<=e<=2}",
]
PIECES += [
    "[[:alpha:]]",
    "[a",
    "[[a]",
    "]",
    "[:",
    ":]",
    "--",
    "&&",
    "||",
    "~~",
    "(?x)",
    "(?i)",
    "(?a)",
    "(?#x)",
    "*+",
    "#",
]


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.lists(TEXTS, min_size=4, max_size=8),
)
def test_no_line_noise_is_read_in_two_ways(pattern, texts):
    try:
        automaton = Automaton(Matches(pattern))
    except Unsupported:
        return
    agree(
        automaton,
        regex.compile(pattern),
        ["", *ALPHABET, *texts, pattern, pattern[1:], pattern[:-1]],
    )

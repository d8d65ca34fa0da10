"""Patterns as automata: what is read means what `regex` means by it; what no automaton follows
raises Unsupported."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.language_charsets import weaker_form_reasons
from fkdsl.engine.constraints.languages import Matches
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.patterns import parse_pattern

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


FOLLOWED = r"""
a{1e<2}
a{ 1}
[[:alpha:]]
[[:^alpha:]b]
[a[[:alpha:]]
[^[:digit:]]
[\w[:alpha:]]
[:-]
[.:]+
[[a]b]
[\w--\d]
[a&&b]
[a||b]
[a~~b]
(?V1)[a]
(?V1)[\w--[ab]]
(?V1)[[a-z]&&[^b]]+
(?V1)[a~~[ab]]
(?V1)(?i)[k]b
(?m)a
(?m)^a$
(?m)(?:^[ab]*$\n?)*
(?m:^a)
(?x)a b
(?x: a ) # b
(?x)\ a[ b]
(?i)(?a)k
(?ia)k
(?a:(?i:k))
(?ai:\w)
a(?i)b
(a(?i)b|k)
(?r)ab
(?b)a
(?e)a
(?p)a
(?w).
(?|a|b)
a\K
\G
\R
\R\n
\h
\m.\M
\N
\N{DIGIT ONE}
^*
a|(*FAIL)
\ud800|a
[\ud800-\udfff]?
""".strip().split("\n")
"""What only the `regex` library reads, or reads in another way than the standard library."""


@pytest.mark.parametrize("pattern", [*FOLLOWED, "(?x)\u2028a", "(?x)\x85"])
@settings(max_examples=15)
@given(texts=st.lists(TEXTS, min_size=4, max_size=8))
def test_what_only_regex_reads_means_the_same(pattern, texts):
    assert weaker_form_reasons(Matches(pattern)) == []
    extra = ["a{1e<2}", "a{ 1}", "a b", " a", "ab", "aB", "\r\n", "\r\n\n", "a\nb\n", pattern]
    agree(Automaton(Matches(pattern)), regex.compile(pattern), ["", *ALPHABET, *extra, *texts])


REFUSED = r"""
\L<names>
(?1)
(?P>n)
[a--b]
a{3,2}
a**
(
[
*a
(?t)a
"""
NOT_FOLLOWED = r"""
(?L)a
a(*PRUNE)b
(*SKIP)a
(?r)(a)b\1
"""


@pytest.mark.parametrize("pattern", REFUSED.strip().split("\n"))
def test_a_pattern_that_regex_does_not_read_is_refused(pattern):
    with pytest.raises(regex.error):
        regex.compile(pattern)
    with pytest.raises(Unsupported, match="does not read"):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [*NOT_FOLLOWED.strip().split("\n"), "a" * 6_000, "a{1000000}", "(a{1000}){1000}"],
)
def test_what_no_automaton_follows_is_refused(pattern):
    with pytest.raises(Unsupported):
        parse_pattern(pattern)


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
    if weaker_form_reasons(Matches(pattern)):
        return  # test_drawn_patterns.py has these
    agree(
        automaton,
        regex.compile(pattern),
        ["", *ALPHABET, *texts, pattern, pattern[1:], pattern[:-1]],
    )

"""Random regular languages, small enough that short texts tell them apart."""

from hypothesis import strategies as st

from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    Either,
    EndsWith,
    Length,
    Matches,
    PartOf,
    StartsWith,
    Texts,
)

PATTERNS = [
    "a*",
    "ab?",
    "(ab)+",
    "[ab]{2}",
    ".é?",
    "é+",
    "[^é]*",
    r"\w{1,2}",
    "(?s).{0,2}",
    "☃a",
    "a☃?",
    ".",
    "(?i)A+",
]
PATTERNS += ["b|aa", "(?=a).*", "(?!ab).*", "[é☃]", r"\W", "a{2,}b*", "", "(?s).*b.*"]
PARTS = ["a", "b", "ab", "é", "☃", "\ufffd", "", "ba", "é☃", "\n", "aba"]
WHOLES = ["", "abab", "aé☃aa", "ba\nb", "é\ufffdb", "aab☃aba"]
UNTILS = ["", "", "\n", "ab", "aba", "é", ("\n", "b"), ("ba", "é", "\n"), ("aba", "bb", "ab")]
NESTED = [("b", "aba"), ("é", "aéa", "a☃")]
"""Stops that stand in the middle of others: whether a text has ended at one is then for its tokens
to say."""

languages = st.recursive(
    st.one_of(
        st.builds(Matches, st.sampled_from(PATTERNS)),
        st.builds(Texts, st.lists(st.sampled_from(PARTS), max_size=3).map(tuple)),
        st.builds(Contains, st.sampled_from(PARTS)),
        st.builds(PartOf, st.sampled_from(WHOLES)),
        st.builds(StartsWith, st.sampled_from(PARTS)),
        st.builds(EndsWith, st.sampled_from(PARTS)),
        st.builds(Length, st.integers(-1, 3), st.integers(-1, 3)),
    ),
    lambda inner: st.one_of(
        st.builds(Both, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Either, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Complement, inner),
    ),
    max_leaves=4,
)

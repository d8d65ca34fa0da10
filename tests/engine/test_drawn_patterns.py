r"""Patterns of all constructs against the `regex` library: the automaton is exact where nothing
says otherwise, else it accepts more; and no beginning of a text that matches is refused."""

from functools import lru_cache

import pytest
import regex
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.language_charsets import weaker_form_reasons
from fkdsl.engine.constraints.languages import Complement, Matches
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.patterns import beginnings_of
from fkdsl.values.library.patterns import may_begin_match
from tests.engine.drawn_patterns import TEXTS, Drawn

LONG = 0.05
"""Seconds after which a match is given up; after three of them, the pattern."""


@st.composite
def patterns(draw):
    size = draw(st.integers(1, 9))
    pattern = Drawn(lambda options: draw(st.sampled_from(options)), size).pattern()
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, AttributeError):
        assume(False)
    return pattern


@lru_cache(maxsize=64)
def matching(pattern):
    """The texts with whether they match, as far as this is soon known."""
    compiled, out, late = regex.compile(pattern), [], 0
    for text in TEXTS:
        try:
            out.append((text, compiled.fullmatch(text, timeout=LONG) is not None))
        except (TimeoutError, MemoryError):
            late += 1
            if late == 3:
                break
    return out


def verify(pattern):
    """Whether the pattern is followed exactly."""
    language = Matches(pattern)
    follows, refuses = automaton(language), automaton(Complement(language))
    exact = not weaker_form_reasons(language)
    for text, matches in matching(pattern):
        assert follows.accepts(text) >= matches, (pattern, text)
        assert refuses.accepts(text) >= (not matches), (pattern, text)
        if exact:
            assert follows.accepts(text) == matches != refuses.accepts(text), (pattern, text)
    return exact


def verify_beginnings(pattern):
    for text, matches in matching(pattern):
        for k in range(len(text) + 1 if matches else 0):
            assert may_begin_match(pattern, text[:k]), (pattern, text[:k], text)


@settings(max_examples=60, deadline=None)
@given(patterns())
@example(r"(?r)(?(?=a)\x61{2})+")
@example(r"(?x)(?(1)){2}(?>\K?+(?i:(?<=(?>)(a?)(?<q>))))|")
@example(r"\1(?=(?:)(?<n>(?(?=a)|){0}||)*+)*+|||")
def test_drawn_patterns_mean_what_regex_means(pattern):
    try:
        verify(pattern)
    except (Unsupported, TooComplex):
        return


@settings(max_examples=60, deadline=None)
@given(patterns())
@example(r"(a?)\B.")
@example(r"a-\ba")
@example(r"(\w)x\1\Bb")
@example(r"(?!ab\b)(.)\w*\1")
@example(r"(?!a(?!b))(.)\w*")
@example(r"(?>a\b|ab)(?<=b)c")
@example(r"(?!a)?(a)\1")
@example(r"(?!a)b|(?!b).*")
@example(r"(?i)[:a]{,2}[a-b](*SKIP)(?>\P{L}+[a||b]|)")
@example(r"(?i)(?!(.)\1)(?!ab).*")
@example(r"a?(?!b)(a).*\1")
def test_no_beginning_of_a_matching_text_is_refused(pattern):
    verify_beginnings(pattern)


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(patterns())
def test_many_drawn_patterns(pattern):
    verify_beginnings(pattern)
    try:
        verify(pattern)
    except (Unsupported, TooComplex):
        return


def test_the_library_by_itself_refuses_such_beginnings():
    """Why patterns of beginnings are changed: behind the last character nothing follows yet."""
    assert regex.fullmatch(r"(a?)\B.", "aa")
    assert not regex.fullmatch(r"(a?)\B.", "a", partial=True)
    assert not regex.fullmatch(r"(?!ab\b)\w*", "ab", partial=True)
    assert beginnings_of(r"(?!ab\b)a\B\w*").pattern == r"(?:)a(?:\B|\Z)\w*"


WRITTEN = {
    r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])": ["2024-05-31", "!2024-13-01"],
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)": ["2024-05-01T10:20Z"],
    r"(?<day>\d{1,2})([./-])(?<month>\d{1,2})\2(?<year>\d{4})": ["1.2.2024", "!1.2/2024"],
    r"(?i)[a-z0-9._%+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,}": ["Ann.Lee@example.co.uk", "!ann@x"],
    r"(?=.{6,30}\Z)[\w.]+@\w+\.com": ["ab@cd.com", "!a@b.com" + "m" * 30],
    r"\(?\d{3}\)?[-. ]?\d{3}[-. ]?\d{4}": ["(555) 123-4567", "!555-123"],
    r"""(['"])[^'"]*\1""": ["'it'", '"it"', "!'it\""],
    r"""(?<q>["'])(?:(?!\k).)*\g<q>""".replace(r"\k", r"\g<q>"): ['"it\'s"', "!'it's'"],
    r'"(?:[^"\\]|\\.)*+"': ['"a\\"b"', '!"a"b"'],
    r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z])(?=.*[^\w\s]).{8,}": ["Passw0rd!", "!password"],
    r"(?!.*\s)(?!.*(?:123|abc)).{4,8}": ["a1b2", "!xabcx", "!a b c"],
    r"(?=.)M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})": ["MCMXCIV", "!IIII", "!"],
    r'(?:"(?:[^"]|"")*"|[^,"\n]*)(?:,(?:"(?:[^"]|"")*"|[^,"\n]*))*': ['a,"b, ""c""",', '!a,"b'],
    r"#(?:[0-9a-fA-F]{3}){1,2}\b": ["#fff", "#00ff7F", "!#ffff"],
    r"<([bi]|em)>[^<]*</\1>": ["<em>x</em>", "!<b>x</i>"],
    r"(?:\b(?!the\b)\w+\b[ .]?)+": ["a then they.", "!in the end"],
    r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}": ["192.168.0.1", "!256.1.1.1", "!1.1.1"],
    r"[[:upper:]][[:lower:]]+(?: [[:upper:]]\.)? \p{Lu}[\p{L}'-]+": ["Ada B. O'Hara", "!ada x"],
    r"(?:[0-9A-F]{2}([:-]))(?:[0-9A-F]{2}\1){4}[0-9A-F]{2}": ["0A-1B-2C-3D-4E-5F", "!0A-1B:2C"],
    r"(?>sea|seaside)wall|(?<!not )very good": ["seawall", "very good", "!seasidewall"],
    r"(?x) \d+ (?: , \d{3} )* # thousands": ["1,000,000", "!1,00"],
    r"(?m)^- .+$(?:\n^- .+$)*": ["- a\n- b", "!- a\nb"],
    r"(?i:yes|no)[.!]?(?<=[.!])": ["YES!", "!yes"],
    r"(\()?\d+(?(1)\))": ["(12)", "12", "!(12", "!12)"],
    r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])": ["-1.5", "!1.5."],
    r"(?:(\w)(?!\1))+": ["abab", "!abba"],
    r"(?V1)[\w--[aeiou_\d]]+": ["rhythm", "!rhyme"],
}
"""Patterns as people write them, each with texts that match, and others behind a `!`."""
GUIDED_IN_PART = {
    r"<(\w+)>.*</\1>": ["<h1>x</h1>", "!<a>x</b>"],
    r"\b(\w+) \1\b": ["bye bye", "!bye by"],
    r"(?!.*(.).*\1)[a-z]+": ["world", "!hello"],
    r"\((?:[^()]|(?R))*\)": ["(a(b)c)", "!((a)"],
    r"(?<w>\w+)(?:, \g<w>){2}": ["a, a, a", "!a, a, b"],
}


@pytest.mark.parametrize(("pattern", "texts"), [*WRITTEN.items(), *GUIDED_IN_PART.items()])
def test_patterns_as_people_write_them_guide_the_drawing(pattern, texts):
    language = Matches(pattern)
    exact = not weaker_form_reasons(language)
    assert exact or pattern in GUIDED_IN_PART or r"(\w)" in pattern
    for shown in texts:
        text, matches = shown.removeprefix("!"), not shown.startswith("!")
        assert (regex.fullmatch(pattern, text) is not None) == matches
        follows = automaton(language)
        assert follows.accepts(text) == matches if exact else follows.accepts(text) >= matches
        for k in range(len(text) + 1 if matches else 0):
            assert may_begin_match(pattern, text[:k])
            assert follows.is_live(follows.read(follows.start, text[:k]))


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        (r"<(\w+)>.*</\1>", "<b>x\n"),
        (r"<(\w+)>[a-z]*</\1>", "<b>x</a"),
        (r"\b(\w+) \1\b", "bye by "),
        (r"(?!.*(.).*\1)[a-z]+", "hell"),
        (r"\((?:[^()]|(?R))*\)", "(a))"),
    ],
)
def test_what_the_automaton_leaves_out_is_refused_early(pattern, refused):
    assert beginnings_of(pattern) is not None
    assert may_begin_match(pattern, refused[:-1]) > may_begin_match(pattern, refused)

"""What else draws might have given: probabilities before masks, and the line that refused each,
whatever proposal made the draw. Recording it changes no draw."""

from contextlib import suppress

import numpy as np
import pytest

import fkdsl
from fkdsl.api.trace.file import read_trace, with_sum
from fkdsl.api.trace.replay import Replay
from fkdsl.base.errors import CallError, PopulationDied
from fkdsl.base.probability_blocks import likeliest

MODEL = """\
model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.15, "7": 0.05

"""


def events(tmp_path, body, particles=6, **options):
    """The path of particle 0 of a run, read back from its trace."""
    path = tmp_path / "run.jsonl"
    text = MODEL + "program p() -> str:\n" + body
    with suppress(PopulationDied):
        fkdsl.parse(text).run(particles=particles, seed=1, trace=path, **options)
    return Replay(read_trace(path)).path(0, 0)


def told(a):
    """{text: (probability, the refusing line's text or None, whether a trial met it)}."""
    return {
        str(v): (p, r and r.place.text.strip(), bool(r and r.tried))
        for v, p, r in zip(a.values, a.probabilities, a.refused, strict=True)
    }


BY_TOKEN = """\
    lm = prompt("")
    t ~ lm
    condition t != "a"
    condition letters(t) == 1
    return lm.text
"""
BY_TEXT = """\
    lm = prompt("")
    s ~ text(lm, max_tokens=2)
    condition matches(s, "[a-z]*")
    condition not contains(s, "a")
    return s
"""
BY_TRIAL = """\
    lm = prompt("")
    t ~ lm
    if t == "a":
        condition false
    n = letters(lm.text)
    condition n == 1
    return lm.text
"""


@pytest.mark.parametrize(
    ("body", "tried", "lines"),
    [
        (BY_TOKEN, False, ('condition t != "a"', "condition letters(t) == 1")),
        (BY_TEXT, False, ('condition not contains(s, "a")', 'condition matches(s, "[a-z]*")')),
        (BY_TRIAL, True, ("condition false", "condition n == 1")),
    ],
)
def test_each_refused_outcome_has_its_line(tmp_path, body, tried, lines):
    event = events(tmp_path, body)[1]
    expected = {
        "a": (0.5, lines[0], tried),
        "b": (0.3, None, False),
        "c": (0.15, None, False),
        "7": (0.05, lines[1], tried),
    }
    a = event.alternatives[0]
    assert told(a) == expected
    assert a.refused[a.drawn] is None
    assert str(event.drawn[0].value) == str(a.values[a.drawn])


def test_the_drawn_outcome_is_listed_though_it_is_not_likely(tmp_path):
    body = '    lm = prompt("")\n    t ~ lm\n    condition t == "7"\n    return lm.text\n'
    (a,) = events(tmp_path, body, alternatives=2)[1].alternatives
    assert [str(v) for v in a.values] == ["a", "b", "7"]
    assert (a.drawn, a.probabilities) == (2, (0.5, 0.3, 0.05))


def test_a_draw_that_leaves_nothing_says_what_refused_everything(tmp_path):
    body = '    lm = prompt("")\n    t ~ lm\n    condition letters(t) > 1\n    return lm.text\n'
    event = events(tmp_path, body)[-1]
    (a,) = event.alternatives
    assert (a.drawn, event.drawn) == (-1, ())
    assert {r.place.text for r in a.refused} == {"condition letters(t) > 1"}


def test_draws_that_are_no_tokens_have_alternatives_where_they_can_be_listed(tmp_path):
    body = """\
    x ~ categorical(["u", "v"], [0.2, 0.8])
    y ~ normal(0.0, 1.0)
    z ~ bernoulli(0.25)
    condition x == "u" and y < 100.0
    return x
"""
    found = [a for event in events(tmp_path, body, 200) for a in event.alternatives]
    assert told(found[0]) == {"u": (0.2, None, False), "v": (0.8, None, False)}
    assert found[1] is None
    assert told(found[2]) == {"False": (0.75, None, False), "True": (0.25, None, False)}


@pytest.mark.parametrize("body", [BY_TOKEN, BY_TEXT, BY_TRIAL])
@pytest.mark.parametrize("blame", [False, True])
def test_recording_changes_no_draw(tmp_path, body, blame):
    program = fkdsl.parse(MODEL + "program p() -> str:\n" + body)
    plain = program.run(particles=8, seed=3, blame=blame)
    for k in (0, 1, 5):
        path = tmp_path / f"{k}.jsonl"
        assert program.run(
            particles=8, seed=3, blame=blame, trace=path, alternatives=k
        ).particles == (plain.particles)
        written = "alternatives" in path.read_text("utf-8")
        assert written == (k > 0)


def test_the_likeliest_are_those_of_a_sort():
    rng = np.random.default_rng(0)
    for n in (1, 7, 256, 1000, 5000):
        for k in (1, 3, 8):
            p = rng.integers(0, 40, n) / 40.0  # many ties
            assert likeliest(p, k) == sorted(range(n), key=lambda i: (-p[i], i))[:k]


def test_a_trace_with_damaged_alternatives_is_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    fkdsl.parse(MODEL + "program p() -> str:\n" + BY_TOKEN).run(particles=2, trace=path)
    first, *lines = path.read_bytes().splitlines()
    assert b'"drawn":' in lines[1]
    for before, after in ((b'"drawn":', b'"drawn":9'), (b'"refused":[[', b'"refused":[[9')):
        line = with_sum(lines[1][: lines[1].rindex(b',"sum"')].replace(before, after) + b"}")
        path.write_bytes(b"\n".join([first, lines[0], line]) + b"\n")
        with pytest.raises(CallError, match="damaged at line 3"):
            read_trace(path)

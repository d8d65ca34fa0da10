"""`twist e` weighs a particle on its way and is taken back: the measure is that without it, by
every method."""

import json
import math

import pytest

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.testing.laws import assert_same_measure, assert_unbiased, exact_measure, unbiased_methods
from tests.cli.test_cli import call

TABLE = """\
model m = table:
    ""  -> "a": 0.5, "b": 0.3, EOS: 0.2
    "a" -> "a": 0.6, "b": 0.4
    "b" -> "b": 0.7, EOS: 0.3

"""
PROGRAMS = {
    "by each token": """\
program p() -> str:
    lm = prompt("")
    for i in range(3):
        if not lm.done:
            t ~ lm
            twist 1.3 * count(lm.text, "a") - i
    condition ends_with(lm.text, "b")
    return lm.text
""",
    "in a function, and left at its end": """\
def letters_of(lm: context, n: int) -> str:
    for i in range(n):
        t ~ lm
        condition t != EOS
        twist 0.8 if t == "a" else -0.4
    return lm.text

program p() -> str:
    lm = prompt("")
    s ~ letters_of(lm, 2)
    u ~ bernoulli(0.5)
    factor 0.3 if u else 0.0
    return s + str(u)
""",
    "before a draw that looks ahead": """\
program p() -> str:
    lm = prompt("")
    t ~ lm
    twist 0.9 if t == "a" else 0.1
    condition t != "b"
    u ~ bernoulli(0.25)
    twist 2.0 if u else -1.0
    condition u or t == "a"
    return f"{t}{u}"
""",
    "across checkpoints": """\
program p() -> str:
    lm = prompt("")
    t ~ lm
    twist 0.5
    checkpoint
    u ~ uniform_int(0, 2)
    twist 0.5 * u
    checkpoint
    condition u > 0
    v ~ bernoulli(0.5)
    return f"{t}{u}{v}"
""",
}


def without(text):
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.strip().startswith("twist")
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_measure_is_that_without_the_twists(name):
    text = TABLE + PROGRAMS[name]
    plain = exact_measure(fkdsl.parse(without(text)).feynman_kac())
    for program in (fkdsl.parse(text), fkdsl.parse(text).without()):
        twisted = exact_measure(program.feynman_kac())
        assert twisted.keys() == plain.keys()
        for value, mass in plain.items():
            assert math.isclose(twisted[value], mass, rel_tol=1e-12)
    assert_same_measure(fkdsl.parse(text), fkdsl.parse(without(text)))


@pytest.mark.parametrize("method", sorted(unbiased_methods()))
def test_every_method_is_unbiased_with_twists(method):
    assert_unbiased(fkdsl.parse(TABLE + PROGRAMS["before a draw that looks ahead"]), method)


def test_what_a_twist_added_is_charged_to_it_and_taken_back():
    text = TABLE + PROGRAMS["by each token"]
    result = fkdsl.parse(text).run(particles=8, seed=2, blame=True, ess=0.0)
    (line,) = [x for x in result.blame.lines if x.place.text.startswith("twist")]
    # Without resampling each particle's sum is 0: what is left is of the mean over those that live.
    assert abs(line.log_weight) < 3.0
    for particle in result.particles:
        assert particle.log_weight == pytest.approx(-math.log(8), abs=2.5) or particle.weight == 0.0


def test_a_run_with_twists_is_resumed_as_it_was(tmp_path):
    program = fkdsl.parse(TABLE + PROGRAMS["across checkpoints"])
    path = tmp_path / "run.jsonl"
    whole = program.run(particles=6, seed=4, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    assert any('"twist":' in line for line in lines)
    path.write_text("".join(lines[:3]))
    assert program.run(particles=6, seed=4, resume=path).particles == whole.particles


@pytest.mark.parametrize("twist", ["-1e999", "1.0 / 0.0", "log(0.0)"])
def test_a_twist_is_finite(twist):
    text = TABLE + f'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    twist {twist}\n'
    with pytest.raises(ProgramError) as error:
        fkdsl.parse(text + "    return str(t)\n").run(particles=2)
    assert error.value.diagnostics[0].span.line == 9


def test_a_twist_of_minus_infinity_says_what_to_write():
    text = TABLE + (
        'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    twist logprob(lm, "b")\n'
        "    return str(t)\n"
    )
    with pytest.raises(ProgramError) as error:
        fkdsl.parse(text).run(particles=20, seed=1)
    (diagnostic,) = error.value.diagnostics
    assert "a twist of -inf nats" in diagnostic.message
    assert "max(-50.0, x)" in diagnostic.help


def test_explain_tells_of_it(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(TABLE + PROGRAMS["by each token"])
    status, out, _ = call(capsys, "explain", str(path))
    assert status == 0
    assert "until the next twist or the end" in out


def test_its_value_is_a_number(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text('program p() -> int:\n    u ~ bernoulli(0.5)\n    twist "x"\n    return 1\n')
    status, out, _ = call(capsys, "check", "--json", str(path))
    assert status == 1
    assert "a twist, in nats" in json.dumps(json.loads(out))

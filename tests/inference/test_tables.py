"""Results as tables of other libraries, which hold the result's own figures."""

import builtins
import doctest
import math

import pytest

import fkdsl
from fkdsl.inference import tables

RECORDS = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program p() -> record:
    lm = prompt("", model=m)
    t ~ lm
    n ~ uniform_int(1, 3)
    condition lm.text != "b" or n > 1
    return {"text": lm.text, "n": n, "xs": [n, 2], "first": t, "weight": 0.5}

infer smc(particles=32)
"""


@pytest.fixture(scope="module")
def result():
    return fkdsl.parse(RECORDS).run(seed=3, islands=2)


def test_the_examples_are_what_happens():
    found = doctest.testmod(tables)
    assert found.attempted
    assert not found.failed


def test_a_frame_has_the_posterior(result):
    frame = result.to_pandas()
    assert list(frame.columns) == ["text", "n", "xs", "first", "weight", "probability"]
    assert frame["probability"].tolist() == [a.probability for a in result.posterior]
    assert frame["n"].tolist() == [a.value["n"] for a in result.posterior]
    assert frame["first"].tolist() == [a.value["first"].text for a in result.posterior]


def test_a_frame_of_particles_has_their_weights_and_keeps_fields_of_the_same_name(result):
    frame = result.to_pandas(particles=True)
    assert len(frame) == len(result.particles) <= 64
    assert frame["value.weight"].tolist() == [0.5] * len(frame)
    assert math.fsum(frame["weight"]) == pytest.approx(1.0, abs=1e-12)
    assert set(frame["island"]) == {0, 1}
    of_b = frame[frame["text"] == "b"]
    expected = result.mean(lambda v: v["text"] == "b").mean
    assert math.fsum(of_b["weight"]) == pytest.approx(expected, abs=1e-12)


def test_arviz_has_the_draws(result):
    tree = result.to_arviz(draws=7)
    posterior = tree["posterior"]
    assert dict(posterior.sizes) == {"chain": 1, "draw": 7}
    assert posterior["n"].values[0].tolist() == [v["n"] for v in result.samples(7)]
    assert posterior["xs"].values[0][0] in ("[1, 2]", "[2, 2]", "[3, 2]")
    assert posterior.attrs["log_z"] == result.log_z
    assert result.to_arviz()["posterior"].sizes["draw"] == len(result.particles)


@pytest.mark.parametrize("call", [lambda r: r.to_pandas(), lambda r: r.to_arviz()])
def test_an_absent_library_is_a_clear_error(result, call, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **named):
        if name in ("pandas", "arviz_base"):
            raise ImportError(name)
        return real(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(fkdsl.CallError, match="not installed"):
        call(result)


def test_a_notebook_shows_the_posterior_and_no_markup_of_its_texts():
    text = "<script>alert(1)</script>\\x1b[2J&"
    result = fkdsl.parse(f'program p() -> str:\n    return "{text}"\n').exact()
    html = result._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "\x1b" not in html
    assert "log Z 0.0000" in html

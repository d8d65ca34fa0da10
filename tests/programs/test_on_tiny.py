"""Programs on the byte-level model that ships: what holds of texts and words holds where every
token is a byte."""

import re

import numpy as np
import pytest

import fkdsl
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import load_model
from tests.programs.test_on_smollm2 import OBEYS

ENOUGH = ["short_words", "forbidden_letter", "infilling", "prompt_intersection", "last_word",
          "rainbow", "choice", "email", "iso_date", "number", "haiku"]  # fmt: skip
"""Those whose budget of tokens is enough where a token is a byte."""


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


@pytest.mark.parametrize("name", ENOUGH)
def test_every_returned_text_obeys(name, tiny):
    program = fkdsl.load(f"programs/{name}.fk")
    result = program.run(model=tiny, seed=1, **({"particles": 16} if name == "haiku" else {}))
    assert result.particles
    assert all(OBEYS[name](p.value) for p in result.particles)
    assert abs(sum(p.weight for p in result.particles) - 1.0) <= 1e-9
    assert result.log_z <= 1e-5  # probabilities are sums of float32


def test_a_character_of_several_bytes_is_text_once_it_is_whole(tiny):
    """Its first byte alone is no text yet: a condition on the text sees the character when its last
    byte is there."""
    program = """
program p() -> str:
    lm = prompt("")
    t ~ lm
    condition t == "" and not lm.done
    u ~ lm
    condition lm.text == "\u00e9" or lm.text == "\u00e8"
    return lm.text
"""
    result = fkdsl.parse(program).run("exact", model=tiny)
    row = lambda ids: tiny.forward([ForwardRow(None, ids, (len(ids) - 1,))])[0].log_probs[0]  # noqa: E731
    first, second = row(tiny.start("")), row((*tiny.start(""), 0xC3))
    assert {a.value for a in result.posterior} == {"é", "è"}
    assert result.log_z == pytest.approx(
        first[0xC3] + np.logaddexp(second[0xA9], second[0xA8]), abs=1e-3
    )


def test_a_text_is_as_likely_as_its_bytes(tiny):
    text = (
        'program p() -> str:\n    lm = prompt("ROMEO\\n")\n    observe "My lord é" ~ lm\n'
        "    return lm.text\n"
    )
    result = fkdsl.parse(text).run("smc", particles=1, model=tiny)
    ids = (*tiny.start("ROMEO\n"), *tiny.encode("My lord é"))
    first = len(tiny.start("ROMEO\n"))
    rows = tiny.forward([ForwardRow(None, ids, tuple(range(len(ids))))])[0].log_probs
    assert result.log_z == pytest.approx(
        sum(float(rows[i - 1, ids[i]]) for i in range(first, len(ids))), abs=1e-3
    )


def test_texts_end_with_their_paragraph(tiny):
    text = (
        'program p() -> str:\n    lm = prompt("ROMEO\\n")\n'
        "    while not lm.done and lm.tokens < 60:\n        t ~ lm\n"
    )
    done = text + "    condition lm.done\n    return lm.text\n"
    result = fkdsl.parse(done).run("importance", particles=64, model=tiny, seed=2)
    assert all(not re.search(r"\n\n", a.value) for a in result.posterior)
    assert -3 < result.log_z <= 0

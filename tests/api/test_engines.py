"""Engines over models that are loaded already."""

import pytest

import fkdsl
from fkdsl.api.engines import CALLER, Engines
from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.table import TableModel

LETTERS = TableModel("letters", {"": {"a": 0.5, "b": 0.3, "c": 0.2}})
TEXT = """
program spelt(n: int = 4) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
    return lm.text
"""


def test_fresh_engines_have_empty_caches_and_the_same_models():
    program = fkdsl.parse(TEXT)
    engines = program.engines(LETTERS)
    first = program.run("smc", engines=engines, particles=20)
    again = program.run("smc", engines=engines.fresh(), particles=20)
    fresh = engines.fresh()
    assert fresh[""].model is engines[""].model
    assert fresh.counts() == (0, 0)
    assert fresh[""].cache.nbytes == 0
    assert engines.counts()[1] == first.forwarded_tokens == again.forwarded_tokens > 0


def test_fresh_engines_renew_an_engine_that_the_caller_gave():
    given = CachedTransformer(LETTERS, 12345, 7)
    program = fkdsl.parse(TEXT)
    program.run(model=given)
    fresh = program.engines(given).fresh()
    assert fresh[""] is not given
    assert fresh[""].model is LETTERS
    assert (fresh[""].cache.budget, fresh[""].max_batch) == (12345, 7)
    assert given.stats.forwarded_tokens > 0
    assert fresh.counts() == (0, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"runtime": "llama"}, "there is no engine `llama`"),
        ({"runtime": ""}, "there is no engine ``"),
        ({"dtype": "float13"}, "there is no dtype `float13`"),
        *[
            ({"device": d}, f"there is no device `{d}`")
            for d in ("", "CPU", "cpuu", "meta", "cuda:x")
        ],
    ],
)
def test_a_word_that_no_model_would_ask_for_is_refused_all_the_same(wrong, message):
    """A table has no dtype and is computed by no engine."""
    with pytest.raises(CallError, match=message):
        Engines({}, CALLER, **wrong)


def test_a_model_that_cannot_be_loaded_says_where_it_is_declared(tmp_path):
    file = tmp_path / "p.fk"
    file.write_text(
        '\nmodel m = "gone.gguf"\nprogram p() -> str:\n    lm = prompt("a", model=m)\n'
        "    t ~ lm\n    return lm.text\n",
        "utf-8",
    )
    with pytest.raises(CallError, match=r"no file `gone.gguf`(?s:.*)declared at p\.fk:2:1"):
        fkdsl.load(file).run(particles=2)

"""The note that exact would have been cheaper: only where it is, and at no cost to the run's own
figures."""

from dataclasses import replace

import numpy as np
import pytest

import fkdsl
from fkdsl.api.hint import SHARE, TOKENS, Hint
from fkdsl.cli.main import main
from fkdsl.models.table import TableModel

SIZE = 1200
SHARES = np.random.default_rng(0).dirichlet(np.ones(SIZE))
WIDE = TableModel("wide", {"": {chr(0x4E00 + i): float(p) for i, p in enumerate(SHARES)}})
LETTERS = [chr(0x4E00 + i) for i in range(6)]
FEW = """
program few() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=6)
    condition s in ["{}", "{}"]
    return s
""".format("".join(LETTERS), "".join(reversed(LETTERS)))
MANY = 'program many() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=6)\n    return s\n'


def hinted(text, method="smc", model=WIDE, **options):
    """(the run's result, what exact needs, tokens that finding it out took)."""
    program = fkdsl.parse(text)
    engines = program.engines(model)
    hint = Hint(program, engines)
    result = program.run(method, engines=engines, observer=hint.watch, **options)
    before = engines.counts()[1]
    slow = replace(result, seconds=60.0)
    return result, hint.exact_needs(slow), engines.counts()[1] - before


def test_a_posterior_of_few_texts_has_the_hint_with_what_exact_takes():
    _, need, _ = hinted(FEW, "importance", particles=200)
    exact = fkdsl.parse(FEW).run("exact", model=WIDE)
    assert need is not None
    assert need.states == exact.states
    assert need.tokens == exact.forwarded_tokens


@pytest.mark.parametrize(
    ("text", "model"),
    [(MANY, WIDE), (FEW, TableModel("small", {"": dict.fromkeys(LETTERS, 1 / 6)}))],
)
def test_many_texts_and_small_tables_have_none(text, model):
    _, need, took = hinted(text, model=model, particles=50)
    assert need is None
    assert took <= TOKENS + 32


def test_what_it_takes_is_a_share_of_the_run():
    result, _, took = hinted(MANY, particles=100)
    # A batch may go past it.
    assert took <= max(TOKENS, SHARE * result.forwarded_tokens) + 32


@pytest.mark.parametrize("method", ["smc", "steer", "importance", "rejection"])
def test_watching_for_it_changes_no_figure_of_the_run(method):
    text = MANY if method == "rejection" else FEW
    plain = fkdsl.parse(text).run(method, model=WIDE, seed=3)
    watched, _, _ = hinted(text, method, seed=3)
    assert watched.posterior == plain.posterior
    assert (watched.log_z, watched.forwarded_tokens, watched.model_calls) == (
        plain.log_z,
        plain.forwarded_tokens,
        plain.model_calls,
    )


def test_a_run_that_exact_could_not_do_has_none():
    continuous = FEW.replace("    s ~ text", "    x ~ normal(0.0, 1.0)\n    s ~ text")
    assert hinted(continuous, particles=50)[1] is None
    assert hinted(FEW, "exact")[1] is None


def test_the_command_line_prints_the_call(capsys, tmp_path, monkeypatch):
    path = tmp_path / "few.fk"
    path.write_text('model "toy"\n' + FEW.replace("few()", "few(n: int = 1)"))
    monkeypatch.setattr("fkdsl.api.engines.load_model", lambda reference, **_: WIDE)
    args = ["run", str(path), "--particles", "100", "-p", "n=2"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert f"tokens: fkdsl exact {path} -p n=2" in out
    assert "note: exact needs only " in out
    assert main([*args, "--no-hint"]) == 0
    assert "fkdsl exact" not in capsys.readouterr().out

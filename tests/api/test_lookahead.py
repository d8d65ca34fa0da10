"""`lookahead`: which surrogate a run looks ahead by, its trace, and what goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.models.surrogate import files
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import ENOUGH, CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from tests.cli.test_cli import call

TEXT = """\
model m = table:
    ""  -> "a": 0.5, "b": 0.25, EOS: 0.25
    "a" -> "a": 0.25, "b": 0.5, EOS: 0.25

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=6)
    condition matches(s, "[ab]{3}b")
    return s
"""


def surrogate(vocabulary, seed=0, head=False):
    rng = np.random.default_rng(seed)
    guess = Surrogate.of(
        rng.dirichlet(np.ones(3)),
        rng.dirichlet(np.ones(3), size=3),
        rng.dirichlet(np.full(vocabulary.size, 0.1), size=3) + 1e-6,
        vocabulary.fingerprint,
    )
    tokens, weights = np.arange(vocabulary.size), rng.normal(size=(vocabulary.size, 3))
    of_row = Head(tokens, weights.astype(np.float32), np.zeros(3, np.float32), 0.5)
    return replace(guess, head=of_row if head else None)


@pytest.fixture
def program():
    return fkdsl.parse(TEXT)


@pytest.fixture(params=["filter", "head"])
def guess(program, request):
    return surrogate(program.engines()["m"].model.vocabulary, head=request.param == "head")


def test_a_run_says_that_it_looked_ahead(program, guess):
    result = program.run(particles=4, seed=1, lookahead=guess)
    assert any("look-ahead by a surrogate (both)" in note for note in result.notes)
    plain = program.run(particles=4, seed=1, lookahead="none")
    assert not any("look-ahead" in note for note in plain.notes)


def test_without_a_surrogate_auto_is_none(program):
    auto = program.run(particles=4, seed=1)
    assert auto.particles == program.run(particles=4, seed=1, lookahead="none").particles
    with pytest.raises(CallError) as error:
        program.run(particles=4, seed=1, lookahead="both")
    assert "no surrogate of the program's model" in error.value.message
    assert "fkdsl distil" in error.value.help


@pytest.mark.parametrize("method", ["exact", "rejection", "local", "beam", "tempered"])
def test_other_methods_ignore_it(program, guess, method):
    options = {"samples": 2} if method == "rejection" else {}
    plain = program.run(method, lookahead="none", **options)
    ahead = program.run(method, lookahead=guess, **options)
    assert ahead.particles == plain.particles
    assert ahead.log_z == plain.log_z


def test_blame_adds_up_with_guesses(program, guess):
    result = program.run(particles=6, seed=2, ess=0.0, lookahead=guess, blame=True)
    assert result.log_z == program.run(particles=6, seed=2, ess=0.0, lookahead=guess).log_z
    assert any("matches" in line.place.text for line in result.blame.lines)


def test_islands_and_a_target_look_ahead(program, guess):
    assert program.run(particles=4, islands=3, lookahead=guess).islands == 3
    assert program.run(particles=4, target_se=0.5, lookahead=guess).islands >= 2


def test_a_resumed_run_is_the_run(tmp_path, program, guess):
    path = tmp_path / "run.jsonl"
    whole = program.run(particles=6, seed=4, trace=path, lookahead=guess)
    lines = path.read_text().splitlines(keepends=True)
    assert '"guesses":{"completion":' in "".join(lines).replace(" ", "")
    assert json.loads(lines[0])["lookahead"].startswith("both by ")
    assert json.loads(lines[0])["surrogates"].keys() == {""}
    for kept in (2, 3, 4):
        path.write_text("".join(lines[:kept]))
        again = program.run(particles=6, seed=4, resume=path, lookahead=guess)
        assert again.particles == whole.particles
        assert again.log_z == whole.log_z


def other_head(guess):
    """None where there is a head, else one."""
    K, H = guess.vocabulary_size, guess.states
    one = Head(np.arange(K), np.zeros((K, H), np.float32), np.zeros(H, np.float32))
    return one if guess.head is None else None


def test_a_run_is_not_resumed_by_another_surrogate(tmp_path, program, guess):
    path = tmp_path / "run.jsonl"
    program.run(particles=6, seed=4, trace=path, lookahead=guess)
    vocabulary = program.engines()["m"].model.vocabulary
    for other in (surrogate(vocabulary, 1), replace(guess, head=other_head(guess)), "none"):
        with pytest.raises(CallError, match="look-ahead"):
            program.run(particles=6, seed=4, resume=path, lookahead=other)


def test_a_trace_from_before_there_were_surrogates_is_resumed(tmp_path, program):
    path = tmp_path / "run.jsonl"
    whole = program.run(particles=6, seed=4, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    del header["lookahead"], header["surrogates"]
    path.write_text(json.dumps(header) + "\n" + "".join(lines[1:3]))
    assert program.run(particles=6, seed=4, resume=path).particles == whole.particles


def test_drafted_tokens_look_ahead_where_it_is_asked_for(program, guess):
    asked = program.run(particles=2, draft="ngram", lookahead=guess, seed=1)
    assert any("look-ahead by a surrogate" in note for note in asked.notes)
    default = program.run(particles=2, draft="ngram", seed=1)
    assert not any("look-ahead" in note for note in default.notes)


def test_a_rough_surrogate_is_not_asked_of_a_grammar(program):
    parses = 'condition parses(s, grammar="start: (\\"a\\"|\\"b\\")* \\"b\\"")'
    grammar = fkdsl.parse(TEXT.replace('condition matches(s, "[ab]{3}b")', parses))
    V = grammar.engines()["m"].model.vocabulary
    for text, tilts in ((grammar, False), (program, True)):
        ahead = CompletionLookahead({"": surrogate(V)}, is_rough=lambda model: True)
        fkdsl.run(text.feynman_kac(proposals=ProposalSettings(lookahead=ahead)), particles=2)
        assert (ahead.tilted > 0) == tilts
        assert any("rough" in reason for reason in ahead.left_out) != tilts


def test_a_constraint_that_is_met_anyway_is_left_alone(program):
    easy = fkdsl.parse(TEXT.replace("[ab]{3}b", "[ab]*"))
    for text, tilts in ((easy, False), (program, True)):
        V = text.engines()["m"].model.vocabulary
        a, b, end = 0, 1, text.engines()["m"].model.eos
        emission = np.full((1, V.size), 1e-9)
        emission[0, [a, b, end]] = 0.4, 0.4, 0.2
        ahead = CompletionLookahead(
            {"": Surrogate.of([1], [[1]], emission, V.fingerprint)}, enough=ENOUGH
        )
        model = text.feynman_kac(proposals=ProposalSettings(lookahead=ahead))
        fkdsl.run(model, "smc", particles=3)
        assert (ahead.tilted > 0) == tilts


# ----------------------------------------------------------- the command line


@pytest.fixture
def folder(tmp_path, guess):
    (tmp_path / "p.fk").write_text(TEXT)
    files.write(tmp_path / "a.surrogate", guess)
    return tmp_path


def test_the_flag_takes_a_file(folder, capsys):
    status, out, _ = call(
        capsys, "run", str(folder / "p.fk"), "--lookahead", str(folder / "a.surrogate")
    )
    assert status == 0
    assert "look-ahead by a surrogate (both)" in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bth", "did you mean `both`"),
        ("none.surrogate", "there is no file"),
        ("cut.surrogate", "was cut off"),
        ("other.surrogate", "of another vocabulary"),
        ("p.fk", "is no surrogate"),
    ],
)
def test_what_is_no_surrogate_of_the_model_is_said(folder, capsys, given, said):
    whole = (folder / "a.surrogate").read_bytes()
    (folder / "cut.surrogate").write_bytes(whole[: len(whole) // 2])
    vocabulary = fkdsl.parse(TEXT.replace('"b"', '"c"')).engines()["m"].model.vocabulary
    files.write(folder / "other.surrogate", surrogate(vocabulary))
    where = given if given == "bth" else str(folder / given)
    status, _, err = call(capsys, "run", str(folder / "p.fk"), "--lookahead", where)
    assert status == 2
    assert said in err

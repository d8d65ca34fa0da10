"""`draft=` as users say it: in a file, on the command line, from Python; what it saves, and what it
refuses."""

import gc
import json
import math
from dataclasses import asdict

import pytest

import fkdsl
from fkdsl.cli.main import main
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.drafts import DraftQuery, HeadsDraft, with_heads
from fkdsl.models.registry import load_model
from fkdsl.models.tiny.files import write_model_file
from fkdsl.models.tiny.transformer import TinyShape, initialised

PLAYS = """
model "tiny"
program plays(n: int = 60) -> str:
    lm = prompt("ROMEO:\\n")
    while lm.tokens < n:
        t ~ lm
        condition t != EOS
    return lm.text
"""


def test_the_heads_of_tiny_halve_the_forwards():
    """On text of its own kind, for a population too."""
    program = fkdsl.parse(PLAYS)(n=150)
    plain = program.run("importance", particles=4, seed=2)
    drafted = program.run("importance", particles=4, seed=2, draft="heads")
    assert 2 * drafted.model_calls <= plain.model_calls
    assert drafted.drafts["tokens"] > 2.2 * drafted.drafts["rounds"]
    assert drafted.drafts["drafted"] > drafted.drafts["kept"] > 0


def test_what_a_note_counts_is_what_particles_drew():
    """Not what was made ahead for lineages that resampling ended."""
    weighed = PLAYS.replace(
        "    return", '        factor 3.0 if t in ["e", "a", "o"] else 0.0\n    return'
    )
    result = fkdsl.parse(weighed)(n=20).run("smc", particles=6, ess=1.0, seed=1, draft="heads")
    assert result.drafts["tokens"] == 6 * 20
    assert result.drafts["kept"] < result.drafts["drafted"] < 6 * 20


def test_a_weighed_draft_takes_one_forward_a_block():
    program = fkdsl.parse(PLAYS)(n=61)
    result = program.run("importance", particles=4, draft="heads", block=3, verify="weigh")
    assert result.model_calls == 1 + 60 // 4
    assert result.steps == 1 + 60 // 4


def test_a_file_says_how_its_tokens_are_drafted(tmp_path, capsys):
    """By another model that it declares, here one that is not trained: every token is drafted, few
    are kept."""
    shape = TinyShape(width=16, layers=1, heads=1, hidden=16, ahead=1)
    tensors = {name: t.detach() for name, t in initialised(shape, 0).state_dict().items()}
    write_model_file(tmp_path / "small.safetensors", tensors, {"shape": asdict(shape)})
    file = tmp_path / "p.fk"
    infer = 'infer importance(particles=2, draft="small", block=2)\n'
    file.write_text(PLAYS.replace('"tiny"', '"tiny"\nmodel small = "./small.safetensors"') + infer)
    assert main(["run", str(file), "--json", "-p", "n=30"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drafts"]["drafted"] > 2 * found["drafts"]["kept"]
    assert any("draft by small" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("infer smc(draft=3)", "smc: draft is a name in quotes, not 3"),
        ("infer smc(block=2)", "smc: block says how tokens are drafted, and nothing drafts them"),
        ('infer smc(draft="ngram", block=0)', "smc: block must be between 1 and 64, not 0"),
        ('infer smc(draft="ngram", verify="weight")', "smc: verify cannot be `weight`"),
        (
            'infer rejection(draft="ngram", verify="weigh")',
            "rejection: verify cannot be `weigh`, whose weights p/q",
        ),
        (
            'infer local(draft="ngram", verify="weigh")',
            "local: verify cannot be `weigh`, under which its answer",
        ),
        ('infer smc(moves=1, draft="ngram")', "smc: moves of whole paths take no draft"),
        ('infer exact(draft="ngram")', "`exact` has no option `draft`"),
    ],
)
def test_a_mistaken_option_is_found_before_anything_runs(line, says):
    with pytest.raises(fkdsl.ProgramError) as found:
        fkdsl.parse(f"{PLAYS}\n{line}\n")
    (diagnostic,) = found.value.diagnostics
    assert says in diagnostic.message
    assert diagnostic.span.line == 10
    assert diagnostic.help


def test_a_draft_that_cannot_be_is_refused_with_something_to_try():
    table = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n'
    program = fkdsl.parse(
        f'{table}program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'
    )
    with pytest.raises(
        fkdsl.CallError, match="has no heads for tokens beyond the next one"
    ) as found:
        program.run(draft="heads")
    assert "ngram" in found.value.help
    with pytest.raises(
        fkdsl.CallError, match="tiny cannot draft for m: they have different vocabularies"
    ):
        program.run(draft="tiny")
    with pytest.raises(fkdsl.CallError, match="moves of whole paths take no draft"):
        program.run("smc", moves=2, draft="ngram")
    with pytest.raises(fkdsl.CallError, match="exact has no option `draft`"):
        program.run("exact", draft="ngram")


def test_what_could_draft_for_a_byte_view_is_named():
    with pytest.raises(fkdsl.CallError, match=r"for a byte view, another one: `bytes\(tiny\)`"):
        fkdsl.parse(PLAYS)(n=3).run("importance", model="bytes(tiny)", draft="tiny")


def test_a_drafted_run_that_was_stopped_ends_as_if_it_had_not(tmp_path):
    program = fkdsl.parse(PLAYS)(n=24)
    options = {"particles": 3, "ess": 1.0, "seed": 5, "draft": "heads"}
    whole = program.run("smc", trace=tmp_path / "a.jsonl", **options)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (3, 9, 14):
        (tmp_path / "b.jsonl").write_bytes(b"".join(lines[:cut]))
        again = program.run("smc", resume=tmp_path / "b.jsonl", **options)
        assert [p.value for p in again.particles] == [p.value for p in whole.particles]
        # Batches of other shapes round otherwise.
        assert [p.weight for p in again.particles] == pytest.approx(
            [p.weight for p in whole.particles], rel=1e-5
        )


@pytest.mark.parametrize("verify", ["sample", "weigh"])
def test_a_program_without_a_model_runs_with_a_draft(verify):
    program = fkdsl.parse("program main() -> bool:\n    x ~ bernoulli(0.5)\n    return x\n")
    with_draft = program.run("smc", draft="ngram", verify=verify)
    assert with_draft.posterior == program.run("smc").posterior
    assert with_draft.drafts is None


def test_what_runs_ahead_stops_where_draws_ask_no_model(monkeypatch):
    """Between two tokens there may be as many other draws as the particle has steps."""
    text = """
program main() -> str:
    lm = prompt("")
    t ~ lm
    while lm.tokens < 9:
        t ~ lm
        for _i in range(10000):
            _x ~ bernoulli(0.5)
    return lm.text
"""
    steps = 0
    later = fkdsl.base.random.StepRng.later

    def counted(self, n):
        nonlocal steps
        steps += 1
        return later(self, n)

    monkeypatch.setattr("fkdsl.base.random.StepRng.later", counted)
    with pytest.raises(fkdsl.BudgetEnded):
        fkdsl.parse(text).run("smc", particles=2, draft="heads", max_steps=30)
    assert steps < 1000


@pytest.mark.parametrize("draft", ["heads", "ngram"])
def test_contexts_are_gone_with_the_run_without_the_collector_of_cycles(draft):
    program = fkdsl.parse(PLAYS)(n=40)
    left = []
    gc.disable()
    try:
        for how in ({}, {"draft": draft}):
            engines = program.engines()
            program.run("smc", particles=4, ess=1.0, engines=engines, **how)
            left.append(len(engines[""].tree))
    finally:
        gc.enable()
    assert left[1] <= left[0]


def test_blame_of_a_weighed_token_is_the_line_that_draws_the_text():
    """Not the prelude's, in which `text` draws it."""
    program = fkdsl.parse(
        'program p() -> str:\n    lm = prompt("R")\n    s ~ text(lm, max_tokens=8)\n    return s\n'
    )
    steps = []
    program.run(
        "importance", particles=2, draft="heads", verify="weigh", blame=True, observer=steps.append
    )
    charged = {
        c.place for step in steps for p in step.particles for c in p.state.charges if c.log_weight
    }
    assert {(place.source.name, place.line) for place in charged} == {("<text>", 3)}


def test_a_weighed_block_of_tiny_weighs_each_drafted_byte():
    """log w = sum of log p - log q over the bytes that are not a block's first, by the heads and
    the plain model."""
    program = fkdsl.parse(
        PLAYS.replace("        condition t != EOS\n", "").replace("while", "while not lm.done and")
    )
    result = program(n=8).run(
        "importance", particles=3, draft="heads", block=3, verify="weigh", seed=3
    )
    plain = CachedTransformer(load_model("tiny"))
    engine = with_heads(plain)
    draft = HeadsDraft(engine)
    for particle in result.particles:
        ids, expected = list(particle.value.encode()), -math.log(3)
        assert len(ids) == 8
        for i, token in enumerate(ids):
            if i % 4:
                start = engine.start("ROMEO:\n")
                question = DraftQuery(
                    engine.extend(start, ids[:i]), engine.extend(start, ids[: i - i % 4])
                )
                (row,) = draft.log_probs([question])
                q = math.log(0.98 * math.exp(row[token]) + 0.02 / 257)
                expected += (
                    plain.logprob_of(plain.extend(plain.start("ROMEO:\n"), ids[:i]), [token]) - q
                )
        assert particle.log_weight == pytest.approx(expected, abs=1e-3)

"""The benchmarks count and compute what they say; how fast anything is, nobody asserts."""

import doctest
import json

import answers
import decoding
import gpu
import gpu_laws
import growth
import numpy as np
import pytest
import report
import torch
from bare import Bare, check
from peers import environments, short_words
from wide import widened

import fkdsl
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import load_model
from fkdsl.values.library.text import letters, words

TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.3, EOS: 0.2\n'


@pytest.mark.parametrize("module", [answers, report, short_words], ids=lambda m: m.__name__)
def test_the_examples_in_docstrings_are_what_happens(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert result.failed == 0


@pytest.mark.parametrize(
    "text",
    ["", "The sea.", "It's a sea-side town", "don't-worry", "a1b2c3d4e5f6", "ocean's", "été où"],
)
def test_peers_are_held_to_the_condition_of_the_program(text):
    assert short_words.short(text) == all(letters(w) <= 5 for w in words(text))


def test_peers_and_the_program_have_one_prompt():
    assert decoding.PROMPT == short_words.PROMPT
    assert f'prompt("{short_words.PROMPT}"'.replace('sea: "', 'sea: \\"') in decoding.PROGRAM


def counted(body, *args, **options):
    """(tokens so far, particles that go on) after each step."""
    count, seen = decoding.Drawn(), []

    def watch(step):
        count(step)
        seen.append((count.tokens, step.unfinished))

    program = fkdsl.parse(
        f'{TABLE}program p() -> str:\n    lm = prompt("")\n{body}    return lm.text\n'
    )
    program.without().run(*args, observer=watch, **options)
    return seen


def test_every_draw_of_every_particle_counts():
    body = (
        '    t ~ lm\n    u ~ categorical(["x", "y"], [0.9, 0.1])\n'
        '    factor 0.0 if u == "x" else -3.0\n'
    )
    assert counted(body, "smc", particles=5, ess=1.0) == [(0, 5), (5, 5), (10, 0)]


def test_the_finished_and_the_dead_draw_no_more():
    body = (
        '    t ~ lm\n    if not lm.done:\n        t ~ lm\n        condition t != "b"\n'
        "        u ~ bernoulli(0.5)\n"
    )
    seen = counted(body, "importance", particles=40, seed=3)
    tokens, going = zip(*seen, strict=True)
    assert tokens == (0, 40, 40 + going[1], 40 + going[1] + going[2])
    assert 40 > going[1] > going[2] > going[3] == 0


def test_the_nodes_of_some_texts_are_counted_once():
    assert growth.prefixes([(1, 2), (1, 3), (4,)]) == {(1,), (1, 2), (1, 3), (4,)}


@pytest.fixture(scope="module")
def llama():
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2,
        vocab_size=300, tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def test_the_bare_loop_is_the_model(llama):
    assert check(llama, [5, 17, 4, 99], [7, 250, 3, 12]) <= 1e-4


def test_the_bare_loop_keeps_its_rows_apart(llama):
    bare = Bare(llama, rows=3, capacity=8)
    bare.prefill([5, 17])
    bare.step(torch.tensor([1, 2, 3]))
    logits = bare.step(torch.tensor([9, 9, 9]))
    with torch.inference_mode():
        alone = llama(torch.tensor([[5, 17, 2, 9]])).logits[0, -1]
    assert (logits[1] - alone).abs().max() <= 1e-4
    assert (logits[0] - alone).abs().max() > 1e-3


def test_a_peer_that_fails_says_why_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(
        environments.PEERS, "broken", environments.Peer("no_such_script.py", ("nothing",))
    )
    with pytest.raises(environments.PeerFailed) as failed:
        environments.measure(
            "broken", environments.Path(environments.sys.executable), 60, particles=1
        )
    assert "no_such_script.py" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_the_wide_model_has_the_law_and_the_heads_of_tiny(tmp_path):
    tiny, wide = load_model("tiny"), load_model(str(widened(tmp_path, 2, 7, torch.float32)))
    assert wide.describe()["parameters"] > 4 * tiny.describe()["parameters"]
    rows = [ForwardRow(None, tiny.start("ROMEO:\nBut soft"), (3, 15))]
    (a,), (b,) = tiny.forward(rows), wide.forward(rows)
    np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4)
    (a,), (b,) = (model.with_heads().forward(rows) for model in (tiny, wide))
    np.testing.assert_allclose(a.head_outputs, b.head_outputs, atol=1e-4)


def test_the_gpu_benchmark_runs_where_there_is_none(capsys, tmp_path):
    out = tmp_path / "figures.json"
    few = ["--models", "small", "--particles", "3", "--prompt", "40", "--tokens", "2"]
    gpu.main(["--device", "cpu", *few, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "laws hold on cpu" in printed
    (cell,) = json.loads(out.read_text())
    assert cell["floor"] > 0.0
    assert (cell["model"], cell["N"]) == ("small", 3)
    assert 0.0 < cell["transfers"] <= 2.0
    assert "| small |  3 |" in printed


def test_the_gpu_benchmark_sees_rows_that_are_wrong(monkeypatch):
    walk = gpu_laws.rows_of_walk
    monkeypatch.setattr(
        gpu_laws,
        "rows_of_walk",
        lambda model: walk(model) * (1.01 if isinstance(model, DecoderModel) else 1.0),
    )
    with pytest.raises(AssertionError, match="rows are off"):
        gpu_laws.check_laws("cpu")


@pytest.mark.parametrize("task", answers.TASKS)
def test_known_answers_meet_the_conditions_of_their_task(task):
    text = (answers.FOLDER / f"{task}.fk").read_text("utf-8")
    head, body = text[: text.index("    lm = prompt(")], text[text.index("    s ~ ") :]
    body = body[body.index("\n") + 1 :]
    head = head.replace('model "smollm2"', TABLE).replace("text: str", "text: str, s: str")
    program = fkdsl.parse(head + body, folder=answers.FOLDER)
    for item in answers.items_of(task):
        found = program(text=item["text"], s=item["gold"]).run("exact")
        assert found.log_z == 0
        assert answers.is_right(task, found.posterior[0].value, item["gold"])

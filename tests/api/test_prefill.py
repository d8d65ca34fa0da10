"""A prompt computed by one engine and decoded from by another; files that do not fit are
refused."""

import json
from pathlib import Path

import numpy as np
import pytest

import fkdsl
from fkdsl.api.prefill import adopt, prefill
from fkdsl.base.errors import CallError
from fkdsl.cli.main import main
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.meter import ForwardMeter
from fkdsl.models.cost import Cost
from fkdsl.models.digest import digest_of
from fkdsl.models.interface import ForwardRow
from fkdsl.models.prefill.file import read_prefill
from tests.engine.tiny import tiny

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
PROGRAM = """
program p(n: int = 5) -> str:
    lm = prompt("hello")
    other = prompt("help", model="m")
    for i in range(n):
        t ~ lm
        condition t != EOS
        observe t ~ other
    return lm.text
"""


def made(family="llama", scale=None):
    """A model as `load` would make it: with a fingerprint."""
    import torch

    from fkdsl.models.loading import model_of

    model = tiny(family)
    module = model.module
    if scale is not None:
        import copy

        module = copy.deepcopy(module)
        with torch.no_grad():
            next(module.parameters()).mul_(scale)
    texts = model._texts
    facts = {"family": family, "dtype": "float32", "digest": digest_of(module.state_dict())}
    texts = type(texts)(**{**vars(texts), "facts": facts})
    return model_of(module, texts, "float32" if family == "llama" else None)


def engines_of(program, model, **options):
    engines = program.engines(model, **options)
    engines._engines["m"] = engines[""]
    return engines


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_run_from_a_prefill_is_the_run(tmp_path, family):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "p.safetensors"
    plain = program.run("smc", engines=engines_of(program, made(family)), particles=6, seed=3)
    stored = prefill(program, path, engines_of(program, made(family)))
    assert sorted(len(c.tokens) for c in stored.contexts) == [4, 5]
    engines = engines_of(program, made(family))
    adopt(program, path, engines)
    result = program.run("smc", engines=engines, particles=6, seed=3)
    assert (
        result.forwarded_tokens == plain.forwarded_tokens - 6
    )  # "hel" is one run of tokens, "lo" and "p" follow it
    assert result.log_z == pytest.approx(plain.log_z, abs=1e-5)
    assert [a.value for a in result.posterior] == [a.value for a in plain.posterior]


def test_rows_after_an_adopted_context_are_those_of_the_whole_text(tmp_path):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "p.safetensors"
    model = made()
    prefill(program, path, engines_of(program, model))
    engines = engines_of(program, made())
    adopt(program, path, engines)
    engine = engines[""]
    context = engine.start("hello")
    assert engine.cached(context) is not None
    (row,) = engine.log_probs([engine.extend(context, (3, 4, 5))])
    (whole,) = model.forward([ForwardRow(None, (*context.tokens, 3, 4, 5), (7,))])
    np.testing.assert_allclose(row, whole.log_probs[0], atol=1e-5)
    assert engine.stats.forwarded_tokens == 3


def test_a_file_of_other_weights_precision_prompt_or_form_is_refused(tmp_path):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "p.safetensors"
    prefill(program, path, engines_of(program, made()))
    with pytest.raises(CallError, match="another model, llama: other weights"):
        adopt(program, path, engines_of(program, made(scale=1.01)))
    half = made()
    half.describe_also({"dtype": "bfloat16"})
    with pytest.raises(CallError, match="precision float32 and bfloat16"):
        adopt(program, path, engines_of(program, half))
    other = fkdsl.parse(PROGRAM.replace('"help"', '"held"'))
    with pytest.raises(CallError, match=r"another prompt, of 4 tokens: .*help"):
        adopt(other, path, engines_of(other, made()))
    recurrent = fkdsl.parse(PROGRAM)
    with pytest.raises(CallError, match="keeps no keys and values"):
        prefill(recurrent, tmp_path / "q", engines_of(recurrent, made("mamba")))


def test_a_changed_or_torn_file_is_refused(tmp_path):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "p.safetensors"
    prefill(program, path, engines_of(program, made()))
    whole = path.read_bytes()
    for broken, said in (
        (whole[:-100], "no prefill, or was cut off"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "was changed"),
        (b"not a file of tensors", "no prefill, or was cut off"),
    ):
        path.write_bytes(broken)
        with pytest.raises(CallError, match=said):
            adopt(program, path, engines_of(program, made()))
    with pytest.raises(CallError, match="there is no file"):
        adopt(program, tmp_path / "none", engines_of(program, made()))


def test_a_table_or_a_program_without_a_prompt_has_nothing_to_prefill(tmp_path):
    table = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n\n'
    program = fkdsl.parse(
        table + 'program p() -> str:\n    lm = prompt("a")\n    t ~ lm\n    return lm.text\n'
    )
    with pytest.raises(CallError, match="no keys and values"):
        prefill(program, tmp_path / "p")
    program = fkdsl.parse("program p() -> bool:\n    x ~ bernoulli(0.5)\n    return x\n")
    with pytest.raises(CallError, match="no prompt before its first draw"):
        prefill(program, tmp_path / "p")


def test_the_meter_counts_prefill_and_decoding_apart():
    model = made()
    engine = CachedTransformer(model)
    engine.meter = ForwardMeter()
    a = engine.start("hello")
    engine.log_probs([a])
    engine.log_probs([engine.extend(a, (i,)) for i in range(3)])
    prefilled, decoded = engine.meter.prefill, engine.meter.decode
    assert (prefilled.forwards, prefilled.rows, prefilled.tokens, prefilled.cached) == (1, 1, 5, 0)
    assert (decoded.forwards, decoded.rows, decoded.tokens, decoded.cached) == (1, 3, 3, 15)
    assert decoded.flops == pytest.approx(model.cost.forward([5, 5, 5], [1, 1, 1], 3)[0])
    assert json.dumps(vars(prefilled))


def test_the_cost_of_a_forward_by_hand():
    cost = made().cost
    # 32 wide, 2 layers: queries 32x32, keys and values 32x16 each, out 32x32, three maps of 32x64.
    linear, head = 2 * (3 * 32 * 32 + 3 * 32 * 64), 40 * 32
    assert cost == Cost(
        linear, head, attended=2 * 32, weight_bytes=4.0 * (linear + head), slot_bytes=2 * 2 * 16 * 4
    )
    flops, moved = cost.forward([10], [1], 1)
    assert flops == 2 * cost.linear + 2 * cost.head + 4 * cost.attended * 11
    assert moved == cost.weight_bytes + 11 * cost.slot_bytes


@pytest.mark.parametrize("model", ["tiny", pytest.param("smollm2", marks=pytest.mark.smollm2)])
def test_a_prefill_of_a_model_from_its_files_gives_the_answer_of_a_run_without(
    tmp_path, capsys, model
):
    file, path = str(PROGRAMS / "short_words.fk"), str(tmp_path / "p.safetensors")
    assert main(["prefill", file, "--model", model, "--out", path]) == 0
    assert "1 prompt, " in capsys.readouterr().out
    (context,) = read_prefill(Path(path)).contexts
    assert context.sums.sum() == pytest.approx(
        1.0, abs=1e-6
    )  # without them the first draw would round in another way
    answers = []
    for flags in ([], ["--prefill", path, "--stats"]):
        call = [
            "run",
            file,
            "--model",
            model,
            "-p",
            "max_tokens=6",
            "--particles",
            "4",
            "--no-hint",
            "--json",
            *flags,
        ]
        assert main(call) == 0
        answers.append(json.loads(capsys.readouterr().out))
    without, found = answers
    assert found["posterior"] == without["posterior"]
    assert found["log_z"] == without["log_z"]
    assert found["forwarded_tokens"] < without["forwarded_tokens"]
    assert found["stats"][""]["prefill"]["forwards"] == 0
    assert found["stats"][""]["decode"]["flops"] > 0

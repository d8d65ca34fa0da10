"""Prompts in a shared store: fetched equals computed, bit for bit; what is damaged, missing or out
of reach is computed, and the run says so."""

import json
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
import torch

import fkdsl
from fkdsl.api.prefill_store import fetch_prompts, put_prompts
from fkdsl.base.errors import CallError
from fkdsl.cli.main import main
from fkdsl.models.prefill import blocks
from fkdsl.models.prefill.blocks import Damaged, pack, unpack
from fkdsl.models.prefill.stores import FolderStore, Unreachable, open_store
from tests.api.test_prefill import engines_of, made

PROGRAM = """
program p(n: int = 5) -> str:
    lm = prompt("{prompt}")
    for i in range(n):
        t ~ lm
        condition t != EOS
    return lm.text
"""
PROMPT = "hellohellohellohe"


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 4)


def program_of(prompt=PROMPT):
    return fkdsl.parse(PROGRAM.replace("{prompt}", prompt))


def filled(folder, family="llama", prompt=PROMPT):
    store = FolderStore(folder)
    program = program_of(prompt)
    return put_prompts(program, store, engines_of(program, made(family)))


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run_of(engines, prompt=PROMPT):
    result = program_of(prompt).run("smc", engines=engines, particles=6, seed=3)
    return result.log_z, [(a.value, a.probability) for a in result.posterior]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_run_that_fetches_its_prompt_is_the_run_of_whoever_computed_it(tmp_path, family):
    program = program_of()
    put = filled(tmp_path, family)
    assert (put.tokens, put.fetched_tokens) == (len(PROMPT), 0)
    assert len(entries(tmp_path)) == 5 + 1  # blocks of 17 tokens, and the row
    engines, plain = (engines_of(program, made(family)) for _ in range(2))
    use = fetch_prompts(program, FolderStore(tmp_path), engines)
    assert use.fetched_tokens == use.tokens == len(PROMPT)
    assert use.notes() == []
    assert use.break_even > 0
    (row,) = plain[""].log_probs([plain[""].start(PROMPT)])
    found = engines[""]
    assert np.array_equal(found.cached(found.start(PROMPT)), row)
    before = plain[""].stats.forwarded_tokens
    assert run_of(engines) == run_of(plain)
    assert found.stats.forwarded_tokens == plain[""].stats.forwarded_tokens - before - len(PROMPT)


def test_prompts_that_begin_alike_share_blocks(tmp_path):
    filled(tmp_path)
    other = program_of("hellohellohelp")
    engines = engines_of(other, made())
    use = put_prompts(other, FolderStore(tmp_path), engines)
    assert use.fetched_tokens == 12  # "hellohellohe": three blocks of four
    assert engines[""].stats.forwarded_tokens == use.tokens - 12
    plain = run_of(engines_of(other, made()), "hellohellohelp")
    found = engines_of(other, made())
    assert fetch_prompts(other, FolderStore(tmp_path), found).fetched_tokens == use.tokens
    answer = run_of(found, "hellohellohelp")
    assert answer[0] == pytest.approx(plain[0], abs=1e-5)
    assert [v for v, _ in answer[1]] == [v for v, _ in plain[1]]


def damages(data, others):
    yield data[:-7], "no entry, or was cut off"
    yield data[: len(data) // 2], "no entry, or was cut off"
    yield b"", "no entry, or was cut off"
    yield data[:-1] + bytes([data[-1] ^ 1]), "changed"
    yield others[0], "another prompt or model"
    yield bytes(3 << 20), "are read"
    yield (1 << 60).to_bytes(8, "little") + data[8:], "no entry, or was cut off"


def test_what_is_damaged_is_refused_computed_and_said(tmp_path):
    filled(tmp_path)
    program, store = program_of(), FolderStore(tmp_path)
    plain = run_of(engines_of(program, made()))
    paths = entries(tmp_path)
    for path in (paths[0], paths[3], paths[-1]):
        whole = path.read_bytes()
        for broken, said in damages(whole, [p.read_bytes() for p in paths if p != path]):
            path.write_bytes(broken)
            engines = engines_of(program, made())
            use = fetch_prompts(program, store, engines)
            assert any(said in note and "computed here" in note for note in use.notes()), said
            assert run_of(engines)[0] == pytest.approx(plain[0], abs=1e-5)
        again = put_prompts(program, store, engines_of(program, made()))
        assert again.refused
        assert path.read_bytes() == whole or unpack(path.name, path.read_bytes())
    assert fetch_prompts(program, store, engines_of(program, made())).notes() == []


def test_entries_whose_numbers_do_not_fit_are_refused(tmp_path):
    """As a stranger would write them, with a checksum that fits."""
    filled(tmp_path)
    program = program_of()
    engine = engines_of(program, made())[""]
    from fkdsl.models.prefill.contents import identity

    keys = blocks.block_keys(identity(engine.model), engine.start(PROMPT).tokens)
    size = engine.model.vocabulary.size
    for key, tensors, said in (
        (keys[0], {}, "not of this model's shape"),
        (keys[0], {"0": torch.zeros(3, 1, 1)}, "not of this model's shape"),
        (keys[-1], {}, "not of this model's vocabulary"),
        (keys[-1], {"row": torch.zeros(size + 1)}, "not of this model's vocabulary"),
        (keys[-1], {"row": torch.zeros(size, dtype=torch.int64)}, "vocabulary"),
        (keys[-1], {"row": torch.zeros(size)}, "no distribution"),
        (keys[-1], {"row": torch.full((size,), float("nan"))}, "no distribution"),
    ):
        store = FolderStore(tmp_path)
        before = store.get(key, 1 << 30)
        store.put(key, pack(key, tensors, 0.1))
        use = fetch_prompts(program, store, engines_of(program, made()))
        assert any(said in note for note in use.notes()), (said, use.notes())
        store.put(key, before)


def test_another_model_or_precision_finds_nothing_and_says_so(tmp_path):
    filled(tmp_path)
    program = program_of()
    half = made()
    half.describe_also({"dtype": "bfloat16"})
    for model in (made(scale=1.01), half):
        use = fetch_prompts(program, FolderStore(tmp_path), engines_of(program, model))
        assert use.fetched_tokens == 0
        assert "has 0 of the prompts' 17 tokens by this model and precision" in use.notes()[0]


def test_models_without_keys_and_values_run_as_before(tmp_path):
    recurrent = program_of()
    use = fetch_prompts(recurrent, FolderStore(tmp_path), engines_of(recurrent, made("mamba")))
    assert "keeps no keys and values" in use.notes()[0]
    with pytest.raises(CallError, match="keeps no keys and values"):
        put_prompts(recurrent, FolderStore(tmp_path), engines_of(recurrent, made("mamba")))


def test_a_program_without_a_prompt_runs_and_says_so(tmp_path):
    text = 'model "tiny"\nprogram p() -> bool:\n    x ~ bernoulli(0.5)\n    return x\n'
    result = fkdsl.parse(text).run("smc", particles=2, prefill_store=tmp_path)
    assert any("no prompt comes before the first draw" in note for note in result.notes)


def test_a_store_that_does_not_answer_costs_no_answer():
    program = program_of()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"redis://user:secret@127.0.0.1:{taken.getsockname()[1]}/0"
        engines = engines_of(program, made())
        pytest.importorskip("redis", reason="it comes with the extra `redis`")
        use = fetch_prompts(program, open_store(url), engines)
        assert "does not answer" in use.notes()[0]
        assert "secret" not in use.notes()[0]
        with pytest.raises(Unreachable):
            put_prompts(program, open_store(url), engines_of(program, made()))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://x", "cannot open nonsense://x"),
        ("redis://127.0.0.1:1/0?ttl=soon", "cannot open redis://"),
        (__file__, "is not a folder"),
    ],
)
def test_a_store_that_cannot_be_opened_is_told(url, said):
    with pytest.raises(CallError, match=said):
        open_store(url)


def test_an_object_store_keeps_what_is_put(tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    assert store.get("ab12", 100) is None
    store.put("ab12", b"some bytes")
    assert store.get("ab12", 100) == b"some bytes"
    with pytest.raises(Damaged, match="at most 4 bytes are read"):
        store.get("ab12", 4)


def test_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 256)
    file, store = tmp_path / "p.fk", tmp_path / "store"
    file.write_text(
        'model "tiny"\n' + PROGRAM.replace("{prompt}", "Enter the king, and all his men. ")
    )
    call = ["run", str(file), "--particles", "4", "--no-hint", "--json", "--stats"]
    assert main(call) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*call, "--prefill-store", str(store)]) == 0
    assert "has 0 of the prompts' 34 tokens" in json.loads(capsys.readouterr().out)["notes"][-1]
    assert main(["prefill", str(file), "--store", str(store)]) == 0
    assert "34 tokens: 0 were there, 34 computed, " in capsys.readouterr().out
    assert main([*call, "--prefill-store", str(store)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["posterior"], found["log_z"]) == (plain["posterior"], plain["log_z"])
    assert found["stats"][""]["prefill"]["forwards"] == 0
    assert found["store"]["fetched_tokens"] == 34
    assert main([*call[:-2], "--stats", "--prefill-store", str(store)]) == 0
    assert "store    34 of 34 tokens fetched: " in capsys.readouterr().out


@pytest.mark.cluster
def test_a_real_redis_server_is_a_store(tmp_path):
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    assert server, "install redis-server, or valkey-server, to run this test"
    pytest.importorskip("redis", reason="it comes with the extra `redis`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        store = open_store(f"redis://127.0.0.1:{port}/0?ttl=600")
        for _ in range(100):
            try:
                store.get("none", 1)
                break
            except Unreachable:
                time.sleep(0.05)
        program = program_of()
        put_prompts(program, store, engines_of(program, made()))
        engines = engines_of(program, made())
        assert fetch_prompts(program, store, engines).fetched_tokens == len(PROMPT)
        assert run_of(engines) == run_of(engines_of(program, made()))
        assert store.client.ttl(store.client.keys()[0]) > 0
    finally:
        process.kill()
        process.wait()

"""Traces that were damaged: whatever is done to one, reading it ends in an answer or in a clear
error, and soon."""

import copy
import json
import random
import re
import time
from contextlib import suppress

import pytest
from safetensors import safe_open

import fkdsl
from fkdsl.api.prefill import adopt
from fkdsl.api.prefill import prefill as write_prefill
from fkdsl.api.trace.file import KEY, encoded, read_trace, with_sum
from fkdsl.api.trace.schema import _is_state
from fkdsl.base.errors import CallError
from fkdsl.cli.main import main

TEXT = """
model m = table:
    "" -> "a": 0.4, "é": 0.3, EOS: 0.3

def heads(lm: context, xs: list[int]) -> bool:
    x ~ bernoulli(0.5)
    t ~ lm
    return x

program p(n: int = 3) -> list[str]:
    lm = prompt("a", model=m)
    found = ["b"]
    for i in range(n):
        if not lm.done:
            y ~ heads(lm, [1, i])
            z ~ normal(0.0, 1.0)
            factor 0.1 * z if y else -0.2
            found += [lm.text]
    condition len(found) > 1
    return found

infer smc(particles=3)
"""
ODD = [
    None, True, False, 0, 1, -1, 5, 10**9, 2**53, -(2**63), 10**30, 0.5, -1e308, 1e308, "", "x",
    "0", "é" * 50, [], {}, [[]], [0], [0, 0, 0, 0], {"int": "z"}, {"int": "f" * 5000},
    {"float": "inf"}, {"float": "nan"}, {"list": [None]}, {"token": [10**12, "a", False]},
    {"context": 77}, {"type": "Normal", "fields": {"mean": "x", "sd": None}}, {"more": [1]},
    {"hex": "zz"}, {"unset": True},
]  # fmt: skip
FAST, SLOW = 150, 6000
SECONDS = 5.0


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """A finished trace and an unfinished one, as bytes, and the program."""
    folder = tmp_path_factory.mktemp("traces")
    program = fkdsl.parse(TEXT, name="p.fk")
    program.run(seed=1, trace=folder / "t.jsonl")
    whole = (folder / "t.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) > 5
    return program, whole, b"".join(lines[:4])


def places(data, path=()):
    """Every place in JSON data, by its path."""
    yield path
    inner = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(rng, data):
    """The data with one change: a value replaced or taken away, a key added, a list doubled, a
    nest."""
    data = copy.deepcopy(data)
    path = rng.choice(list(places(data))[1:] or [()])
    if not path:
        return rng.choice(ODD)
    outer = data
    for key in path[:-1]:
        outer = outer[key]
    key = path[-1]
    kind = rng.randrange(6)
    if kind == 0:
        del outer[key]
    elif kind == 1 and isinstance(outer[key], list):
        outer[key] = outer[key] * 2
    elif kind == 2 and isinstance(outer[key], int | float):
        outer[key] = outer[key] * rng.choice([-1, 10**6, 1e300]) + rng.choice([1, -1, 10**8])
    elif kind == 3 and isinstance(outer, dict):
        outer[rng.choice(["of", "keep", "state", "value", "died", "block", "x"])] = rng.choice(ODD)
    elif kind == 4 and rng.random() < 0.2:
        nest = []
        for _ in range(rng.choice([300, 2000])):
            nest = [nest]
        outer[key] = nest
    else:
        outer[key] = rng.choice(ODD)
    return data


def damaged(rng, raw):
    """A trace with damage. Half of the time its lines have no sums, or new ones, as a stranger
    would write them."""
    lines = raw.splitlines(keepends=True)
    n = rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        at = rng.randrange(len(raw))
        return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]
    if kind == 1:
        return raw[: rng.randrange(len(raw))]
    if kind == 2:
        return b"".join(lines[:n] + lines[n + 1 :])
    if kind == 3:
        return b"".join([*lines[:n], lines[rng.randrange(len(lines))], *lines[n:]])
    if kind == 4 and rng.random() < 0.3:
        deep = b"[" * 100_000 + b"\n"
        return b"".join([*lines[:n], deep, *lines[n:]])
    data = [json.loads(line) for line in lines]
    for line in data:
        line.pop("sum", None)
    data[n] = changed(rng, data[n])
    try:
        made = [encoded(line)[:-1] for line in data]
    except (RecursionError, ValueError):
        return raw[:100]
    sums = rng.random() < 0.5
    return b"".join(
        (with_sum(m) if sums and i and m[-1:] == b"}" else m) + b"\n" for i, m in enumerate(made)
    )


def test_a_state_that_says_two_ends_is_held_to_the_one_that_is_read(traces):
    """A value that no program can hold, beside frames that are fine, is refused."""
    _, whole, _ = traces
    lines = [json.loads(line) for line in whole.splitlines()]
    states = [p["state"] for line in lines for p in line.get("particles", []) if "state" in p]
    running = next(s for s in states if isinstance(s, dict) and "frames" in s)
    models = lines[0]["models"]
    assert _is_state(running, models)
    assert not _is_state(running | {"value": {"int": "f" * 5000}}, models)


def holds_up(traces, path, capsys, seeds, monkeypatch):
    """No damage makes replay or resume end in status 70, or take long; how many were refused."""
    program, whole, part = traces
    monkeypatch.delenv("FKDSL_DEBUG", raising=False)
    (path.parent / "p.fk").write_text(TEXT)
    refused = 0
    for seed in seeds:
        rng = random.Random(seed)
        raw = damaged(rng, rng.choice([whole, part]))
        path.write_bytes(raw)
        began = time.process_time()
        replay = main(["replay", str(path)])
        if rng.random() < 0.2:
            main(["replay", str(path), "--json", "--step", "1"])
        resumed = 0
        try:
            program.run(seed=1, resume=path)
        except fkdsl.FkdslError as error:
            resumed = error.exit_status
        err = capsys.readouterr().err
        assert "bug in fkdsl" not in err, (seed, err)
        assert replay in (0, 2), (seed, err)
        assert resumed in (0, 2, 3), seed
        assert time.process_time() - began <= SECONDS, seed
        refused += replay == 2
    return refused


def test_a_state_of_a_strangers_hand_is_the_files_fault_not_the_programs(traces, tmp_path):
    program, _, part = traces
    lines = [json.loads(line) for line in part.splitlines()]
    for line in lines:
        line.pop("sum", None)
    replaced = 0
    for *outer, key in list(places(lines[-1]))[1:]:
        data = lines[-1]
        for k in outer:
            data = data[k]
        if "set" in outer and isinstance(data[key], bool):
            data[key], replaced = 1, replaced + 1
    assert replaced  # y, of which the program asks whether it is true
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(encoded(line) for line in lines))
    with pytest.raises(fkdsl.CallError, match="steps are not those of this program"):
        program.run(seed=1, resume=path)


def test_no_damage_to_a_trace_is_taken_for_our_bug(traces, tmp_path, capsys, monkeypatch):
    refused = holds_up(traces, tmp_path / "t.jsonl", capsys, range(FAST), monkeypatch)
    assert refused >= FAST // 3


@pytest.mark.slow
def test_no_damage_to_a_trace_is_taken_for_our_bug_in_thousands(
    traces, tmp_path, capsys, monkeypatch
):
    assert (
        holds_up(traces, tmp_path / "t.jsonl", capsys, range(1000, 1000 + SLOW), monkeypatch)
        >= SLOW // 3
    )


def test_a_changed_digit_is_found_by_the_sum_of_its_line(traces, tmp_path):
    _, whole, _ = traces
    lines = whole.splitlines(keepends=True)
    at = lines[2].index(b'"log_weight":-') + len(b'"log_weight":-')
    digit = b"1" if lines[2][at : at + 1] != b"1" else b"2"
    lines[2] = lines[2][:at] + digit + lines[2][at + 1 :]
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(CallError, match="damaged at line 3"):
        read_trace(tmp_path / "t.jsonl")


@pytest.mark.parametrize("token", ["999999999999", "-1", "16777216", "1e9"])
def test_a_token_id_makes_no_list_as_long(traces, tmp_path, token):
    _, whole, _ = traces
    header, *lines = [json.loads(line) for line in whole.splitlines()]
    lines[0].pop("sum")
    lines[0]["tokens"]["m"][token] = "a"
    (tmp_path / "t.jsonl").write_bytes(encoded(header) + encoded(lines[0]))
    with pytest.raises(CallError, match="damaged at line 2: its `tokens` are not a model's"):
        read_trace(tmp_path / "t.jsonl")


def test_a_trace_cannot_name_a_model_that_its_program_has_not(traces, tmp_path):
    program, whole, _ = traces
    header, step = [json.loads(line) for line in whole.splitlines()[:2]]
    step.pop("sum")
    step["particles"][0]["state"]["contexts"][0]["model"] = "someone/elses-model"
    (tmp_path / "t.jsonl").write_bytes(encoded(header) + encoded(step))
    with pytest.raises(CallError, match="damaged at line 2"):
        program.run(seed=1, resume=tmp_path / "t.jsonl")
    assert KEY in header


@pytest.fixture(scope="module")
def prefill(tmp_path_factory):
    """A prefill of a prompt by the model that ships, its program, and the engines."""
    folder = tmp_path_factory.mktemp("prefill")
    program = fkdsl.parse(
        'program p() -> str:\n    lm = prompt("ab")\n    t ~ lm\n    return lm.text\n'
    )
    engines = program.engines("tiny")
    write_prefill(program, folder / "whole", engines)
    return program, folder / "whole", engines


def test_no_damage_to_a_prefill_is_taken_for_our_bug(prefill, tmp_path):
    """The sum is made anew, as a stranger would."""
    from safetensors.torch import load_file, save_file

    from fkdsl.models.prefill.file import checksum

    program, path, engines = prefill
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    metadata.pop("checksum")
    tensors = load_file(path)
    rng, refused = random.Random(3), 0
    for _ in range(150):
        said, held = dict(metadata), dict(tensors)
        kind = rng.randrange(4)
        if kind == 0:
            key = rng.choice(["identities", "contexts"])
            with suppress(RecursionError):  # deeper than JSON is written
                said[key] = json.dumps(changed(rng, json.loads(said[key])))
        elif kind == 1:
            name = rng.choice(list(held))
            held[name] = rng.choice(
                [held[name][:1], held[name].reshape(-1), held[name].int(), held[name][..., :2]]
            )
        elif kind == 2:
            del held[rng.choice(list(held))]
        raw = path.read_bytes()
        if kind == 3:
            (tmp_path / "f").write_bytes(raw[: rng.randrange(len(raw))])
        else:
            held = {name: t.contiguous() for name, t in held.items()}
            save_file(held, tmp_path / "f", {**said, "checksum": checksum(said, held)})
        try:
            adopt(program, tmp_path / "f", engines.fresh())
        except CallError:
            refused += 1
    assert refused >= 75


def test_an_integer_that_no_program_can_hold_is_a_damaged_line(traces, tmp_path):
    program, _, part = traces
    raw = re.sub(rb',"sum":"[0-9a-f]+"', b"", part).replace(
        b'"set":{"6":false}', b'"set":{"6":{"int":"' + b"f" * 5000 + b'"}}'
    )
    assert raw.count(b"ffff") > 1
    (tmp_path / "t.jsonl").write_bytes(raw)
    with pytest.raises(fkdsl.CallError, match="is damaged"):
        program.run(seed=1, resume=tmp_path / "t.jsonl")

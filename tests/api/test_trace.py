"""Traces: what is written, what is read back, and runs that go on from them as if nothing had
happened."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fkdsl
from fkdsl.api.trace import rebuild as rebuild_module
from fkdsl.api.trace.file import TraceFile, encoded, read_trace, with_sum
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.cli.main import main
from fkdsl.inference.interface import Particle
from fkdsl.steering.feynman_kac import SteeringModel

TEXT = """
model m = table:
    "" -> "a": 0.4, "b": 0.3, "c ": 0.2, EOS: 0.1
    "a" -> "a": 0.2, "b": 0.5, "é": 0.3
program p(k: int = 4) -> str:
    lm = prompt("x")
    s ~ text(lm, max_tokens=k)
    condition not contains(s, "bb")
    factor -0.3 * count(s, "a")
    n ~ normal(0.0, 1.0)
    factor -0.1 * n * n
    other = fork(lm)
    for i in range(4):
        if other.done:
            break
        t ~ other
        condition t != "c "
        factor -0.2 if t == "a" else -0.1
    return f"{s}|{other.text}|{n}"
"""
LONG = """
model m = table:
    "" -> "a": 0.4, "b": 0.6
    "a" -> "a": 0.2, "b": 0.8
program long(n: int = 60) -> str:
    lm = prompt("x")
    for i in range(n):
        t ~ lm
        factor 0.4 if t == "a" else -0.1
        condition not contains(lm.text, "aaaa")
    return lm.text
"""
WAYS = {
    "smc": ("smc", {"particles": 5, "ess": 1.0}, 1),
    "smc in islands": ("smc", {"particles": 3, "resampling": "ssp"}, 2),
    "steer": ("steer", {"particles": 4, "factor": 2}, 2),
    "dpf": ("dpf", {"particles": 4}, 2),
    "importance": ("importance", {"particles": 5}, 1),
    "local": ("local", {"particles": 4}, 1),
    "rejection": ("rejection", {"samples": 3}, 2),
}


def answer(result):
    """All of a result but what it took."""
    return (
        result.log_z,
        result.posterior,
        result.particles,
        result.ess,
        result.steps,
        result.filtering,
        result.log_z_se,
        result.notes,
        [result.mean(len)],
    )


def call(program, way, **more):
    method, options, islands = WAYS[way]
    return program.run(method, seed=3, islands=islands, filtering=True, **options, **more)


def without_result(raw):
    """A finished trace but for its last line, which has the time that the run took."""
    return raw[: raw.rstrip(b"\n").rfind(b"\n") + 1]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_cut_off_at_any_byte_ends_as_if_it_had_not_been(tmp_path, way):
    """Every third byte of a stretch in the middle, and some everywhere: the answer and the file are
    the same."""
    program, whole, cut = fkdsl.parse(TEXT), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = answer(call(program, way))
    assert answer(call(program, way, trace=whole)) == expected  # tracing changes no draw
    raw = whole.read_bytes()
    middle = len(raw) // 2
    sizes = (
        0,
        5,
        20,
        *range(300, len(raw), len(raw) // 12),
        *range(middle, middle + 30, 3),
        len(raw) - 1,
    )
    for size in sizes if way != "rejection" else (middle, len(raw) - 1):
        cut.write_bytes(raw[:size])
        assert answer(call(program, way, resume=cut)) == expected, size
        assert without_result(cut.read_bytes()) == without_result(raw), size


def test_a_lost_lineage_is_caught(tmp_path, monkeypatch):
    """A planted bug: particles that are read back draw as if they had begun anew."""
    program, path = fkdsl.parse(TEXT), tmp_path / "run.jsonl"
    expected = answer(call(program, "smc", trace=path))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    monkeypatch.setattr(rebuild_module, "Particle", lambda x, lineage: Particle(x, bytes(16)))
    assert answer(call(program, "smc", resume=path)) != expected


def verify_kills(tmp_path, points):
    """Kills a run in a process of its own once its file has so many bytes; resumes it; compares."""
    source = tmp_path / "long.fk"
    source.write_text(LONG)
    program = fkdsl.load(source)
    whole, path = tmp_path / "whole.jsonl", tmp_path / "run.jsonl"
    expected = answer(program.run(particles=12, seed=8, trace=whole))
    raw = whole.read_bytes()
    command = [
        sys.executable,
        "-m",
        "fkdsl",
        "run",
        str(source),
        "--particles",
        "12",
        "--seed",
        "8",
        "--resume",
        path,
    ]
    unfinished = 0
    for point in points:
        path.unlink(missing_ok=True)
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and (path.stat().st_size if path.exists() else 0) < point * len(
            raw
        ):
            time.sleep(0.0005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        unfinished += b'{"result"' not in path.read_bytes()
        assert answer(program.run(particles=12, seed=8, resume=path)) == expected
        assert without_result(path.read_bytes()) == without_result(raw)
    assert unfinished >= len(points) // 2  # else nothing was tested


def test_a_run_that_is_killed_ends_with_the_same_answer(tmp_path):
    rng = random.Random(1)
    verify_kills(tmp_path, [rng.random() for _ in range(3)])


@pytest.mark.slow
def test_fifty_runs_killed_at_random_points_end_with_the_same_answer(tmp_path):
    rng = random.Random(2)
    verify_kills(tmp_path, [rng.random() for _ in range(50)])


def test_a_run_that_time_ended_goes_on(tmp_path):
    program, path = fkdsl.parse(LONG), tmp_path / "run.jsonl"
    with pytest.raises(BudgetEnded):
        program.run(seed=1, trace=path, max_steps=20)
    assert answer(program.run(seed=1, resume=path)) == answer(program.run(seed=1))


def test_a_finished_run_is_answered_without_its_model(tmp_path):
    table = tmp_path / "table.fk"
    table.write_text('model m = table:\n    "" -> "a": 0.4, "é": 0.6\n')
    program, path = fkdsl.parse(LONG)(n=6), tmp_path / "run.jsonl"
    first = program.run(model=str(table), trace=path, filtering=True)
    table.unlink()
    raw = path.read_bytes()
    again = program.run(model=str(table), resume=path, filtering=True)
    assert answer(again) == answer(first)
    assert again.model_calls == 0
    assert path.read_bytes() == raw
    path.write_bytes(without_result(raw))  # killed between the last step and the result
    assert answer(program.run(model=str(table), resume=path, filtering=True)) == answer(first)
    assert read_trace(path).end is not None


def test_a_run_that_died_dies_again_with_the_same_report(tmp_path):
    program, path = fkdsl.parse(LONG.replace("aaaa", "b")), tmp_path / "run.jsonl"
    with pytest.raises(PopulationDied) as first:
        program.without().run(particles=2, trace=path)
    with pytest.raises(PopulationDied) as second:
        program.without().run(particles=2, resume=path)
    assert str(second.value) == str(first.value)
    assert "died" in json.loads(path.read_text().splitlines()[-1])


def test_exact_is_enumerated_again(tmp_path):
    program, path = fkdsl.load("programs/two_bits.fk"), tmp_path / "run.jsonl"
    first = program.run("exact", trace=path)
    assert [next(iter(json.loads(line))) for line in path.read_text().splitlines()] == [
        "fkdsl_trace",
        "result",
    ]
    assert answer(program.run("exact", resume=path)) == answer(first)
    assert len(path.read_text().splitlines()) == 2


OTHERS = {
    "text": ({}, lambda: fkdsl.parse(TEXT.replace("-0.3", "-0.4")), "has changed, first in line 9"),
    "arguments": ({}, lambda: fkdsl.parse(TEXT)(k=3), "arguments: k=4 there, k=3 here"),
    "seed": ({"seed": 4}, None, "seed: 3 there, 4 here"),
    "method": ({"method": "importance"}, None, "method: smc there, importance here"),
    "options": ({"particles": 6}, None, "options: particles=5, .* there, particles=6"),
    "islands": ({"islands": 2}, None, "islands: 1 there, 2 here"),
    "model": (
        {"model": "programs/two_bits.fk"},
        None,
        "model: the program's own there, programs/two_bits.fk here",
    ),
    "passes": (
        {},
        lambda: fkdsl.parse(TEXT).without("fuse"),
        "passes that are off: none there, fuse here",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_trace_of_another_run_is_refused_by_what_differs(tmp_path, what):
    changes, other, message = OTHERS[what]
    path = tmp_path / "run.jsonl"
    call = {"method": "smc", "particles": 5, "seed": 3, **changes}
    fkdsl.parse(TEXT).run("smc", particles=5, seed=3, trace=path)
    raw = path.read_bytes()
    with pytest.raises(CallError, match=message) as error:
        (other or (lambda: fkdsl.parse(TEXT)))().run(resume=path, **call)
    assert error.value.help
    assert path.read_bytes() == raw


def test_a_model_that_has_changed_behind_its_name_is_refused(tmp_path):
    table, path = tmp_path / "table.fk", tmp_path / "run.jsonl"
    table.write_text('model m = table:\n    "" -> "a": 0.4, "b": 0.6\n')
    program = fkdsl.parse(LONG)(n=6)
    program.run(model=str(table), trace=path)
    path.write_bytes(path.read_bytes()[:3000])
    table.write_text('model m = table:\n    "" -> "a": 0.5, "b": 0.5\n')
    with pytest.raises(CallError, match="model: another of the same name"):
        program.run(model=str(table), resume=path)


def test_another_version_of_fkdsl_or_of_the_format_is_refused(tmp_path):
    program, path = fkdsl.parse(TEXT), tmp_path / "run.jsonl"
    program.run(trace=path)
    text = path.read_text()
    path.write_text(text.replace(f'"fkdsl":"{fkdsl.__version__}"', '"fkdsl":"0.0.9"', 1))
    with pytest.raises(CallError, match=r"version of fkdsl: 0\.0\.9 there"):
        program.run(resume=path)
    path.write_text(text.replace('"fkdsl_trace":1', '"fkdsl_trace":2', 1))
    with pytest.raises(CallError, match="a trace of format 2"):
        program.run(resume=path)


def test_files_that_are_no_traces_are_left_alone(tmp_path):
    program, path = fkdsl.parse(TEXT), tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    for how in ("trace", "resume"):
        with pytest.raises(CallError, match="no trace of fkdsl"):
            program.run(**{how: path})
    assert path.read_text() == "dear diary\n"
    with pytest.raises(CallError, match="cannot write"):
        program.run(trace=tmp_path / "nowhere" / "run.jsonl")
    with pytest.raises(CallError, match="leave --trace out"):
        program.run(trace=tmp_path / "a.jsonl", resume=tmp_path / "b.jsonl")
    with pytest.raises(CallError, match="no file"):
        read_trace(tmp_path / "missing.jsonl")


def test_a_damaged_line_is_named(tmp_path):
    program, path = fkdsl.parse(TEXT), tmp_path / "run.jsonl"
    program.run(trace=path)
    lines = path.read_bytes().splitlines(keepends=True)
    for damage, message in ((b'{"t":', "damaged at line 4"), (lines[4].strip(), "line 4 of")):
        path.write_bytes(b"".join([*lines[:3], damage + b"\n", *lines[4:]]))
        with pytest.raises(CallError, match=message) as error:
            program.run(resume=path)
        assert "head -n" in error.value.help


def test_one_process_at_a_time_writes_a_trace(tmp_path):
    path = tmp_path / "run.jsonl"
    first = TraceFile(path)
    with pytest.raises(CallError, match="another process"):
        fkdsl.parse(TEXT).run(resume=path)
    first.close()
    fkdsl.parse(TEXT).run(resume=path)


def test_a_trace_is_rewritten_by_trace_and_gone_on_with_by_resume(tmp_path, capsys):
    path = str(tmp_path / "run.jsonl")
    answers = []
    for seed, how in (("1", "--resume"), ("1", "--resume"), ("2", "--trace")):
        assert main(["run", "programs/two_bits.fk", "--seed", seed, how, path]) == 0
        answers.append(capsys.readouterr().out.split("\n\n")[0])
    assert answers[0] == answers[1]
    assert read_trace(path).header["seed"] == 2


def test_the_docs_name_every_field_that_is_written(tmp_path):
    path, docs = tmp_path / "run.jsonl", Path("docs/trace.md").read_text("utf-8")
    call(fkdsl.parse(TEXT), "smc in islands", trace=path)
    header, *steps, end = map(json.loads, path.read_text("utf-8").splitlines())
    particles = [p for step in steps for p in step["particles"]]
    states = [p["state"] for p in particles if isinstance(p.get("state"), dict)]
    inner = [x for state in states for x in (*state.get("frames", ()), *state.get("contexts", ()))]
    for written in (
        header,
        *header["models"].values(),
        *steps,
        *particles,
        *states,
        *inner,
        end,
        end["result"],
    ):
        for key in written:
            assert re.search(rf"\b{key}\b", docs), key


@pytest.mark.smollm2
def test_a_resumed_run_of_the_small_model_ends_with_the_same_answer(tmp_path):
    """Contexts are computed again in other batches, so weights may differ by the rounding of
    float32."""
    program, path = fkdsl.load("programs/short_words.fk")(max_tokens=8), tmp_path / "run.jsonl"
    first = program.run(particles=6, seed=2, trace=path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + lines[6][:100])
    again = program.run(particles=6, seed=2, resume=path)
    assert [p.value for p in again.particles] == [p.value for p in first.particles]
    assert abs(again.log_z - first.log_z) <= 1e-3


def unfinished_trace(tmp_path, lines=3):
    """A program, its call, and a trace of its first steps."""
    program = fkdsl.parse(LONG)
    path = tmp_path / "t.jsonl"
    program(n=8).run("smc", particles=3, seed=1, trace=path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    return program(n=8), path


def breaks_at(monkeypatch, t):
    """Makes the model's step t raise what no right model raises."""
    step = SteeringModel.step

    def broken(self, rngs, xp):
        after, log_G = step(self, rngs, xp)
        if any(len(c.node.tokens) >= t for x in after for c in x.contexts):
            raise KeyError("planted")
        return after, log_G

    monkeypatch.setattr(SteeringModel, "step", broken)


def test_a_bug_of_ours_in_a_resumed_run_is_not_put_on_the_file(tmp_path, monkeypatch):
    program, path = unfinished_trace(tmp_path)
    breaks_at(monkeypatch, 6)
    with pytest.raises(KeyError, match="planted"):
        program.run("smc", particles=3, seed=1, resume=path)


def test_a_run_that_breaks_on_states_of_another_run_says_so(tmp_path, monkeypatch):
    program, path = unfinished_trace(tmp_path)
    header, *steps = path.read_bytes().splitlines()
    last = json.loads(steps[-1])
    last.pop("sum")
    last["particles"][0]["log_weight"] -= 1.0
    path.write_bytes(b"\n".join([header, *steps[:-1], with_sum(encoded(last)[:-1])]) + b"\n")
    breaks_at(monkeypatch, 6)
    with pytest.raises(CallError, match="steps are not those of this program"):
        program.run("smc", particles=3, seed=1, resume=path)

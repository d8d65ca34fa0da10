"""Runs that are cut short, by a timeout or by Ctrl-C: how soon, with what status, what is printed,
how they go on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

import fkdsl
from fkdsl.api.trace import kept
from fkdsl.cli.main import main

LONG = """
model m = table:
    "" -> "a": 0.6, "b": 0.4

program long(n: int = 100000) -> str:
    lm = prompt("")
    k ~ uniform_int(0, 1)
    if k == 0:
        return "early"
    while lm.tokens < n:
        t ~ lm
        condition t == "a" or not ends_with(lm.text, "bbb")
    return str(lm.tokens)

infer smc(particles=8)
"""
IN_A_STEP = """
model m = table:
    "" -> "a": 0.5, "b": 0.5

program within() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=10**9)
    checkpoint
    return s
"""
IN_DISTANCES = """
model m = table:
    "" -> "a": 0.5, "b": 0.5

program far() -> int:
    lm = prompt("")
    n = 0
    for i in range(1000):
        n = n + edit_distance("a" * 1500, "b" * (1500 - i))
    t ~ lm
    return n
"""
NO_ANSWER = "no answer: these are not samples of the posterior"


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))


def write(tmp_path, text):
    path = tmp_path / "p.fk"
    path.write_text(text)
    return str(path)


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def heeds_interrupts():
    """Lets a new process be interrupted. A shell's background job, and so all that it begins,
    ignores SIGINT, and Python leaves that as it is: without this the tests fail there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("text", [IN_A_STEP, IN_DISTANCES], ids=["draws", "a slow function"])
def test_time_ends_a_run_inside_a_step(tmp_path, text):
    program = fkdsl.load(write(tmp_path, text))
    program.ir()
    with within(3.0), pytest.raises(fkdsl.BudgetEnded, match=r"time ran out after 0\.2 s"):
        program.run(timeout=0.2)


def test_a_run_cut_inside_a_step_says_that_its_population_is_that_of_the_step_before(
    capsys, tmp_path
):
    text = IN_A_STEP.replace('lm = prompt("")', 'lm = prompt("")\n    t ~ lm\n    checkpoint')
    path = write(tmp_path, text)
    status, out, _ = call(capsys, "run", path, "--timeout", "0.4", "--particles", "2")
    assert status == 3
    assert "this is the population after step 1: what was drawn in the next step" in out
    program = fkdsl.load(write(tmp_path, IN_A_STEP))
    with pytest.raises(fkdsl.BudgetEnded) as raised:
        program.run(timeout=0.2)
    assert "left out" in raised.value.unfinished.left_out
    assert raised.value.unfinished.step == 0
    with pytest.raises(fkdsl.BudgetEnded) as raised:
        program.run(max_steps=0)
    assert raised.value.unfinished.left_out == ""


def test_another_thread_cancels_a_run(tmp_path):
    import threading

    deadline, ended = fkdsl.Deadline(), []
    program = fkdsl.load(write(tmp_path, LONG))

    def run():
        try:
            program.run(timeout=deadline)
        except fkdsl.BudgetEnded as error:
            ended.append(error)

    other = threading.Thread(target=run)
    other.start()
    time.sleep(0.5)
    deadline.cancel()
    other.join(10)
    assert "since it was cancelled" in str(ended[0])
    assert ended[0].unfinished.alive > 0


def test_an_unfinished_population_has_values_and_texts_and_no_posterior(tmp_path):
    with pytest.raises(fkdsl.BudgetEnded) as raised:
        fkdsl.load(write(tmp_path, LONG)).run(timeout=0.4, particles=32)
    unfinished = raised.value.unfinished
    assert isinstance(unfinished, fkdsl.Unfinished)
    assert not isinstance(unfinished, fkdsl.Result)
    assert not hasattr(unfinished, "posterior")
    assert not hasattr(unfinished, "log_z")
    assert {p.value for p in unfinished.particles if p.finished} == {"early"}
    assert all(
        set(p.text) <= {"a", "b"} and p.value is None
        for p in unfinished.particles
        if not p.finished
    )
    assert 0 < unfinished.returned < unfinished.alive == 32
    assert abs(sum(p.weight for p in unfinished.particles) - 1.0) <= 1e-12
    assert unfinished.resume is None


def test_a_bound_on_steps_gives_the_population_too(tmp_path):
    with pytest.raises(fkdsl.BudgetEnded, match="after 5 steps") as raised:
        fkdsl.load(write(tmp_path, LONG)).run(max_steps=5, seed=3)
    assert raised.value.unfinished.step == 5
    assert {len(p.text) for p in raised.value.unfinished.particles if not p.finished} == {4}


def test_a_timeout_prints_the_population_and_the_call_that_goes_on(capsys, tmp_path):
    path = write(tmp_path, LONG)
    status, out, err = call(
        capsys, "run", path, "-p", "n=30000", "--max-steps", "100000", "--timeout", "0.4"
    )
    assert status == 3
    assert out.startswith("unfinished: time ran out after 0.4 s, past step ")
    assert NO_ANSWER in out
    assert "running" in out
    assert "returned  early" in out
    assert "log Z ~" not in out
    assert "%" not in out
    resume = err.partition("go on from here: ")[2].strip()
    assert resume.startswith(f"fkdsl run {path} -p n=30000 --resume ")
    trace = shlex.split(resume)[-1]
    assert os.stat(trace).st_mode & 0o077 == 0


def test_texts_of_a_cut_run_steer_no_terminal(capsys, tmp_path):
    path = write(tmp_path, LONG.replace('"b": 0.4', '"\\x1b[2J": 0.4'))
    _, out, _ = call(capsys, "run", path, "--max-steps", "9")
    assert "\x1b" not in out
    assert "unfinished" in out


def test_a_run_that_was_cut_goes_on_to_the_answer_that_it_would_have_given(capsys, tmp_path):
    path = write(tmp_path, LONG)
    flags = ("-p", "n=60", "--json", "--seed", "5")
    _, out, _ = call(capsys, "run", path, *flags)
    whole = json.loads(out)
    status, out, err = call(capsys, "run", path, *flags, "--max-steps", "20")
    cut = json.loads(out)
    assert (status, cut["finished"], cut["log_z"], cut["posterior"]) == (3, False, None, [])
    assert {p["finished"]: ("value" in p, "text" in p) for p in cut["particles"]} == {
        True: (True, False),
        False: (False, True),
    }
    arguments = shlex.split(err.partition("go on from here: ")[2])
    assert arguments[-1] == cut["resume"]
    _, out, _ = call(capsys, *arguments[1:])
    gone_on = json.loads(out)
    assert whole["finished"] is gone_on["finished"] is True
    for key in ("log_z", "posterior", "particles", "steps"):
        assert gone_on[key] == whole[key]


def test_a_run_that_ends_leaves_no_trace_behind(capsys, tmp_path):
    path = write(tmp_path, LONG)
    assert call(capsys, "run", path, "-p", "n=5")[0] == 0
    dies = write(
        tmp_path,
        "program p() -> int:\n    n ~ uniform_int(0, 3)\n    condition n > 3\n    return n\n",
    )
    assert call(capsys, "run", dies)[0] == 3
    assert list(kept.kept_folder().glob("*")) == []


def test_what_is_kept_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "FILES", 3)
    program = fkdsl.load(write(tmp_path, LONG))
    for _ in range(5):
        with pytest.raises(fkdsl.BudgetEnded), kept.kept_trace("a/../b") as of:
            program.run(trace=of.file, max_steps=3, particles=2)
    assert len(list(kept.kept_folder().glob("*.jsonl"))) == 3
    monkeypatch.setattr(kept.KeptFile, "most", 4000)
    with pytest.raises(fkdsl.BudgetEnded) as raised, kept.kept_trace("large") as of:
        program.run(trace=of.file, max_steps=100)
    assert raised.value.unfinished.resume is None
    assert not list(kept.kept_folder().glob("large*"))


def test_a_folder_that_cannot_be_written_is_no_mistake(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "file"))
    status, _, err = call(capsys, "run", write(tmp_path, LONG), "--max-steps", "5")
    assert status == 3
    assert "--resume" not in err


def test_ctrl_c_prints_the_population_and_exits_130(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))  # no other run's files
    path = write(tmp_path, LONG)
    command = [
        sys.executable,
        "-m",
        "fkdsl",
        "run",
        path,
        "-p",
        "n=9000000",
        "--max-steps",
        "9000000",
        "--json",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_interrupts,
    )
    try:
        deadline = time.monotonic() + 60
        while (
            not any(p.stat().st_size > 9000 for p in kept.kept_folder().glob("*"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        with within(5.0):
            out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    found = json.loads(out)
    assert found["finished"] is False
    assert found["why"] == "it was interrupted"
    assert found["alive"] > 0
    assert err.startswith("interrupted past step ")
    assert "Traceback" not in err
    assert found["resume"] in err


def test_a_query_without_time_has_no_answer_and_says_so(tmp_path):
    text = IN_DISTANCES.split("program")[0] + (
        "def slow(k: int) -> int:\n    n = 0\n    for i in range(100000):\n"
        '        n = n + edit_distance("a" * 1500, "b" * 1500)\n    return n\n\n'
        "program p() -> int:\n    k ~ uniform_int(0, 1)\n    return k\n\n"
        "query fast = value\nquery late = slow(value)\n"
    )
    with within(5.0):
        result = fkdsl.load(write(tmp_path, text)).run(timeout=1.0)
    assert set(result.queries) == {"fast"}
    assert any("`late` has no answer: time ran out" in note for note in result.notes)

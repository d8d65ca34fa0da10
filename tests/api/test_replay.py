"""Replay: a run's particles and their paths from its trace alone."""

import json
import math
import subprocess
import sys

import pytest

import fkdsl
from fkdsl.api.trace.file import read_trace
from fkdsl.api.trace.replay import Replay
from fkdsl.base.errors import CallError
from fkdsl.cli.main import main

TEXT = """model m = table:
    "" -> "a": 0.4, "b": 0.3, "é": 0.2, EOS: 0.1
program p(k: int = 4) -> str:
    lm = prompt("x")
    s ~ text(lm, max_tokens=k)
    condition not contains(s, "bb")
    factor 0.3 * count(s, "a")
    n ~ uniform_int(1, 3)
    condition n != len(s)
    return f"{s}{n}"
"""


@pytest.fixture
def traced(tmp_path):
    """(path, the steps as they were seen, result) of a run."""
    source, path, seen = tmp_path / "p.fk", tmp_path / "run.jsonl", []
    source.write_text(TEXT)
    program = fkdsl.load(source)
    result = program.without("fuse").run(
        particles=12, ess=0.9, seed=2, islands=2, trace=path, observer=seen.append
    )
    return path, seen, result


def call(capsys, *args):
    status = main(["replay", *map(str, args)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def test_steps_are_rebuilt_as_they_were_yielded(traced):
    path, seen, _ = traced
    replay = Replay(read_trace(path))
    found = [
        step for island in sorted(replay.steps_by_island) for step in replay.steps_by_island[island]
    ]
    assert len(found) == len(seen) > 8
    for a, b in zip(found, seen, strict=True):
        assert (a.t, a.island, a.ancestors, a.resampled) == (
            b.t,
            b.island,
            b.ancestors,
            b.resampled,
        )
        assert a.log_weights.tolist() == b.log_weights.tolist()
        assert (a.ess, a.log_Z, a.unfinished, a.alive) == (b.ess, b.log_Z, b.unfinished, b.alive)
        assert [p.lineage for p in a.particles] == [p.lineage for p in b.particles]
        assert [(p.state.status, p.state.value) for p in a.particles] == [
            (p.state.status, p.state.value) for p in b.particles
        ]


def test_every_path_adds_up_to_its_particles_weight(traced):
    """Charges add to the log weight; resampling puts the mean weight of the step before in its
    place."""
    path, _, _ = traced
    replay = Replay(read_trace(path))
    resampled = 0
    for m in replay.members():
        events = replay.path(m.island, m.index)
        lw = -math.log(12)
        for event, before in zip(events, [None, *events], strict=False):
            if event.reweighted:
                resampled += 1
                lw = replay.steps_by_island[m.island][before.t].log_Z - math.log(12)
            lw += sum(c.log_weight for c in event.charges)
            assert lw == event.log_weight or abs(lw - event.log_weight) <= 1e-12
        assert events[-1].log_weight == m.log_weight
    assert resampled


def test_a_path_tells_the_text_that_was_drawn(traced):
    path, _, result = traced
    replay = Replay(read_trace(path))
    values = [p.value for p in result.particles]
    alive = [m for m in replay.members() if m.weight > 0]
    assert sorted(m.state.value for m in alive) == sorted(values)
    for m in alive:
        drawn = [d for event in replay.path(m.island, m.index) for d in event.drawn]
        assert "".join(str(d.value) for d in drawn) == m.state.value
        assert {d.place.text for d in drawn[:-1]} == {"s ~ text(lm, max_tokens=k)"}
        assert drawn[-1].place.line == 8


def test_replay_prints_a_path_line_by_line(traced, capsys):
    path, _, _ = traced
    status, out, err = call(capsys, path, "--top", 3)
    assert (status, err) == (0, "")
    for expected in (
        "p(k=4)   smc(particles=12, ess=0.9, resampling=multinomial)   seed 2   2 islands"
        "   model m",
        "steps, finished   log Z ~ ",
        "(21 more: --top 24)",
        "died on the way:",
        "at line 9  condition n != len(s)",
        ", the heaviest: its path to step ",
        "line 5     s ~ text(lm, max_tokens=k)",
        "resampled: ",
        "it returned",
    ):
        assert expected in out


def test_a_dead_particles_path_ends_where_it_died(traced, capsys):
    path, _, _ = traced
    dead = next(m for m in Replay(read_trace(path)).members() if m.weight == 0)
    _, out, _ = call(capsys, path, "--particle", dead.index, "--island", dead.island)
    assert out.endswith("it died at line 9: condition n != len(s)\n")
    _, out, _ = call(capsys, path, "--particle", dead.index, "--island", dead.island, "--step", 2)
    assert "it is running; its text so far" in out


def test_json_has_the_fields_of_the_docs(traced, capsys):
    path, _, result = traced
    _, out, _ = call(capsys, path, "--json")
    found = json.loads(out)
    assert set(found) == {
        "program", "method", "options", "seed", "islands", "finished", "steps", "log_z", "result",
        "particles", "deaths", "path",
    }  # fmt: skip
    assert found["log_z"] == found["result"]["log_z"] == result.log_z
    assert set(found["path"]["steps"][1]) >= {
        "step", "particle", "ancestor", "resampled", "copy", "drawn", "charges", "log_weight",
    }  # fmt: skip
    assert abs(sum(p["weight"] for p in found["particles"]) - 1) <= 1e-12


def test_an_unfinished_or_torn_trace_is_replayed_as_far_as_it_goes(traced, capsys):
    path, _, _ = traced
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    status, out, _ = call(capsys, path)
    assert status == 0
    assert "not finished: go on with --resume" in out
    path.write_bytes(raw[: raw.index(b"\n") + 1])
    _, out, _ = call(capsys, path)
    assert "killed before its first step was done" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--particle", "12"], "its particles are 0 to 11"),
        (["--island", "2"], "its islands: 0, 1"),
        (["--step", "99"], "its steps are 0 to "),
    ],
)
def test_what_is_not_there_is_said_with_what_is(traced, capsys, args, message):
    status, out, err = call(capsys, traced[0], *args)
    assert (status, out) == (2, "")
    assert message in err


def test_files_that_cannot_be_replayed_say_why(tmp_path, capsys):
    empty, other = tmp_path / "empty.jsonl", tmp_path / "other.jsonl"
    empty.write_text("")
    other.write_text('{"fkdsl_trace":9,"fkdsl":"9.0"}\n')
    for path, message in (
        (empty, "is empty"),
        (other, "of format 9"),
        (tmp_path / "none.jsonl", "there is no file"),
        ("README.md", "no trace of fkdsl"),
    ):
        status, _, err = call(capsys, path)
        assert status == 2
        assert message in err
        assert "help" in err
    with pytest.raises(CallError):
        read_trace(tmp_path)


def test_exact_and_rejection_replay_what_they_have(tmp_path, capsys):
    program, path = fkdsl.load("programs/two_bits.fk"), tmp_path / "run.jsonl"
    program.run("exact", trace=path)
    _, out, _ = call(capsys, path)
    assert " 0.3600  ██████████  00" in out
    assert call(capsys, path, "--particle", 0)[0] == 2
    program.run("rejection", samples=3, trace=path)
    _, out, _ = call(capsys, path)
    assert "particle 0, the heaviest" in out


def test_places_in_imported_files_are_named_by_their_files(tmp_path):
    (tmp_path / "half.fk").write_text(
        "def heads(lm: context) -> bool:\n    x ~ bernoulli(0.5)\n    return x\n"
    )
    (tmp_path / "p.fk").write_text(
        TEXT.split("program")[0] + 'import "half.fk"\nprogram p() -> bool:\n    lm = prompt("")\n'
        "    x ~ heads(lm)\n    condition x\n" + "    return x\n"
    )
    path = tmp_path / "run.jsonl"
    fkdsl.load(tmp_path / "p.fk").without().run(trace=path)
    replay = Replay(read_trace(path))
    (drawn,) = replay.path(0, 0)[1].drawn
    assert replay.where(drawn.place) == "half.fk:2"


def test_a_run_to_a_target_is_traced(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    result = fkdsl.parse(TEXT).run(particles=8, target_se=0.3, trace=path)
    _, out, _ = call(capsys, path, "--json")
    found = json.loads(out)
    assert found["log_z"] == result.log_z
    assert len({p["island"] for p in found["particles"]}) == result.islands > 1
    with pytest.raises(CallError, match="cannot be resumed"):
        fkdsl.parse(TEXT).run(particles=8, target_se=0.3, resume=path)


def test_replay_imports_no_model_library(traced):
    code = (
        "import sys; from fkdsl.cli.main import main; main(['replay', sys.argv[1]]);"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(traced[0])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["smc", "pgibbs", "tempered"])
def test_runs_with_moves_are_traced_and_begin_again_and_show_the_last_step_alone(tmp_path, method):
    source, path = tmp_path / "p.fk", tmp_path / "run.jsonl"
    source.write_text(TEXT)
    program = fkdsl.load(source)
    call = {"method": method, "particles": 6, "seed": 3}
    call |= {"sweeps": 2} if method == "pgibbs" else {"moves": 2}
    whole = program.run(**call, trace=path)
    replay = Replay(read_trace(path))
    assert len(replay.members()) == len(replay.steps_by_island[0][-1].particles)
    assert len(replay.path(0, 0)) == 1
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert program.run(**call, resume=path).particles == whole.particles


def test_replay_has_no_log_z_of_local_and_a_lower_bound_of_beam(tmp_path, capsys):
    program, path = fkdsl.load("programs/two_bits.fk"), tmp_path / "run.jsonl"
    program.run("beam", width=1, trace=path)
    assert "finished   log Z >= -1.2040\n" in call(capsys, path)[1]
    program.run("local", trace=path)
    assert "log Z" not in call(capsys, path)[1]

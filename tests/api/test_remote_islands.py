"""Islands that workers compute: the answer is that of one process, to the last bit, whatever comes
in the way. The workers are in this process; tests/cluster has them on Ray."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import fkdsl
from fkdsl.api.cluster import worker as worker_module
from fkdsl.api.cluster.ray_place import RayPlace
from fkdsl.api.cluster.tasks import MOST_LOSSES
from fkdsl.api.prefill_store import put_prompts
from fkdsl.api.run import ALONE
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import (
    BudgetEnded,
    CallError,
    InferenceFailed,
    PopulationDied,
    ProgramError,
)
from fkdsl.models.prefill.stores import open_store
from tests.api.fake_workers import FakeWorkers

TABLE = 'model m = table:\n    "" -> "a": 0.4, "b": 0.5, EOS: 0.1\n'
PROGRAM = (
    TABLE
    + """
query long = len(value) > 2

program p(most: int = 6) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < most:
        t ~ lm
        factor 1.0 if t == "a" else -1.0
    return lm.text
"""
)
MORTAL = (
    TABLE
    + """
program p() -> str:
    lm = prompt("")
    for i in range(4):
        t ~ lm
    condition count(lm.text, "b") < 1
    return lm.text
"""
)
FAILS = (
    TABLE
    + """
program p() -> float:
    lm = prompt("")
    t ~ lm
    u ~ lm
    return 1 / (0 if t == "b" else 1)
"""
)


@pytest.fixture(autouse=True)
def every_step_at_once(monkeypatch):
    """A message for each step, so that islands come between each other."""
    monkeypatch.setattr(worker_module, "BETWEEN", 0.0)


def same(result):
    """What must be equal wherever the islands were computed."""
    return replace(result, seconds=0.0, model_calls=0, forwarded_tokens=0)


def errors_of(result):
    return result.uncertainty.log_z_se(), result.mean(len).se, str(result.queries)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("smc", {"particles": 4}),
        ("smc", {"particles": 4, "moves": 1}),
        ("steer", {"particles": 3}),
        ("dpf", {"particles": 3}),
        ("importance", {"particles": 5}),
        ("alive", {"particles": 3}),
        ("pgibbs", {"particles": 3, "sweeps": 3}),
        ("tempered", {"particles": 3, "temperatures": 2}),
        ("local", {"particles": 3}),
    ],
)
def test_the_answer_is_that_of_one_process_to_the_last_bit(method, options):
    program = fkdsl.parse(PROGRAM)(most=5)
    here = program.run(method, seed=3, islands=5, **options)
    for seed in range(2):
        there = program.run(method, seed=3, islands=5, on=FakeWorkers(3, seed), **options)
        assert same(there) == same(here)
        assert errors_of(there) == errors_of(here)


def test_one_island_has_the_errors_of_its_family_tree():
    program = fkdsl.parse(PROGRAM)
    here, there = program.run(seed=1), program.run(seed=1, on=FakeWorkers(2))
    assert there.notes[-1] == ALONE
    assert same(replace(there, notes=here.notes)) == same(here)
    assert there.uncertainty.by == here.uncertainty.by == "genealogy"


def test_a_lost_worker_costs_time_and_no_more():
    program = fkdsl.parse(PROGRAM)
    here = program.run(seed=2, islands=6, particles=4)
    workers = FakeWorkers(3, losses={1: 2, 3: 1, 4: 0})
    there = program.run(seed=2, islands=6, particles=4, on=workers)
    assert there.notes[-1].startswith("3 workers were lost")
    assert same(replace(there, notes=here.notes)) == same(here)
    assert len(workers.tasks) == 9
    assert there.forwarded_tokens >= here.forwarded_tokens


def test_a_task_that_loses_every_worker_ends_the_run():
    workers = FakeWorkers(1, losses=dict.fromkeys(range(1, 20), 1))
    with pytest.raises(InferenceFailed, match="island 0 has lost its worker"):
        fkdsl.parse(PROGRAM).run(islands=2, on=workers)
    assert len(workers.tasks) == MOST_LOSSES + 1
    with pytest.raises(InferenceFailed, match="every worker of the cluster is lost"):
        fkdsl.parse(PROGRAM).run(islands=2, on=FakeWorkers(1, losses={1: 1}, replaces=False))


def test_a_dead_island_counts_zero_and_is_not_tried_again():
    program = fkdsl.parse(MORTAL).without()
    here = program.run("importance", particles=1, islands=24, seed=4)
    workers = FakeWorkers(3)
    there = program.run("importance", particles=1, islands=24, seed=4, on=workers)
    assert -np.inf in there.uncertainty.log_Z
    assert same(there) == same(here)
    assert len(workers.tasks) == 24


def test_a_population_that_dies_everywhere_says_the_same():
    program = fkdsl.parse(MORTAL.replace("< 1", "< 0")).without()
    reports = []
    for on in (None, FakeWorkers(2)):
        with pytest.raises(PopulationDied) as died:
            program.run("importance", islands=3, particles=2, on=on)
        reports.append(str(died.value))
    assert reports[0] == reports[1]


def test_a_mistake_of_the_program_is_the_same_message():
    messages = []
    for on in (None, FakeWorkers(1)):
        with pytest.raises(ProgramError) as mistake:
            fkdsl.parse(FAILS).run(islands=2, on=on)
        messages.append(str(mistake.value))
    assert messages[0] == messages[1]
    assert "FK4" in messages[0]


def test_a_bound_on_steps_keeps_the_population_so_far():
    cut = []
    for on in (None, FakeWorkers(1)):
        with pytest.raises(BudgetEnded) as ended:
            fkdsl.parse(PROGRAM).run("importance", islands=1, max_steps=2, on=on)
        cut.append(ended.value)
    assert str(cut[0]) == str(cut[1])
    assert cut[0].unfinished.particles == cut[1].unfinished.particles


def test_a_deadline_ends_the_workers_too():
    deadline = Deadline()
    workers = FakeWorkers(2)
    steps = []

    def observe(step):
        steps.append(step)
        if len(steps) == 5:
            deadline.cancel()

    with pytest.raises(BudgetEnded) as ended:
        fkdsl.parse(PROGRAM).run(islands=4, particles=4, timeout=deadline, on=workers,
                                 observer=observe)  # fmt: skip
    assert workers.stops
    assert ended.value.unfinished.particles


def test_ctrl_c_ends_the_workers_too():
    workers = FakeWorkers(2)

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupted:
        fkdsl.parse(PROGRAM).run(islands=4, on=workers, observer=interrupt)
    assert workers.stops == 1
    assert interrupted.value.unfinished.why == "it was interrupted"


@pytest.mark.parametrize("aim", [{"target_se": 0.3}, {"budget_tokens": 200}], ids=str)
def test_a_target_and_a_budget_find_the_same_islands(aim):
    program = fkdsl.parse(PROGRAM)
    here = program.run(seed=1, particles=4, **aim)
    there = program.run(seed=1, particles=4, on=FakeWorkers(1), **aim)
    assert there.islands == here.islands > 1
    assert there.log_z == here.log_z


def test_exchanged_islands_are_the_same_and_what_travels_is_json():
    program = fkdsl.parse(PROGRAM.replace("1.0 if", "3.0 if"))
    here = program.run(seed=5, islands=8, particles=3, exchange=2)
    there = program.run(seed=5, islands=8, particles=3, exchange=2, on=FakeWorkers(3, 1))
    assert here.uncertainty.by == "exchange"
    assert same(there) == same(here)
    assert errors_of(there) == errors_of(here)


def test_a_trace_of_a_run_elsewhere_is_resumed_anywhere(tmp_path):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "run.jsonl"
    call = {"seed": 6, "islands": 3, "particles": 4}
    here = program.run(**call)

    def cut(step):
        if step.island == 1 and step.t == 2:
            raise KeyboardInterrupt

    for on in (None, FakeWorkers(2)):
        with pytest.raises(KeyboardInterrupt):
            program.run(**call, on=FakeWorkers(2), trace=path, observer=cut)
        assert same(program.run(**call, on=on, resume=path)) == same(here)
    # It is complete now: nobody is asked.
    workers = FakeWorkers(2)
    assert same(program.run(**call, on=workers, resume=path)) == same(here)
    assert not workers.tasks


def test_files_that_the_program_names_travel(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/words.fk").write_text(
        'def fine(s: str) -> bool:\n    return matches(s, "a*") or valid_json(s, "s.json")\n'
    )
    (tmp_path / "parts/s.json").write_text('{"type": "string"}')
    (tmp_path / "main.fk").write_text(
        'import "parts/words.fk"\nmodel m = "tables.fk"\n'
        'program p() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=3)\n'
        "    condition fine(s)\n    return s\n"
    )
    (tmp_path / "tables.fk").write_text(TABLE)
    program = fkdsl.load(tmp_path / "main.fk")
    assert same(program.run(islands=3, on=FakeWorkers(2))) == same(program.run(islands=3))


def test_a_machine_with_another_model_is_refused(monkeypatch):
    workers = FakeWorkers(2)
    second = workers.alive["worker 2"]
    whole = second.make_ready
    second.make_ready = lambda job: whole(job).replace(b'"digest":"', b'"digest":"0')
    with pytest.raises(CallError, match="worker 2 has another model `m` than the other machines"):
        fkdsl.parse(PROGRAM).run(islands=2, on=workers)


def test_a_machine_with_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("fkdsl.api.cluster.job.VERSION", "0.0.1")
    workers = FakeWorkers(1)
    start = workers.start
    workers.start = lambda job: start(job.replace(b"0.0.1", b"0.0.2"))
    with pytest.raises(CallError, match=r"worker 1: this machine has fkdsl 0\.0\.1"):
        fkdsl.parse(PROGRAM).run(islands=2, on=workers)


def test_what_cannot_go_elsewhere_is_refused():
    program, on = fkdsl.parse(PROGRAM), FakeWorkers(1)
    model = program.engines()[""].model
    for call, message in (
        ({"method": "exact"}, "draws nothing"),
        ({"blame": True}, "each line"),
        ({"model": model}, "Python object"),
        ({"method": "auto"}, "auto's pilot"),
        ({"on": "rey"}, "not on `rey`"),
        ({"on": "ray,cpus=0"}, "says nothing"),
    ):
        with pytest.raises(CallError, match=message):
            program.run(**{"on": on, "islands": 2} | ({"islands": 1} if "method" in call else {})
                        | call)  # fmt: skip


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CallError, match="needs the package ray"):
        fkdsl.parse(PROGRAM).run(islands=2, on="ray")
    assert RayPlace.of("ray=a:1,cpus=2") == RayPlace("a:1", 2)


def test_a_run_in_this_process_imports_neither_ray_nor_its_workers(tmp_path):
    path = tmp_path / "p.fk"
    path.write_text(PROGRAM)
    code = (
        "import sys; from fkdsl.cli.main import main; "
        f"main(['check', {str(path)!r}]); main(['run', {str(path)!r}, '--islands', '2']); "
        "assert not {'ray', 'fkdsl.api.cluster.on_ray'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_workers_fetch_prompts_from_a_store(tmp_path):
    file = tmp_path / "p.fk"
    file.write_text(
        'model "tiny"\nprogram p() -> str:\n    lm = prompt("Enter the king, and all his men. ")\n'
        "    for i in range(4):\n        t ~ lm\n        condition t != EOS\n    return lm.text\n"
    )
    program, store = fkdsl.load(file), tmp_path / "store"
    plain = program.run("smc", islands=2, particles=4, on=FakeWorkers(1))
    missed = program.run("smc", islands=2, particles=4, on=FakeWorkers(1), prefill_store=store)
    assert any("has 0 of the prompts' 34 tokens" in note for note in missed.notes)
    put_prompts(program, open_store(str(store)), program.engines())
    found = program.run("smc", islands=2, particles=4, on=FakeWorkers(1), prefill_store=store)
    here = program.run("smc", islands=2, particles=4, prefill_store=store)
    assert same(found) == same(here) == same(plain)
    assert found.forwarded_tokens == here.forwarded_tokens == plain.forwarded_tokens - 34
    assert not any("prompts'" in note for note in found.notes)


@pytest.mark.smollm2
def test_islands_of_a_real_model_are_the_same_wherever_they_are_computed():
    program = fkdsl.load("programs/short_words.fk")(max_tokens=6)
    here = program.run("smc", islands=3, particles=2, seed=3)
    assert same(program.run("smc", islands=3, particles=2, seed=3, on=FakeWorkers(2))) == same(here)


def test_what_guides_nothing_is_said_once_wherever_islands_are_computed():
    program = fkdsl.parse(
        TABLE
        + """
program p(word: str = "a") -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition not contains(s, word)
    return s
"""
    )(word="a" * 200_000)
    here = program.run("smc", particles=4, islands=3)
    there = program.run("smc", particles=4, islands=3, on=FakeWorkers(2))
    notes = [[n for n in result.notes if "FK501" in n] for result in (here, there)]
    assert notes[0] == notes[1]
    assert len(notes[0]) == 1

"""Islands on Ray itself: three nodes on this machine, workers and a node killed on the way.

    pytest -m cluster tests/cluster

tests/api/test_remote_islands.py holds the same laws with workers in one process; here is what only
Ray can show.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import fkdsl
from fkdsl.api.cluster.on_ray import RayWorkers
from fkdsl.api.cluster.place import close_workers, workers_of
from fkdsl.api.cluster.ray_place import RayPlace
from fkdsl.base.errors import CallError
from tests.cli.test_cut_runs import heeds_interrupts
from tests.cluster.nodes import Nodes

pytestmark = pytest.mark.cluster
pytest.importorskip("ray", reason="it comes with the extra `ray`")

TABLE = 'model m = table:\n    "" -> "a": 0.4, "b": 0.5, EOS: 0.1\n'
SHORT = (
    TABLE
    + """
program p(most: int = 6) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < most:
        t ~ lm
        factor 3.0 if t == "a" else -1.0
    return lm.text
"""
)
LONG = """
model m = table:
    "" -> "a": 0.6, "b": 0.4

program long(n: int = 300) -> int:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        factor 0.01 if t == "a" else 0.0
    return count(lm.text, "a")
"""
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
WORDS = """
program sea() -> str:
    lm = prompt("The sea is")
    s ~ text(lm, max_tokens=24)
    condition contains(s, "e")
    return s
"""


@pytest.fixture(scope="module")
def nodes():
    import ray

    cluster = Nodes(3)
    yield cluster
    ray.shutdown()
    cluster.close()


@pytest.fixture
def on(nodes):
    return f"ray={nodes.address},cpus=1"


def same(result):
    return replace(
        result, seconds=0.0, model_calls=0, forwarded_tokens=0,
        notes=tuple(n for n in result.notes if "lost on the way" not in n),
    )  # fmt: skip


@pytest.mark.parametrize("text", [SHORT, WORDS], ids=["a table", "tiny"])
def test_the_answer_is_that_of_one_process_to_the_last_bit(on, text):
    program = fkdsl.parse(text)
    here = program.run(islands=7, particles=4, seed=3)
    there = program.run(islands=7, particles=4, seed=3, on=on)
    assert same(there) == same(here)
    assert there.log_z_interval == here.log_z_interval


def test_exchanged_islands_are_the_same(on):
    program = fkdsl.parse(SHORT)
    here = program.run(islands=9, particles=3, seed=5, exchange=2)
    assert here.uncertainty.by == "exchange"
    assert same(program.run(islands=9, particles=3, seed=5, exchange=2, on=on)) == same(here)


def test_a_target_is_met(on):
    program = fkdsl.parse(SHORT)
    here = program.run(target_se=0.3, particles=8, seed=1)
    assert program.run(target_se=0.3, particles=8, seed=1, on=on).log_z == here.log_z


def test_a_killed_worker_costs_time_and_no_more(on, nodes):
    program = fkdsl.parse(LONG)
    here = program.run(islands=6, particles=8, seed=2)
    killed = []

    def kill(step):
        if step.t == 40 and len(killed) < 2:
            killed.append(nodes.actors()[0])
            os.kill(killed[-1], signal.SIGKILL)

    there = program.run(islands=6, particles=8, seed=2, on=on, observer=kill)
    assert len(killed) == 2
    assert "lost on the way" in there.notes[-1]
    assert same(there) == same(here)


@pytest.fixture
def free(on):
    """The cluster, whose cores this process has given back."""
    close_workers()
    return on


def fkdsl_run(path, *arguments, **how):
    command = [sys.executable, "-m", "fkdsl", "run", str(path), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heeds_interrupts, **how,
    )  # fmt: skip


def test_a_mistake_of_the_program_is_the_same_message(free, tmp_path):
    path = tmp_path / "fails.fk"
    path.write_text(FAILS)
    here = fkdsl_run(path, "--islands", "2").communicate(timeout=120)
    run = fkdsl_run(path, "--islands", "2", "--on", free)
    assert run.communicate(timeout=120) == here
    assert run.returncode == 1


def test_an_address_where_nobody_listens_is_said_at_once():
    with pytest.raises(CallError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "):
        RayWorkers(RayPlace("127.0.0.1:1"))._connect(
            pytest.importorskip("ray", reason="it comes with the extra `ray`")
        )


def test_time_that_runs_out_leaves_the_population_so_far(free, tmp_path):
    path = tmp_path / "long.fk"
    path.write_text(LONG)
    arguments = ("-p", "n=1000000", "--islands", "3", "--timeout", "12")
    run = fkdsl_run(path, *arguments, "--on", free)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 3, err
    assert "unfinished: time ran out after 12 s" in out
    assert "go on from here" in err


def test_ctrl_c_ends_the_cluster_s_work(free, nodes, tmp_path):
    path = tmp_path / "long.fk"
    path.write_text(LONG)
    run = fkdsl_run(path, "-p", "n=1000000", "--islands", "3", "--on", free,
                    env={**os.environ, "FKDSL_CACHE": str(tmp_path)})  # fmt: skip
    deadline = time.monotonic() + 90
    while not any('{"t":1,' in p.read_text("utf-8") for p in tmp_path.glob("runs/*.jsonl")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "unfinished: it was interrupted" in out
    while nodes.actors():
        assert time.monotonic() < deadline + 60, "a worker goes on"
        time.sleep(0.2)


def test_a_node_that_is_killed_costs_time_and_no_more(on, nodes):
    import ray

    program = fkdsl.parse(LONG)
    here = program.run(islands=9, particles=8, seed=4)
    workers = workers_of(on)
    program.run(islands=1, particles=8, on=on)
    ray.get([slot.started for slot in workers._slots])  # all three take part

    def kill(step):
        if step.island > 3 and step.t == 40 and len(nodes.nodes) == 3:
            nodes.nodes.pop().kill()

    there = program.run(islands=9, particles=8, seed=4, on=on, observer=kill)
    assert len(nodes.nodes) == 2
    assert "lost on the way" in there.notes[-1]
    assert same(there) == same(here)

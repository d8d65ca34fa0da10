"""Jobs that a worker gets: where their files are written, and what comes after one that failed."""

import json

import pytest

import fkdsl
from fkdsl.api.cluster.job import job_of, request_of_job
from fkdsl.api.cluster.worker import IslandWorker
from fkdsl.api.request import RunRequest
from fkdsl.base.errors import CallError

PROGRAM = """model bits = table:
    "" -> "0": 0.4, "1": 0.6

program p() -> str:
    lm = prompt("")
    t ~ lm
    return lm.text
"""


@pytest.fixture
def job():
    return json.loads(job_of(RunRequest.of(fkdsl.parse(PROGRAM)(), "smc", {"particles": 2})))


@pytest.mark.parametrize("name", ["../x.txt", "/x.txt", "a/../../x.txt", "", ".", "a\0b"])
def test_a_jobs_files_lie_in_its_folder(job, tmp_path, name):
    inside = tmp_path / "in"
    inside.mkdir()
    name = str(tmp_path / "x.txt") if name == "/x.txt" else name
    with pytest.raises(CallError, match="no file of a program"):
        request_of_job(job | {"files": {name: ""}}, inside, {})
    assert not (tmp_path / "x.txt").exists()


def test_a_job_after_one_that_failed_is_made_ready_for_again(job):
    worker = IslandWorker()
    good = json.dumps(job).encode()
    bad = json.dumps(job | {"fkdsl": "0"}).encode()
    assert b'"ready"' in worker.make_ready(good)
    assert b'"error"' in worker.make_ready(bad)
    assert b'"ready"' in worker.make_ready(good)

"""A minute of the fuzz command finds nothing (`python tests/fuzz.py`); the rest of its time is for
an evening."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import wrong_with

FUZZ = Path(__file__).parent / "fuzz.py"


@pytest.mark.slow
def test_a_minute_of_hostile_input_ends_in_answers_and_clear_errors(tmp_path):
    command = [sys.executable, str(FUZZ), "--seconds", "60", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_fuzz_command_calls_wrong():
    assert wrong_with(["run"], 0, "a\n", "") is None
    assert wrong_with(["run"], 70, "", "error") is not None
    assert wrong_with(["run"], 1, "", "Traceback (most recent call last)") is not None
    assert wrong_with(["run"], 0, "\x1b[31mred", "") is not None
    assert wrong_with(["run", "--json"], 0, '{"log_z": -Infinity}', "") is not None
    assert wrong_with(["run", "--json"], 0, '{"log_z": null}', "") is None

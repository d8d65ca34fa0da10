"""Torch's threads do not spin for long while they wait, unless the user says so."""

import os
import subprocess
import sys

import pytest

from fkdsl.models.waiting_threads import SETTINGS, SPINS

SPIN, POLICY = SETTINGS


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [
        ("", {}, SPINS),
        ("", {SPIN: "7"}, "7"),
        ("", {POLICY: "active"}, None),
        ("import sys; sys.modules['torch'] = None; ", {}, None),
    ],
)
def test_what_is_set_before_torch_is_loaded(before, given, expected):
    code = f"{before}import os, fkdsl.models.registry; print(os.environ.get({SPIN!r}))"
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(expected)]

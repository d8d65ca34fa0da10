"""Hypothesis profiles: `ci` is the default, `long` is for an evening by hand
(HYPOTHESIS_PROFILE=long)."""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# The tests start fkdsl a hundred times, and without compiled modules each start takes twice the
# time, which is all that this variable would save.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests side by side, with a thread each: torch's threads wait for each other, and for a busy
    # core far too long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    database=None,
)
settings.register_profile(
    "long", deadline=None, max_examples=2_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported here, a million objects, stays to the end: the collector of cycles goes
    through it once, and not at every tenth import and in every test."""
    gc.disable()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(scope="session")
def smollm2():
    """The real small model, loaded once in a process. Runs that are given it have caches of their
    own."""
    from fkdsl.models.registry import load_model

    return load_model("smollm2")

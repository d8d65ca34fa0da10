"""Hypothesis profiles: `ci` is the default, `long` is for an evening by hand
(HYPOTHESIS_PROFILE=long)."""

import os

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def smollm2():
    """The real small model, loaded once in a process. Runs that are given it have caches of their
    own."""
    from fkdsl.models.registry import load_model

    return load_model("smollm2")

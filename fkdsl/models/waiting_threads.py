"""How long torch's threads wait for each other by spinning.

The pieces of an operator that torch shares among its threads are tens of microseconds long. GNU's
OpenMP, which torch's builds for Linux use, lets a thread that has done its piece spin for some
milliseconds until the others are done. Where another process is busy on one of the processors, a
spinning thread uses up what the scheduler grants, and the thread that it waits for gets no turn: a
run of four seconds took fifty-four. Threads that go to sleep soon are woken at once.
"""

import os
import sys

SPINS = "10000"
"""Rounds of waiting before a thread sleeps, some 30 microseconds: as quick as the 300,000 of the
default where no other process is busy."""
SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""By which a user chooses. The library reads them when torch is loaded."""


def let_waiting_threads_sleep() -> None:
    """Sets the environment of this process, and of those that it starts, unless it says already how
    threads wait. Without effect once torch is loaded."""
    if "torch" not in sys.modules and not any(name in os.environ for name in SETTINGS):
        os.environ[SETTINGS[0]] = SPINS

"""A deadline ends what runs inside, in any thread; a bound on CPU time does not mind how busy the
machine is."""

import threading
import time

import pytest

from fkdsl.base.deadline import Deadline, DeadlinePassed, OutOfTime, bounded, check, current, until
from fkdsl.base.errors import CallError


def spin(seconds=20.0):
    """Checks, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check()


def test_a_deadline_ends_a_loop_that_checks():
    began = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"after 0\.05 s"), until(Deadline(0.05)):
        spin()
    assert time.monotonic() - began < 2.0
    assert current().end == float("inf")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("-inf")])
def test_a_timeout_that_is_no_length_of_time_is_refused(seconds):
    with pytest.raises(CallError, match="a timeout is a number of seconds from 0 on"):
        Deadline.of(seconds)
    assert Deadline.of(0.0).seconds == 0.0
    assert Deadline.of(float("inf")).end == float("inf")


def test_the_earlier_of_two_deadlines_holds():
    with (
        until(Deadline(0.05)),
        pytest.raises(DeadlinePassed, match=r"after 0\.05 s"),
        until(Deadline(100)),
    ):
        spin()
    with (
        until(Deadline(100)),
        pytest.raises(DeadlinePassed, match=r"after 0\.05 s"),
        until(Deadline(0.05)),
    ):
        spin()


def test_a_cancelled_deadline_ends_what_runs_within_it_in_its_own_thread_only():
    deadline, ended = Deadline(), []

    def run():
        with until(deadline):
            try:
                with until(Deadline(100)):
                    spin()
            except DeadlinePassed as passed:
                ended.append(str(passed))

    other = threading.Thread(target=run)
    other.start()
    check()
    deadline.cancel()
    other.join(10)
    check()
    assert ended == ["since it was cancelled"]


def test_a_deadline_of_its_own_inside_itself_can_be_cancelled():
    deadline = Deadline(100)
    with until(deadline), until(deadline):
        deadline.cancel()
        with pytest.raises(DeadlinePassed):
            check()
    deadline.begin()
    assert deadline.passed


def test_python_code_that_checks_nothing_is_ended_by_the_deadline_and_by_its_cpu_time():
    def endless():
        while True:
            len("")

    with pytest.raises(DeadlinePassed), until(Deadline(0.05)), bounded(100):
        endless()
    with pytest.raises(OutOfTime, match="CPU time"), bounded(0.05):
        endless()


def test_waiting_uses_no_cpu_time():
    with bounded(0.2):
        time.sleep(0.4)
        for _ in range(100):
            len("")


def test_no_except_exception_swallows_the_end():
    def stubborn():
        try:
            spin()
        except Exception:
            return "swallowed"

    with pytest.raises(DeadlinePassed), until(Deadline(0.05)):
        stubborn()

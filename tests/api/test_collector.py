"""Python searches for cycles seldom while a run goes on, and a run leaves none to be found."""

import gc
from collections import Counter

import pytest

import fkdsl
from fkdsl.base.collector import OBJECTS, collecting_seldom
from fkdsl.models.table import TableModel

PROGRAM = """
def line(lm: context, n: int) -> str:
    made = ""
    while len(made) < n:
        w ~ word(lm, max_tokens=4)
        condition w != "" and not contains(w, "b")
        made = f"{made} {w}"
    return made

program main() -> str:
    lm = prompt("")
    s ~ line(lm, 4)
    checkpoint
    t ~ lm
    condition t != EOS
    return s
"""

MISTAKE = """
program main() -> int:
    lm = prompt("")
    n = 0
    for i in range(3):
        t ~ lm
        condition t != EOS
        n = n + 1 // (0 if lm.text == "aa" else 1)
    return n
"""


def model():
    return TableModel("m", {"": {"a": 0.3, "b": 0.2, " ": 0.3, "c": 0.1, None: 0.1}})


@pytest.mark.parametrize("method", ["smc", "steer"])
def test_a_run_leaves_no_cycles(method):
    """Contexts in one would keep keys and values, and an engine all that it cached, until the next
    search."""
    program, table = fkdsl.parse(PROGRAM), model()
    assert not left_by(lambda: program.run(method, model=table, particles=4, seed=0))


def test_a_run_that_ends_in_a_mistake_of_the_program_leaves_none_either():
    program, table = fkdsl.parse(MISTAKE), model()

    def fails():
        with pytest.raises(fkdsl.ProgramError, match="division by zero"):
            program.run("smc", model=table, particles=8, seed=0)

    assert not left_by(fails)


def left_by(run):
    """What a run leaves in cycles, of fkdsl's types; the first one has loaded and kept."""
    run()
    gc.collect()
    gc.disable()
    try:
        run()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(x).__name__ for x in gc.garbage if type(x).__module__[:5] == "fkdsl")
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_the_thresholds_are_as_before_once_the_last_run_is_over():
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        first, second = collecting_seldom(), collecting_seldom()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert gc.get_threshold() == (OBJECTS, 10, 10)
        second.__exit__(None, None, None)
        assert gc.get_threshold() == (700, 10, 10)
        for others in ((0, 10, 10), (2 * OBJECTS, 5, 5)):  # switched off, or more seldom
            gc.set_threshold(*others)
            with collecting_seldom():
                assert gc.get_threshold() == others
            assert gc.get_threshold() == others
    finally:
        gc.set_threshold(*before)

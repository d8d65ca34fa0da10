"""The measurement of the server runs, and finds no answer lost or mixed up."""

import pytest
import serve_load


@pytest.mark.slow
def test_no_answer_is_lost_or_mixed_up_under_load_and_faults():
    found = serve_load.main(
        [
            "--requests",
            "24",
            "--clients",
            "6",
            "--seconds",
            "100",
            "--leave",
            "0.05",
            "--kill",
            "1",
            "--steady",
            "40",
        ]
    )
    assert found["wrong"] == found["errors"] == found["not sent in time"] == 0
    assert found["answers"] + found["clients that left"] == 24
    assert found["clients that left"] >= 1
    assert found["runs left at the end"] == 0
    assert found["ended"] == (6, 6)


def test_another_answer_and_another_order_are_told_apart():
    a, b = [("x", 0.5), ("y", 0.5)], [("y", 0.50001), ("x", 0.49999)]
    assert serve_load.equal(a, b)
    assert not serve_load.equal(a, [("x", 0.5), ("z", 0.5)])
    assert not serve_load.equal(a, [("x", 0.4), ("y", 0.6)])
    assert not serve_load.equal(["x"], ["y"])

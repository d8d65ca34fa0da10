"""What `exact` and `beam` print where Z is known only between bounds."""

import json
import math

from fkdsl.cli.main import main

SPELT = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.2

program spelt() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=4)
    condition not contains(s, "cc")
    return s
"""


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def write(tmp_path, text=SPELT):
    path = tmp_path / "p.fk"
    path.write_text(text)
    return str(path)


def test_a_search_that_was_ended_prints_its_bounds(capsys, tmp_path):
    status, out, _ = call(capsys, "exact", write(tmp_path), "--max-states", "40", "--gap", "0")
    assert status == 0
    assert "log Z between -" in out
    assert "exact covers at least 0." in out
    assert " to 0." in out.splitlines()[0]
    assert "40 states" in out
    assert "note: exact was ended by max_states=40 after 40 states" in out


def test_json_has_the_bounds(capsys, tmp_path):
    status, out, _ = call(
        capsys, "exact", write(tmp_path), "--max-states", "40", "--gap", "0", "--json"
    )
    found = json.loads(out)
    low, high = found["log_z_bounds"]
    assert status == 0
    assert low == found["log_z"] < high
    assert found["log_z_se"] is None
    assert found["log_z_se_by"] == "bounds"
    assert found["states"] == 40
    for answer in found["posterior"]:
        assert 0 <= answer["low"] <= answer["probability"] <= answer["high"] <= 1
    status, out, _ = call(capsys, "exact", write(tmp_path), "--json")
    assert json.loads(out)["log_z_bounds"] is None


def test_without_an_upper_bound_the_lower_one_stands_alone(capsys, tmp_path):
    text = SPELT.replace("    return s", "    factor 0.1 * len(s)\n    return s")
    args = ("exact", write(tmp_path, text), "--max-states", "40", "--gap", "0")
    status, out, _ = call(capsys, *args)
    assert status == 0
    assert "log Z >= " in out
    assert "between" not in out
    assert "no upper bound on Z" in out
    _, out, _ = call(capsys, *args, "--json")
    found = json.loads(out)
    assert found["log_z_bounds"] == [found["log_z"], None]
    assert "low" not in found["posterior"][0]


def test_nothing_finished_exits_3_with_the_upper_bound(capsys, tmp_path):
    status, out, err = call(capsys, "exact", write(tmp_path), "--max-tokens", "2", "--gap", "0")
    assert (status, out) == (3, "")
    assert "ended by max_tokens=2" in err
    assert "log Z <= " in err
    assert "help: raise --max-tokens" in err


def test_a_gap_that_is_small_enough_reads_as_a_number(capsys, tmp_path):
    _, out, _ = call(capsys, "exact", write(tmp_path), "--gap", "0.0001")
    # f(n) = 0.8 f(n - 1) + 0.16 f(n - 2) texts of n letters have no "cc".
    assert f"log Z = {math.log(0.8 * 0.928 + 0.16 * 0.96):.4f}" in out


def test_a_beam_reports_a_lower_bound_and_what_it_covers(capsys, tmp_path):
    status, out, _ = call(capsys, "run", write(tmp_path), "--method", "beam", "--width", "4")
    assert status == 0
    assert "log Z >= -" in out
    assert "beam covers at least 0." in out
    assert "a beam has no estimate of Z" in out
    assert "beam(width=4)" in out
    assert "ESS" not in out


def test_a_beam_is_compared_by_a_row_without_log_z(capsys, tmp_path):
    args = (
        "compare",
        write(tmp_path),
        "--methods",
        "beam,exact",
        "--budget",
        "40",
        "--runs",
        "3",
        "--json",
    )
    status, out, _ = call(capsys, *args)
    beam, exact = json.loads(out)["rows"]
    assert status == 0
    assert beam["runs"] == 1
    assert beam["log_z"] is None
    assert "log Z >= -" in beam["note"]
    assert beam["distance"] is not None
    assert exact["distance"] == 0

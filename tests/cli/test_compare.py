"""`fkdsl compare`: the figures of a row, the count that a budget gives, empty caches, and what a
wrong call is told."""

import json
import math
import statistics
from dataclasses import replace

import pytest

import fkdsl
from fkdsl.cli.main import main
from fkdsl.inference.methods import METHODS
from fkdsl.models.table import TableModel

TWO_BITS = "programs/two_bits.fk"
SAMPLERS = ["local", "importance", "smc", "steer", "rejection"]
LETTERS = TableModel(
    "letters", {"": dict(zip("abcdefgh", [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05], strict=True))}
)
WORD = """
program spelt(n: int = 6, banned: str = "a") -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        condition t != banned
    return lm.text
"""
# "a" comes first with 0.9, but mostly leads to "z", which is ruled out: masking token by token
# gives "a" 0.9, and the posterior gives it 0.9 * 0.1 / (0.9 * 0.1 + 0.1) = 9 / 19.
MISLEADING = """
model m = table:
    "" -> "a": 0.9, "b": 0.1
    "a" -> "y": 0.1, "z": 0.9
    "b" -> "y": 1.0

program p() -> str:
    lm = prompt("")
    t ~ lm
    u ~ lm
    condition u != "z"
    return lm.text
"""


def call(capsys, *args):
    status = main(["compare", *args])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def write(tmp_path, text):
    path = tmp_path / "p.fk"
    path.write_text(text)
    return str(path)


# ----------------------------------------------------------------- figures


def test_two_bits_gives_its_known_figures(capsys):
    methods = ",".join(SAMPLERS[:-1])
    status, out, err = call(capsys, TWO_BITS, "--json", "--methods", f"{methods},exact")
    found = json.loads(out)
    assert status == 0
    assert len(err.splitlines()) == len(SAMPLERS), err
    assert {k: found[k] for k in ("program", "seed", "budget", "runs")} == {
        "program": "two_bits", "seed": 0, "budget": 2000, "runs": 5,
    }  # fmt: skip
    rows = {row["method"]: row for row in found["rows"]}
    assert list(rows) == [*SAMPLERS[:-1], "exact"]
    # Attempts in further batches compute the table's contexts again: few tokens are many attempts.
    few = ["--methods", "rejection,exact", "--budget", "40"]
    _, out, _ = call(capsys, TWO_BITS, "--json", *few)
    rows["rejection"] = json.loads(out)["rows"][0]
    assert rows["exact"]["distance"] == 0
    for method in SAMPLERS:
        row = rows[method]
        assert row["died"] == 0
        assert row["satisfied"] == 1.0
        if method != "local":
            assert abs(row["log_z"]) <= 1e-9  # nothing is conditioned: Z = 1 whatever is drawn
            assert row["log_z_sd"] <= 1e-9
        assert 0 < row["distance"] <= 0.25
        if method != "rejection":
            assert "no more tokens" in row["note"]


@pytest.mark.parametrize("method", SAMPLERS)
def test_a_rows_figures_are_those_of_its_runs(method):
    program = fkdsl.parse(WORD)(n=3).without()  # draws that look ahead would not die
    exact = program.exact(model=LETTERS)
    comparison = fkdsl.compare(program, ["exact", method], budget=6, runs=6, seed=40, model=LETTERS)
    row = comparison.rows[1]
    rejection = {"samples": row.particles + 1, "attempts": row.particles}
    option = rejection if method == "rejection" else {
        "particles": row.particles
    }  # fmt: skip
    log_zs, distances, tokens, died = [], [], [], 0
    for seed in range(40, 46):
        engines = program.engines(LETTERS)
        try:
            result = program.run(method, engines=engines, seed=seed, **option)
            log_zs.append(result.log_z)
            values = {a.value for a in (*exact.posterior, *result.posterior)}
            distances.append(
                sum(abs(exact.probability(v) - result.probability(v)) for v in values) / 2
            )
        except fkdsl.PopulationDied:
            died += 1
            distances.append(1.0)
        tokens.append(engines.counts()[1])
    assert died < 5
    assert died > 0 or method == "steer"  # else the test does not see how the dead are counted
    assert (row.runs, row.died) == (6, died)
    if method != "local":
        assert abs(row.log_z - math.log(math.fsum(map(math.exp, log_zs)) / 6)) <= 1e-12
        assert abs(row.log_z_sd - statistics.stdev(log_zs)) <= 1e-12
    assert abs(row.distance - statistics.fmean(distances)) <= 1e-12
    assert row.tokens == statistics.fmean(tokens)


def test_smc_is_near_exact_where_masking_misleads():
    exact, *sampled = fkdsl.compare(
        fkdsl.parse(MISLEADING), ["exact", "importance", "smc"], runs=20
    ).rows
    assert abs(exact.log_z - math.log(0.19)) <= 1e-12
    for row in sampled:
        # The distance between two values is |p_hat - 9/19|. Without looking ahead some 49 of 256
        # live, and its mean is about 0.8 * 0.5 / sqrt(49) = 0.057, to 0.01 over 20 runs; looking
        # ahead only makes it less. Masking would have 0.9 - 9/19 = 0.43. log Z_hat has at most sd
        # 0.129 for one run, 0.029 for the mean of 20.
        assert row.particles == 256
        assert row.distance <= 0.12
        assert abs(row.log_z - math.log(0.19)) <= 0.15


def test_the_share_that_satisfies_counts_the_dead():
    (row,) = fkdsl.compare(fkdsl.parse(MISLEADING), ["rejection"], budget=10, runs=20).rows
    attempts = 20 * row.particles
    # Each is accepted with probability 0.19: five standard errors.
    assert attempts >= 5000
    assert abs(row.satisfied - 0.19) <= 5 * math.sqrt(0.19 * 0.81 / attempts)
    assert abs(row.log_z - math.log(row.satisfied)) <= 1e-12


def test_runs_that_die_count_as_zero():
    (row,) = fkdsl.compare(
        fkdsl.parse(WORD)(n=1, banned="x"), ["smc"], budget=100, runs=2, model=LETTERS
    ).rows
    assert (row.died, row.satisfied) == (0, 1.0)
    text = "program p() -> int:\n    x ~ uniform_int(1, 6)\n    condition x > 6\n    return x\n"
    exact, row = fkdsl.compare(fkdsl.parse(text), ["exact", "smc"], budget=100, runs=2).rows
    assert (exact.log_z, exact.died, exact.distance) == (-math.inf, 1, None)
    assert "Z = 0" in exact.note
    assert (row.log_z, row.died, row.log_z_sd, row.satisfied) == (-math.inf, 2, None, 0.0)


def test_a_method_that_forgets_its_mass_has_no_log_z(monkeypatch):
    monkeypatch.setitem(METHODS, "smc", replace(METHODS["smc"], log_z="none"))
    (row,) = fkdsl.compare(fkdsl.parse(MISLEADING), ["smc"], runs=2).rows
    assert (row.log_z, row.log_z_sd) == (None, None)


def test_local_is_as_far_from_exact_as_masking_is():
    local, _ = fkdsl.compare(fkdsl.parse(MISLEADING), ["local", "exact"], runs=20).rows
    assert local.log_z is None
    assert abs(local.distance - (0.9 - 9 / 19)) <= 0.1


def test_the_posterior_is_not_known_where_exact_has_no_end(capsys, tmp_path):
    text = (
        "program p() -> bool:\n    x ~ uniform(0.0, 1.0)\n    condition x < 0.5\n"
        "    return x < 0.25\n"
    )
    for args in ([write(tmp_path, text)], [TWO_BITS, "--max-states", "2"]):
        status, out, _ = call(capsys, *args, "--methods", "smc,exact", "--runs", "2")
        assert status == 0
        assert "not known" in out
        assert "exact: " in out
        status, out, _ = call(capsys, *args, "--methods", "smc,exact", "--runs", "2", "--json")
        assert [row["distance"] for row in json.loads(out)["rows"]] == [None, None]


# ----------------------------------------------------------------- tokens


@pytest.mark.parametrize("method", SAMPLERS)
def test_runs_forward_about_the_budget(method):
    (row,) = fkdsl.compare(fkdsl.parse(WORD), [method], budget=150, runs=4, model=LETTERS).rows
    assert row.note == ""
    assert 120 <= row.tokens <= 180


def test_the_same_seed_gives_the_same_rows_and_the_pilots_leave_no_trace():
    def rows(runs, seed):
        found = fkdsl.compare(
            fkdsl.parse(WORD), ["smc"], budget=100, runs=runs, seed=seed, model=LETTERS
        ).rows
        return [replace(row, seconds=0.0) for row in found]

    assert rows(2, 5) == rows(2, 5)
    assert rows(2, 5) != rows(2, 6)
    assert rows(1, 5)[0].particles == rows(2, 5)[0].particles


def test_a_comparison_loads_each_model_once(monkeypatch):
    loads = []

    def load(reference, **_):
        loads.append(reference)
        return LETTERS

    monkeypatch.setattr("fkdsl.api.engines.load_model", load)
    fkdsl.compare(fkdsl.parse('model "toy"\n' + WORD), ["smc", "steer"], budget=50, runs=3)
    assert loads == ["toy"]


# ----------------------------------------------------------------- the table and wrong calls


def test_the_table_fits_and_the_last_line_says_the_call(capsys):
    status, out, err = call(
        capsys, TWO_BITS, "--budget", "tokens=500", "--runs", "2", "--seed", "7", "-p", "n=1"
    )
    lines = out.splitlines()
    assert status == 0
    assert len(err.splitlines()) == len(SAMPLERS), err
    assert lines[-1] == "two_bits   seed 7   budget 500 tokens   2 runs"
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines[1:] if "of 2" in line} == {
        "local",
        "importance",
        "smc",
        "steer",
    }
    assert len({len(line) for line in lines[:6]}) == 1


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--methods", "smcc,exact"], 2, "did you mean `smc`"),
        (["--methods", ","], 2, "write --methods"),
        (["--budget", "0"], 2, "write --budget 2000"),
        (["--runs", "0"], 2, "write --runs 5"),
        (["--max-states", "0"], 2, "max_states must be between"),
        (["-p", "m=3"], 2, "did you mean `n`"),
        (["--model", "smolm2"], 2, "did you mean `smollm2`"),
        (["--max-steps", "1"], 3, "after 1 steps"),
    ],
)
def test_a_wrong_call_says_what_to_try(capsys, args, status, message):
    found, out, err = call(capsys, TWO_BITS, *args)
    assert (found, out) == (status, "")
    assert message in err

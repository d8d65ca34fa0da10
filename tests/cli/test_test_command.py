"""`fkdsl test` and `--query`: what is printed, and how they exit."""

import json
from pathlib import Path

import pytest

from fkdsl.cli.main import main
from fkdsl.inference.assess.variants import variants

TWO_BITS = "programs/two_bits.fk"
TABLE = 'model m = table:\n    "" -> "a": 0.25, "b": 0.75\n\n'
PROGRAM = (
    TABLE + 'program p(n: int = 1) -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n\n'
)


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def write(tmp_path, text, name="p.fk"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_passing_tests_are_dots_and_exit_0(capsys):
    status, out, err = call(capsys, "test", TWO_BITS, "--runs", "20")
    assert status == 0
    assert err == ""
    assert out.startswith(f"{TWO_BITS} .\n")
    assert f"methods: {len(variants())} checks, " in out
    assert "false alarm 1e-06 a test" in out
    assert " 1 passed in " in out.splitlines()[-1]


def test_a_failure_shows_its_line_and_the_figures_in_it_and_exits_1(capsys, tmp_path):
    text = (
        PROGRAM + 'test "good":\n    expect Z == 1\n\ntest "bad":\n'
        '    expect P(value == "a") == 0.26 or log_Z > 1\n'
    )
    path = write(tmp_path, text)
    status, out, _ = call(capsys, "test", path, "--no-methods")
    assert status == 1
    assert f"{path} .F\n" in out
    assert '>   13 | expect P(value == "a") == 0.26 or log_Z > 1\n' in out
    assert 'E      | P(value == "a") = 0.25\n' in out
    assert "E      | log_Z = 0\n" in out
    assert " 1 passed, 1 failed in " in out


def test_tests_are_chosen_by_their_titles(capsys, tmp_path):
    text = PROGRAM + 'test "good":\n    expect Z == 1\n\ntest "bad":\n    expect Z == 2\n'
    path = write(tmp_path, text)
    assert call(capsys, "test", path, "--no-methods", "-k", "goo")[0] == 0
    status, out, _ = call(capsys, "test", path, "--no-methods", "-k", "none")
    assert (status, out.strip("= \n").startswith("no tests found")) == (5, True)


def test_a_file_with_mistakes_says_them_and_the_others_are_run(capsys, tmp_path):
    bad = write(tmp_path, PROGRAM + 'test "it":\n    expect P(valeu == "a") == 1\n', "bad.fk")
    status, out, err = call(capsys, "test", bad, TWO_BITS, "--no-methods")
    assert status == 1
    assert "FK203" in err
    assert "1 passed, 1 file with mistakes" in out


def test_a_test_that_cannot_run_is_an_error(capsys, tmp_path):
    path = write(tmp_path, PROGRAM + 'test "it":\n    expect P(value[4] == "a") == 1\n')
    status, out, _ = call(capsys, "test", path)
    assert status == 1
    assert f"{path} E\n" in out
    assert "FK406" in out
    assert "1 error in" in out


def test_json_has_the_fields_of_the_docs(capsys, tmp_path):
    path = write(tmp_path, PROGRAM + 'test "it":\n    expect P(value == "a") == 0.25\n')
    status, out, _ = call(capsys, "test", path, "--json", "--runs", "10")
    found = json.loads(out)
    assert status == 0
    assert set(found) == {"tests", "seconds", "seed"}
    (test,) = found["tests"]
    assert set(test) == {
        "file",
        "line",
        "title",
        "outcome",
        "by",
        "seconds",
        "error",
        "expectations",
        "methods",
    }
    assert (test["title"], test["outcome"], test["by"], test["line"]) == (
        "it",
        "passed",
        "exact",
        9,
    )
    (line,) = test["expectations"]
    assert line["figures"] == {'P(value == "a")': "0.25"}
    for m in test["methods"]:
        assert set(m) == {
            "method",
            "runs",
            "agrees",
            "reason",
            "wealth",
            "detectable",
            "by_step",
            "one_sided",
        }
        assert m["agrees"]


def test_verbose_says_how_each_line_and_method_did(capsys):
    _, out, _ = call(capsys, "test", TWO_BITS, "-v", "--runs", "20")
    assert "greedy is not most likely  PASSED  (exact" in out
    assert 'passed     P(value == "00") == 0.36   [P(value == "00") = 0.36]' in out
    assert "agrees     steer: " in out


def test_a_program_with_a_continuous_draw_is_sampled_and_may_stay_undecided(capsys, tmp_path):
    text = TABLE + (
        'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    x ~ normal(0.0, 1.0)\n'
        "    y ~ bernoulli(0.5)\n    condition y\n    return lm.text\n\n"
        'test "half":\n    expect P(value[0] == "a") < 0.6\n    expect Z < 0.9 and Z > 0.1\n'
        '    expect P(value[0] == "a") == 0.25\n\ntest "no":\n'
        '    expect P(value[0] == "a") > 0.6\n\n'
        'test "all":\n    expect all(v[0] == "b" for v in support)\n'
    )
    status, out, _ = call(capsys, "test", write(tmp_path, text), "--runs", "60", "-v")
    assert status == 1
    assert "half  UNDECIDED  (sampling" in out
    assert "no  FAILED  (sampling" in out
    assert "all  FAILED  (sampling" in out
    assert 'undecided  P(value[0] == "a") == 0.25' in out
    assert 'passed     P(value[0] == "a") < 0.6' in out


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["test"], 2, "required"),
        (["test", "no.fk"], 2, "no file"),
        (["test", TWO_BITS, "--runs", "0"], 2, "at least once"),
        (["test", TWO_BITS, "--program", "two_bit"], 2, "did you mean"),
        (["run", TWO_BITS, "--query", ""], 2, "says no expression"),
        (["run", TWO_BITS, "--query", "a=1", "--query", "a=2"], 2, "given twice"),
        (["run", TWO_BITS, "--query", "ones=conut(value)"], 1, "--query:1:6"),
    ],
)
def test_a_wrong_call_says_what_to_try(capsys, args, status, message):
    found, _, err = call(capsys, *args)
    assert found == status
    assert message in err


def test_queries_are_lines_of_the_report_and_fields_of_the_json(capsys):
    query = ["--query", "ones=count(value, '1')", "--query", "len(value)"]
    _, out, _ = call(capsys, "exact", TWO_BITS, *query)
    assert "starts_with_one = 0.6\nones            = 0.94\nlen(value)      = 2\n" in out
    _, out, _ = call(capsys, "run", TWO_BITS, "--islands", "4", "--json", *query)
    found = json.loads(out)["queries"]
    assert set(found) == {"starts_with_one", "ones", "len(value)"}
    assert 0 < found["ones"]["se"] < 0.2
    _, out, _ = call(capsys, "run", TWO_BITS, "--islands", "4")
    assert "starts_with_one = 0." in out
    assert " ± 0." in out


def test_the_tests_of_the_programs_pass(capsys):
    files = [str(p) for p in sorted(Path("programs").glob("*.fk"))]
    status, out, err = call(capsys, "test", *files, "--runs", "10")
    assert (status, err) == (0, "")
    assert " 8 passed in " in out

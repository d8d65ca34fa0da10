"""The command line: what stands on stdout and stderr, exit statuses, and how quickly it starts."""

import gc
import json
import math
import re
import subprocess
import sys

import pytest

from fkdsl.cli.main import OBJECTS, main

TWO_BITS = "programs/two_bits.fk"


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def test_exact_gives_the_table_of_the_docs(capsys):
    status, out, err = call(capsys, "exact", TWO_BITS, "--json")
    found = json.loads(out)
    assert status == 0
    assert err == ""
    assert found["posterior"][0]["value"] == "00"
    assert abs(found["posterior"][0]["probability"] - 0.36) <= 1e-12
    assert abs(found["log_z"]) <= 1e-12


def test_a_process_of_ours_looks_for_cycles_seldom_and_a_caller_of_main_as_before(
    capsys, monkeypatch
):
    before = gc.get_threshold()
    call(capsys, "check", TWO_BITS)
    assert gc.get_threshold() == before
    monkeypatch.setattr(sys, "argv", ["fkdsl", "check", TWO_BITS])
    try:
        assert main() == 0
        assert gc.get_threshold()[0] == OBJECTS
    finally:
        gc.set_threshold(*before)


def test_two_thousand_particles_agree_with_exact(capsys):
    status, out, _ = call(capsys, "run", TWO_BITS, "--particles", "2000", "--json", "--seed", "4")
    found = {a["value"]: a["probability"] for a in json.loads(out)["posterior"]}
    assert status == 0
    # Five standard errors of a proportion.
    assert abs(found["00"] - 0.36) <= 5 * math.sqrt(0.36 * 0.64 / 2000)


def test_json_has_the_fields_of_the_docs(capsys):
    _, out, _ = call(capsys, "run", TWO_BITS, "--json", "--filtering")
    found = json.loads(out)
    assert set(found) == {
        "program", "method", "log_z", "log_z_se", "log_z_se_by", "log_z_bounds", "log_z_interval",
        "posterior", "particles", "queries", "ess", "steps", "seconds", "model_calls",
        "forwarded_tokens", "seed", "islands", "states", "notes", "filtering", "finished", "sole",
    }  # fmt: skip
    assert abs(sum(a["probability"] for a in found["posterior"]) - 1) <= 1e-12
    assert len(found["filtering"]) == 3


@pytest.mark.parametrize(
    "method", ["smc", "steer", "importance", "rejection", "alive", "pgibbs", "tempered", "exact"]
)
def test_every_method_runs(capsys, method):
    status, out, _ = call(capsys, "run", TWO_BITS, "--method", method)
    assert status == 0
    assert "log Z" in out


def test_an_option_that_is_true_or_false_is_written_so(capsys):
    status, out, _ = call(
        capsys, "run", TWO_BITS, "--method", "pgibbs", "--sweeps", "2", "--ancestors", "false"
    )
    assert status == 0
    assert "ancestors=false" in out
    status, _, err = call(capsys, "run", TWO_BITS, "--method", "pgibbs", "--ancestors", "no")
    assert status == 2
    assert "--ancestors takes true or false" in err


def test_the_table_is_on_stdout_and_filtering_shows_every_step(capsys):
    _, out, err = call(capsys, "exact", TWO_BITS, "--filtering")
    assert err == ""
    assert " 0.3600  ██████████  00" in out
    assert "P_1" in out


def test_parameters_are_read_by_their_types(capsys):
    _, out, _ = call(capsys, "exact", TWO_BITS, "-p", "n=1", "--json")
    assert {a["value"] for a in json.loads(out)["posterior"]} == {"0", "1"}


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["rnu", TWO_BITS], 2, "did you mean `run`"),
        (["run", "programs/two_bit.fk"], 2, "did you mean programs/two_bits.fk"),
        (["run", TWO_BITS, "-p", "m=3"], 2, "did you mean `n`"),
        (["run", TWO_BITS, "-p", "n=x"], 2, "takes an `int`"),
        (["run", TWO_BITS, "-p", "n"], 2, "write -p n="),
        (["run", TWO_BITS, "--method", "smcc"], 2, "did you mean `smc`"),
        (["run", TWO_BITS, "--factor", "3"], 2, "which has no option `factor`"),
        (["run", TWO_BITS, "--particles", "0"], 2, "between 1 and"),
        (["run", TWO_BITS, "--particles", "many"], 2, "takes a whole number"),
        (["run", TWO_BITS, "--program", "two_bit"], 2, "did you mean `two_bits`"),
        (["run", TWO_BITS, "--model", "smolm2"], 2, "did you mean `smollm2`"),
        (["run", TWO_BITS, "--cache-memory", "lots"], 2, "write 500M"),
        (["run", TWO_BITS, "--cache-memory", "infG"], 2, "write 500M"),
        (["exact", TWO_BITS, "--max-states", "2"], 3, "passed 2 states"),
        (["run", TWO_BITS, "--max-steps", "1"], 3, "after 1 steps"),
        (["run", TWO_BITS, "--timeout", "0"], 3, "time ran out"),
        (
            ["run", TWO_BITS, "--budget", "words=3"],
            2,
            "write --budget tokens=20000 or --budget seconds=30",
        ),
        (["run", TWO_BITS, "--budget", "tokens=many"], 2, "is no budget"),
        (["run", TWO_BITS, "--target-se", "-1"], 2, "above 0"),
        (["run", TWO_BITS, "--target-se", "0.1", "--islands", "4"], 2, "leave --islands out"),
        (["run", TWO_BITS, "--target-se", "0.1", "--method", "exact"], 2, "draws nothing"),
    ],
)
def test_a_wrong_call_says_what_to_try(capsys, args, status, message):
    found, out, err = call(capsys, *args)
    assert found == status
    assert message in err
    assert "help" in err or status == 2
    # A run that a bound has ended shows how far it came, and says first that this is no answer.
    assert out == "" or (status == 3 and out.startswith("unfinished: "))


HIDDEN = "programs/hidden_state.fk"


def test_a_run_prints_its_standard_error_and_by_what_it_was_found(capsys):
    _, out, _ = call(capsys, "run", HIDDEN)
    assert re.search(r"^log Z ~ -2\.\d{4} ± 0\.\d+ \(genealogy\)", out, re.MULTILINE)
    assert "note" not in out
    _, out, _ = call(capsys, "run", HIDDEN, "--resampling", "systematic")
    assert re.search(r"^log Z ~ -2\.\d{4} +Z ~", out, re.MULTILINE)
    assert "note: no standard error from one population under systematic resampling" in out
    _, out, _ = call(capsys, "run", HIDDEN, "--islands", "2", "--particles", "50")
    assert re.search(r"± \S+ \(islands; 95% in -\d+\.\d{4} to -?\d+\.\d{4}\)", out)
    assert "note: 2 islands are too few" in out


def test_a_target_and_a_budget_find_the_number_of_islands(capsys):
    status, out, _ = call(
        capsys,
        "run",
        HIDDEN,
        "--particles",
        "20",
        "--target-se",
        "0.1",
        "--budget",
        "seconds=60",
        "--json",
    )
    found = json.loads(out)
    assert (status, found["log_z_se_by"], found["notes"]) == (0, "islands", [])
    assert 0 < found["log_z_se"] <= 0.1
    assert found["islands"] > 4
    # A number alone counts tokens, of which the first island takes all.
    _, out, _ = call(
        capsys,
        "run",
        TWO_BITS,
        "--particles",
        "4",
        "--budget",
        "2",
        "--budget",
        "seconds=60",
        "--json",
    )
    assert json.loads(out)["islands"] == 1


def write(tmp_path, text):
    path = tmp_path / "p.fk"
    path.write_text(text)
    return str(path)


TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\n'


def test_a_dead_population_exits_3_naming_step_and_line(capsys, tmp_path):
    text = (
        TABLE + 'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    t ~ lm\n'
        '    condition contains(lm.text, "c")\n    return t\n'
    )
    for command in (["run"], ["run", "--method", "steer"], ["exact"]):
        status, out, err = call(capsys, command[0], write(tmp_path, text), *command[1:])
        assert (status, out) == (3, "")
        assert "step 2" in err
        assert 'line 8: condition contains(lm.text, "c")' in err
        assert "help" in err


def test_a_wrong_program_exits_1_with_every_mistake(capsys, tmp_path):
    text = "program p() -> int:\n    x ~ bernouli(0.5)\n    y = zz\n    return 1\n"
    status, out, err = call(capsys, "run", write(tmp_path, text))
    assert (status, out) == (1, "")
    assert "did you mean `bernoulli`" in err
    assert "zz" in err
    assert "2 errors" in err


def test_a_mistake_that_shows_as_it_runs_names_line_and_particle(capsys, tmp_path):
    text = "program p() -> float:\n    x ~ uniform_int(0, 1)\n    return 1 / x\n"
    status, _, err = call(capsys, "run", write(tmp_path, text))
    assert status == 1
    assert "FK401" in err
    assert "p.fk:3:12" in err
    assert "particle" in err


def test_extern_code_is_refused_until_it_is_allowed(capsys, tmp_path):
    (tmp_path / "critics.py").write_text("def score(text):\n    return -float(len(text))\n")
    text = TABLE + (
        'extern def score(text: str) -> float from "critics.py"\n\n'
        'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n'
        "    factor score(lm.text)\n    return lm.text\n"
    )
    path = write(tmp_path, text)
    status, _, err = call(capsys, "exact", path)
    assert status == 2
    assert "--allow-extern" in err
    status, out, _ = call(capsys, "exact", path, "--allow-extern", "--json")
    assert status == 0
    assert abs(json.loads(out)["log_z"] - -1.0) <= 1e-12


def test_check_prints_ok_or_every_mistake(capsys, tmp_path):
    status, out, err = call(capsys, "check", TWO_BITS, "programs/hidden_state.fk")
    assert status == 0
    assert out.splitlines() == [f"{TWO_BITS}: ok", "programs/hidden_state.fk: ok"]
    assert err == ""
    status, out, err = call(capsys, "check", write(tmp_path, "program p() -> int:\n    return x\n"))
    assert (status, out) == (1, "")
    assert "FK203" in err


def test_explain_shows_s0_and_each_step_with_its_lines(capsys):
    status, out, _ = call(capsys, "explain", "programs/short_words.fk")
    assert status == 0
    for part in ("s0", "M_t", "G_t", "t ~ lm", "condition all(letters(w)"):
        assert part in out


def test_models_lists_the_alias(capsys):
    status, out, _ = call(capsys, "models", "list")
    assert status == 0
    assert "smollm2" in out
    assert call(capsys, "models") == (0, out, "")


def test_version_and_help_exit_0():
    for flag in ("--version", "-h"):
        done = subprocess.run(
            [sys.executable, "-m", "fkdsl", flag], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert "fkdsl" in done.stdout


@pytest.mark.parametrize(
    "args", [["check", TWO_BITS], ["run", TWO_BITS], ["explain", "programs/haiku.fk"]]
)
def test_commands_without_a_transformer_do_not_import_torch(args):
    code = (
        "import sys; from fkdsl.cli.main import main; status = main(sys.argv[1:]); "
        "assert not {'torch', 'transformers'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_output_into_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m fkdsl exact {TWO_BITS} --filtering | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_callers_model_path_is_relative_to_the_caller_and_a_programs_to_the_program(
    capsys, tmp_path, monkeypatch
):
    inner = tmp_path / "programs"
    inner.mkdir()
    (tmp_path / "tables.fk").write_text('model t = table:\n    "" -> "x": 1.0\n')
    (inner / "own.fk").write_text('model t = table:\n    "" -> "y": 1.0\n')
    text = '\nprogram p() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'
    (inner / "p.fk").write_text('model "own.fk"\n' + text)
    monkeypatch.chdir(tmp_path)
    for args, value in (([], "y"), (["--model", "tables.fk"], "x")):
        status, out, err = call(capsys, "exact", "programs/p.fk", "--json", *args)
        assert status == 0, err
        assert json.loads(out)["posterior"][0]["value"] == value


def test_tempering_says_that_it_answers_another_question(capsys):
    call = ["run", TWO_BITS, "--method", "tempered"]
    assert main([*call, "--power", "2"]) == 0
    assert "are those of p ** 2, not of the program's own law" in capsys.readouterr().out
    assert main([*call, "--power", "1"]) == 0
    assert "own law" not in capsys.readouterr().out


def test_a_replayed_search_has_the_bounds_that_the_run_had(tmp_path, capsys):
    trace = str(tmp_path / "t.jsonl")
    limits = ["--gap", "0", "--max-states", "20", "--trace", trace]
    assert main(["run", "programs/hidden_state.fk", "--method", "exact", *limits]) == 0
    assert "log Z between -3.1055 and -2.7660" in capsys.readouterr().out
    assert main(["replay", trace]) == 0
    assert "log Z between -3.1055 and -2.7660" in capsys.readouterr().out

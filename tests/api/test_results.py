"""A result in Python's hands: asked by value, printed, drawn from; and what a dead run says of its
texts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import fkdsl
from fkdsl.cli.main import main
from fkdsl.cli.report import result_json
from fkdsl.inference.result import merged_answers

LISTS = """
program p() -> list[bool]:
    x ~ bernoulli(0.25)
    return [x]
"""
RECORDS = """
program p() -> record:
    x ~ bernoulli(0.25)
    return {"a": [1, x], "b": {"c": "d"}}
"""
DIES = """
model m = table:
    "" -> "a": 0.6, "b": 0.3, EOS: 0.1

program p() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 3:
        t ~ lm
        checkpoint
    condition len(lm.text) > 20
    return lm.text
"""


def test_a_list_a_tuple_and_a_dict_are_the_values_that_they_say():
    result = fkdsl.run(LISTS, "exact")
    assert result.probability([True]) == result.probability((True,)) == pytest.approx(0.25)
    records = fkdsl.run(RECORDS, "exact")
    for written in ({"a": [1, True], "b": {"c": "d"}}, {"b": {"c": "d"}, "a": (1, True)}):
        assert records.probability(written) == pytest.approx(0.25)
        assert written in records
    assert records.probability({"a": [1, 1], "b": {"c": "d"}}) == 0.0


def test_a_value_that_nothing_returned_is_told_from_one_of_another_type():
    result = fkdsl.run(LISTS, "exact")
    assert result.probability([True, True]) == 0.0
    assert [True, True] not in result
    with pytest.raises(
        fkdsl.CallError, match=r"no answer is of type bool: they are of type list(.|\n)*give a list"
    ):
        result.probability(True)


def test_a_result_prints_as_a_table_and_its_repr_stays():
    result = fkdsl.run(RECORDS, "exact")
    assert str(result).splitlines() == [
        ' 0.7500  {"a": [1, false], "b": {"c": "d"}}',
        ' 0.2500  {"a": [1, true], "b": {"c": "d"}}',
        "log Z 0.0000",
    ]
    assert repr(result).startswith("Result(program=")


def test_run_takes_a_text_a_file_and_a_program(tmp_path):
    path = tmp_path / "p.fk"
    path.write_text(LISTS)
    for program in (LISTS, str(path), path, fkdsl.load(path)):
        assert fkdsl.run(program, "exact").probability([True]) == pytest.approx(0.25)
    assert fkdsl.run(LISTS, particles=4).method == "smc"
    with pytest.raises(fkdsl.CallError, match="no program and no Feynman-Kac model"):
        fkdsl.run(3)
    with pytest.raises(fkdsl.ProgramError, match=r"error\[FK"):
        fkdsl.run("no program at all")


def test_dir_lists_what_is_offered():
    assert {"load", "parse", "run", "compare", "Program", "Result"} <= set(dir(fkdsl))


def test_samples_are_drawn_from_the_posterior_by_the_seed():
    result = fkdsl.run(LISTS, "exact")
    drawn = result.samples(2_000)
    assert drawn == result.samples(2_000)
    assert abs(drawn.count((True,)) / 2_000 - 0.25) <= 5 * (0.1875 / 2_000) ** 0.5


def run(capsys, path, *args):
    status = main(["run", str(path), *args])
    return status, capsys.readouterr()


@pytest.fixture
def lists(tmp_path) -> Path:
    path = tmp_path / "p.fk"
    path.write_text(LISTS)
    return path


def test_samples_are_printed_one_a_line(lists, capsys):
    status, told = run(capsys, lists, "--samples", "5")
    assert (status, len(told.out.splitlines())) == (0, 5)
    assert set(told.out.splitlines()) <= {"[true]", "[false]"}
    _, told = run(capsys, lists, "--samples", "5", "--json")
    assert len(json.loads(told.out)["samples"]) == 5
    status, told = run(capsys, lists, "--samples", "0")
    assert status == 2
    assert "--samples is between 1 and" in told.err
    _, told = run(capsys, lists, "--method", "rejection", "--samples", "6")
    assert "rejection(samples=6" in told.out


def test_a_text_of_several_lines_is_one_sample(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text('program p() -> str:\n    _x ~ bernoulli(0.5)\n    return "a\\nb"\n')
    _, told = run(capsys, path, "--samples", "2")
    assert told.out == '"a\\nb"\n' * 2


def test_a_dead_run_shows_the_likeliest_texts_that_died(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(DIES)
    status, told = run(capsys, path, "--particles", "8", "--no-opt")
    shown = re.findall(r"^  at step \d died \"([ab]{0,3})\"$", told.err, re.MULTILINE)
    assert status == 3
    assert 1 <= len(shown) <= 3
    assert len(set(shown)) == len(shown)
    with pytest.raises(fkdsl.PopulationDied) as died:
        fkdsl.parse(DIES).without().run(particles=8)
    assert {"step", "place", "text"} == set(died.value.details["texts"][0])
    assert "condition len(lm.text) > 20" in died.value.details["texts"][0]["place"]


def test_a_log_z_that_rounds_to_zero_has_no_sign():
    result = fkdsl.parse("program p() -> int:\n    x ~ bernoulli(0.5)\n    return 1\n").exact()
    assert str(replace(result, log_z=-1e-17)).endswith("log Z 0.0000")


def test_local_has_no_log_z_and_says_so():
    """It was 0 where a condition held half of the time, as if it always did."""
    program = fkdsl.parse(
        'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\nprogram p() -> str:\n'
        '    lm = prompt("")\n    t ~ lm\n    condition t == "a"\n    return lm.text\n'
    )
    local, smc = program.run("local", particles=4), program.run("smc", particles=4)
    assert local.estimated_log_z is None
    assert "no log Z: local forgets the mass" in str(local)
    assert "log Z 0.0000" not in str(local)
    assert smc.estimated_log_z == smc.log_z
    assert result_json(local)["log_z"] is None


def test_an_answer_and_a_result_become_json():
    result = fkdsl.parse(RECORDS).exact()
    value = fkdsl.plain(result.posterior[0].value)
    assert json.loads(json.dumps(value)) == {"a": [1, False], "b": {"c": "d"}}
    assert json.loads(json.dumps(fkdsl.result_json(result)))["posterior"][0]["value"] == value


def test_no_probability_is_above_one():
    """Weights that are rounded add up to a little more."""
    (answer,) = merged_answers([("a", 0.5), ("a", 0.5000000000000002)])
    assert answer.probability == 1.0

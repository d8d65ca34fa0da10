"""A run is one value: a RunRequest, checked once, that every way to run a program makes and hands
on."""

import dataclasses
import math

import pytest

import fkdsl
from fkdsl.api.request import RunRequest
from fkdsl.api.run import run
from fkdsl.base.errors import CallError
from fkdsl.cli.main import main
from fkdsl.inference.method import Method

TEXT = """
model m = table:
    "" -> "a": 0.4, "b": 0.3, EOS: 0.3
program p(n: int = 3) -> str:
    lm = prompt("", model=m)
    for i in range(n):
        if not lm.done:
            t ~ lm
            factor 0.1 if t == "a" else -0.2
    return lm.text
"""


@pytest.fixture
def checks(monkeypatch):
    """The settings that methods are asked to check, as they come."""
    settings = []
    checked = Method.checked

    def counted(self, given):
        settings.append((self.name, dict(given)))
        return checked(self, given)

    monkeypatch.setattr(Method, "checked", counted)
    return settings


@pytest.mark.parametrize(
    "flags",
    [
        ["run"],
        ["run", "--islands", "2"],
        ["run", "--blame", "--filtering"],
        ["run", "--draft", "ngram", "--no-hint"],
        ["run", "--trace", "t.jsonl"],
        ["run", "--target-se", "0.5"],
        ["exact"],
    ],
)
def test_the_options_of_a_run_are_checked_once(tmp_path, monkeypatch, checks, flags):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.fk").write_text(TEXT)
    assert main([flags[0], "p.fk", *flags[1:]]) == 0
    assert len(checks) == 1


def test_the_options_of_a_resumed_run_are_checked_once(tmp_path, checks):
    program = fkdsl.parse(TEXT)
    program.run("smc", particles=3, trace=tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_bytes(b"".join(lines[:3]))
    checks.clear()
    program.run("smc", particles=3, resume=tmp_path / "part.jsonl")
    assert checks == [("smc", {"particles": 3})]


def test_python_and_a_request_give_the_same_result():
    program = fkdsl.parse(TEXT)
    request = RunRequest.of(program(n=2), "smc", {"particles": 5}, seed=3, islands=2)
    result = run(request)
    other = program(n=2).run("smc", particles=5, seed=3, islands=2)
    assert (result.log_z, result.posterior) == (other.log_z, other.posterior)


def test_a_request_cannot_be_changed():
    request = RunRequest.of(fkdsl.parse(TEXT))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.seed = 1
    assert request.call.options["particles"] == 16


@pytest.mark.parametrize(
    ("method", "options", "told", "message"),
    [
        ("smcc", {}, {}, "no inference method `smcc`"),
        ("smc", {"particels": 3}, {}, "no option `particels`"),
        ("smc", {}, {"islands": 0}, "a run has 1 to 1,000,000 islands, not 0"),
        ("smc", {}, {"islands": 2_000_000_000}, "not 2000000000"),
        ("smc", {}, {"max_steps": -1}, "0 steps or more, not -1"),
        ("smc", {}, {"timeout": math.nan}, "a number of seconds from 0 on, not nan"),
        ("exact", {}, {"islands": 2}, "draws nothing"),
        ("exact", {"gap": 1.0}, {"filtering": True}, "level by level"),
        ("smc", {}, {"trace": "a.jsonl", "resume": "b.jsonl"}, "traced in the file"),
    ],
)
def test_what_is_wrong_with_a_call_shows_before_any_model_is_loaded(method, options, told, message):
    program = fkdsl.parse(TEXT)
    engines = program.engines("no/such-model-anywhere")
    with pytest.raises(CallError, match=message):
        RunRequest.of(program, method, options, engines=engines, **told)
    assert not len(engines)


ARGUMENTS = """
program p(n: int, x: float, yes: bool, s: str, xs: list[int]) -> str:
    return f"{n} {x} {yes} {s} {xs}"
"""


def test_parameters_may_be_numbers_of_numpy_columns_of_pandas_and_members_of_an_enum():
    import enum

    import numpy as np

    class Colour(enum.StrEnum):
        red = "red"

    pandas = pytest.importorskip("pandas", reason="pandas comes with the extra `notebook`")
    row = pandas.DataFrame({"n": [3], "x": [0.5], "yes": [True]}).iloc[0]
    program = fkdsl.parse(ARGUMENTS)(
        n=np.int64(row.n), x=np.float32(row.x), yes=np.bool_(row.yes), s=Colour.red,
        xs=np.array([1, 2]),
    )  # fmt: skip
    values = program.parameter_values()
    assert values == {"n": 3, "x": 0.5, "yes": True, "s": "red", "xs": (1, 2)}
    assert [type(v) for v in values.values()] == [int, float, bool, str, tuple]
    with pytest.raises(CallError, match="takes an `int`"):
        fkdsl.parse(ARGUMENTS)(n=np.float64(3.5))
    with pytest.raises(CallError, match="takes a `str`") as raised:
        fkdsl.parse(ARGUMENTS)(s={"type": "object"})  # a schema, say
    assert "json.dumps" in raised.value.help


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 3}, "`n` is a parameter of the program, and no option of its run"),
        ({"seed": "7"}, "a seed is a whole number, not '7'"),
        ({"model": 42}, "`model` is no language model: 42"),
        ({"timeout": "3"}, "a timeout is a number of seconds, not '3'"),
        ({"queries": ["value"]}, "`queries` are expressions by name"),
        ({"observer": 3}, "an observer is called with each step"),
    ],
)
def test_what_python_gives_of_another_kind_is_a_mistake_of_the_call(given, message):
    with pytest.raises(CallError) as raised:
        fkdsl.parse(TEXT).run("smc", **given)
    assert message in raised.value.message


def test_a_comparison_takes_its_methods_as_a_text_and_prints_a_table():
    compared = fkdsl.compare(fkdsl.parse(TEXT), "smc, exact", budget=10, runs=2)
    assert [row.method for row in compared.rows] == ["smc", "exact"]
    assert str(compared).splitlines()[0].split()[:3] == ["method", "particles", "satisfy"]

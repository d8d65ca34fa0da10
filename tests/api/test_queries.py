"""Queries: posterior expectations and quantiles of every run, exact ones against figures worked out
by hand."""

import json
import math

import pytest

import fkdsl
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.cli.main import main
from fkdsl.inference.assess.quantiles import quantile, quantile_se
from fkdsl.inference.result import Estimate

BITS = """model bits = table:
    ""  -> "0": 0.40, "1": 0.60
    "0" -> "0": 0.90, "1": 0.10
    "1" -> "0": 0.50, "1": 0.50

def ones(s: str) -> int:
    return count(s, "1")

program main(n: int = 2) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
    return lm.text

query first = starts_with(value, "1")
query number = ones(value)
query middle = median(ones(value))
query high = quantile(ones(value), 0.7)
"""
FIGURES = {"first": 0.6, "number": 0.94, "middle": 1.0, "high": 1.0}


def test_exact_queries_have_no_error():
    result = fkdsl.parse(BITS).exact(
        queries={"both": "ones(value) == 2", "share": "ones(value) / len(value)"}
    )
    for name, figure in {**FIGURES, "both": 0.3, "share": 0.47}.items():
        assert abs(result.queries[name].mean - figure) <= 1e-12
        assert result.queries[name].se == 0.0


@pytest.mark.parametrize("method", ["smc", "steer", "importance", "rejection"])
def test_every_method_answers_with_a_standard_error_that_covers(method):
    options = {"samples": 50} if method == "rejection" else {"particles": 50}
    result = fkdsl.parse(BITS).run(method, islands=8, seed=3, **options)
    for name in ("first", "number"):
        found = result.queries[name]
        assert 0.0 < found.se < 0.2
        assert abs(found.mean - FIGURES[name]) <= 6 * found.se
    assert result.queries["middle"].mean in (0.0, 1.0)
    assert result.queries["middle"].se is not None


def test_an_answer_that_all_particles_give_is_not_certain():
    queries = {"never": 'value == "01" and ones(value) > 1', "two": "len(value)"}
    sampled = fkdsl.parse(BITS).run("importance", particles=12, queries=queries)
    said = [n for n in sampled.notes if "same for all particles" in n]
    worth = "is the same for all particles, which are worth 12.0 draws"
    assert said == [
        f"`never` {worth}: the truth may be 0.25 away",
        f"`two` {worth}: no error is known",
    ]
    for result in (fkdsl.parse(BITS).exact(queries=queries), fkdsl.parse(BITS).run("local")):
        assert not any("same for all" in n for n in result.notes)


def test_an_answer_of_one_particle_alone_is_not_known():
    """A single draw says nothing of a probability: its interval is all of 0 to 1."""
    queries = {"never": 'value == "01" and ones(value) > 1', "two": "len(value)"}
    result = fkdsl.parse(BITS).run("importance", particles=1, queries=queries)
    assert result.queries["never"].interval == (0.0, 1.0)
    assert [n.split(",")[0] for n in result.notes if n.startswith("`")] == [
        f"`{name}` is known of one surviving particle alone"
        for name in ("first", "number", *queries)
    ]


def test_an_answer_that_a_condition_makes_certain_is_not_doubted():
    start = BITS.split("def ones")[0] + "program p(n: int = 2) -> str:\n" + '    lm = prompt("")\n'
    text = start + '    s ~ text(lm, max_tokens=n)\n    condition contains(s, "1")\n    return s\n'
    queries = {"one": 'contains(value, "1")', "none": 'value == "00"', "two": "len(value) < 3"}
    result = fkdsl.parse(text).run("importance", particles=8, seed=1, queries=queries)
    assert [n.split("`")[1] for n in result.notes if "same for all" in n] == ["two"]
    assert result.queries["one"].interval is None
    assert result.queries["two"].interval == pytest.approx((1.0 - 3.0 / result.ess, 1.0))
    branch = "    s = str(n)\n    if b:\n        s ~ text(lm, max_tokens=2)\n"
    text = start + "    b ~ bernoulli(0.999)\n" + branch + '        condition contains(s, "1")\n'
    result = fkdsl.parse(text + "    return s\n").run(
        "importance", particles=8, seed=1, queries={"one": 'contains(value, "1")'}
    )
    assert any("same for all" in n for n in result.notes)


def test_the_probability_of_a_field_that_is_no_event_is_refused():
    program = fkdsl.parse('program p() -> record:\n    return {"n": 4}\n')
    assert program.exact(queries={"c": "P(value.n > 2)"}).queries["c"].mean == 1.0
    assert program.exact(queries={"c": "E(value.n)"}).queries["c"].mean == 4.0
    with pytest.raises(fkdsl.ProgramError, match="expected a truth value inside `P`, found '4'"):
        program.exact(queries={"c": "P(value.n)"})


def test_one_population_of_local_answers_without_an_error():
    found = fkdsl.parse(BITS).run("local", particles=20).queries["first"]
    assert 0.0 <= found.mean <= 1.0


def test_texts_that_differ_in_their_tokens_only_are_one_answer():
    """ "ab" is spelt as one token or as two."""
    text = """model m = table:
    ""  -> "ab": 0.5, "a": 0.3, "b": 0.2
    "a" -> "b": 0.9, "a": 0.1
    "ab" -> EOS: 1
    "aa" -> EOS: 1
    "b" -> EOS: 1

program main() -> str:
    s ~ text(prompt(""), max_tokens=3)
    return s

query both = value == "ab"
"""
    program = fkdsl.parse(text)
    result = program.exact()
    assert [a.value for a in result.posterior] == ["ab", "b", "aa"]
    assert abs(result.probability("ab") - (0.5 + 0.27)) <= 1e-12
    assert abs(result.queries["both"].mean - 0.77) <= 1e-12
    sampled = program.run("importance", particles=40)
    assert len({a.value for a in sampled.posterior}) == len(sampled.posterior)
    assert abs(sampled.queries["both"].mean - sampled.probability("ab")) <= 1e-12


def test_extern_functions_may_be_asked(tmp_path):
    (tmp_path / "critic.py").write_text("def shout(s):\n    return s.count('1') * 2.5\n")
    text = BITS + 'extern def shout(s: str) -> float from "critic.py"\nquery loud = shout(value)\n'
    result = fkdsl.parse(text, folder=tmp_path, allow_extern=True).exact()
    assert abs(result.queries["loud"].mean - 2.35) <= 1e-12
    with pytest.raises(CallError, match="allow-extern"):
        fkdsl.parse(text, folder=tmp_path).exact()


def test_P_and_E_say_what_a_query_is_anyway():
    asked = {
        "p": 'value == "00"',
        "P": 'P(value == "00")',
        "e": "ones(value)",
        "E": "E(ones(value))",
    }
    found = fkdsl.parse(BITS).exact(queries=asked).queries
    assert found["P"] == found["p"]
    assert found["E"] == found["e"]


def test_a_median_of_the_files_own_is_a_function():
    text = BITS.replace("def ones", "def median(n: int) -> int:\n    return n + 10\n\ndef ones")
    assert abs(fkdsl.parse(text).exact().queries["middle"].mean - 10.94) <= 1e-12


@pytest.mark.parametrize(
    ("query", "code", "column"),
    [
        ("conut(value)", "FK204", 1),
        ("upper(value)", "FK345", 1),
        ("1 + median(1)", "FK348", 5),
        ("quantile(ones(value), 2.0)", "FK348", 1),
        ("value ==", "FK120", 8),
        ("logprob(prompt(value), value)", "FK347", 1),
        ("vlaue == 1", "FK203", 1),
        ("(" * 150, "FK109", 101),
    ],
)
def test_a_mistake_in_a_query_points_at_its_text(query, code, column):
    with pytest.raises(ProgramError) as error:
        fkdsl.parse(BITS).exact(queries={"q": query})
    d = error.value.diagnostics[0]
    assert (d.code, d.span.source.name, d.span.line, d.span.column) == (code, "query q", 1, column)


def test_a_query_of_a_name_that_the_file_has_is_a_mistake():
    with pytest.raises(ProgramError, match="FK346"):
        fkdsl.parse(BITS).exact(queries={"first": "1"})


def test_a_query_without_a_value_is_a_mistake_at_its_line():
    with pytest.raises(ProgramError) as error:
        fkdsl.parse(BITS + "query last = int(value[5])\n").exact()
    d = error.value.diagnostics[0]
    assert (d.code, d.span.line) == ("FK406", 19)
    assert "returned value is" in d.notes[0]
    assert error.value.result.probability("00") == pytest.approx(0.36)
    with pytest.raises(ProgramError, match="FK408"):
        fkdsl.parse(BITS).exact(queries={"q": 'parse_json("[1]")'})


def test_quantiles_are_the_lowest_values_that_reach_their_level():
    y, w = [2.0, 0.0, 1.0], [0.25, 0.5, 0.25]
    assert [quantile(y, w, level) for level in (0.01, 0.5, 0.51, 0.75, 0.76, 1.0)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    assert quantile([0.1 * i for i in range(10)], [0.1] * 10, 0.3) == 0.1 * 2


def test_the_error_of_a_quantile_is_that_of_its_level_carried_over():
    """Independent draws of a uniform: the median's standard deviation is 1 / (2 sqrt(n))."""
    n = 400
    y, w = [(i + 0.5) / n for i in range(n)], [1 / n] * n
    se = quantile_se(y, w, 0.5, lambda f: math.sqrt(f.mean() * (1 - f.mean()) / n))
    assert abs(se - 0.5 / math.sqrt(n)) <= 2.0 / n
    assert quantile_se(y, w, 0.5, lambda f: None) is None
    assert Estimate(0.5, None).se is None


def test_a_query_without_a_value_leaves_the_answer(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(BITS + "query last = int(value[5])\n")
    assert main(["exact", str(path), "--query", "n=len(value)"]) == 1
    out, err = capsys.readouterr()
    assert "0.3600" in out
    assert "n      = 2" in out
    assert "FK406" in err
    assert main(["exact", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["log_z"] == pytest.approx(0.0)

"""What each name in a program stands for, and new names for what it declares."""

from pathlib import Path

import pytest

from fkdsl.base.diagnostics import edited
from fkdsl.base.errors import CallError
from fkdsl.base.spans import Source
from fkdsl.language.check.checker import survey
from fkdsl.language.navigation.occurrences import index_of
from fkdsl.language.navigation.renaming import renamed
from fkdsl.language.syntax.parser import parse_around_mistakes

PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.fk"))
TEXT = """\
model toy = table:
    "" -> "a": 1

def f(x: int, k: int = 2) -> int:
    y = [x for x in range(k)]
    return x + len(y)

program main(n: int = 1) -> int:
    lm = prompt("", model=toy)
    a ~ uniform_int(1, n)
    b = f"{f(a, k=n)}"
    return len(b) + lm.tokens

query big = value > 1
infer smc(particles=8)
test "t" with model=toy, n=2:
    expect P(value == 1) <= 1
"""


def read(text, name="a.fk"):
    source = Source(name, text)
    found = survey(parse_around_mistakes(source))
    return found, index_of(found), source


def meaning(text):
    """(text, kind, home without its offset) of each name, in order."""
    _, index, source = read(text)
    return [
        (o.span.text, o.symbol.kind, o.symbol.home.partition(":")[0], ":" in o.symbol.home)
        for o in index.inside(source)
    ]


def test_each_name_is_found_with_what_it_stands_for():
    found = meaning(TEXT)
    for expected in [
        ("toy", "model", "", False),
        ("f", "function", "", False),
        ("k", "variable", "f", False),
        ("main", "program", "", False),
        ("n", "variable", "main", False),
        ("tokens", "attribute", "", False),
        ("uniform_int", "builtin", "", False),
        ("big", "query", "", False),
        ("value", "figure", "", False),
        ("smc", "method", "", False),
        ("particles", "option", "smc", False),
        ("P", "figure", "", False),
    ]:
        assert expected in found
    # Once where it is declared, by `model=` twice; k: declared, read, and by its name in a call.
    assert found.count(("toy", "model", "", False)) == 3
    assert found.count(("k", "variable", "f", False)) == 3
    # n: declared, read twice, and set by the test.
    assert found.count(("n", "variable", "main", False)) == 4


def test_a_comprehension_has_variables_of_its_own():
    found = [m for m in meaning(TEXT) if m[0] == "x"]
    assert [inner for *_, inner in found] == [False, True, True, False]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_every_occurrence_stands_where_its_name_is_written(path):
    source = Source(str(path), path.read_text("utf-8"))
    index = index_of(survey(parse_around_mistakes(source), path.parent))
    for o in index.inside(source):
        assert o.span.text == o.symbol.name
        assert index.at(source, o.span.start).symbol == o.symbol


def test_names_in_a_line_that_cannot_be_read_are_guessed():
    _, index, source = read("program p(n: int) -> int:\n    m = n n\n    return m + text(n\n")
    loose = [(o.span.text, o.symbol.kind) for o in index.inside(source) if o.loose]
    assert ("n", "variable") in loose
    assert ("m", "variable") in loose


def rename(text, name, new, at=0):
    found, index, source = read(text)
    places = [o for o in index.inside(source) if o.symbol.name == name]
    return edited(text, renamed(places[at].symbol, new, [(found, index)]))


def test_a_parameter_is_renamed_in_calls_and_tests_too():
    assert "f(a, count=n)" in rename(TEXT, "k", "count")
    neat = rename(TEXT, "n", "number")
    assert "main(number: int" in neat
    assert "model=toy, number=2" in neat
    assert "k=number" in neat
    assert rename(rename(TEXT, "toy", "m"), "m", "toy") == TEXT


@pytest.mark.parametrize(
    ("name", "new", "why"),
    [
        ("a", "b", "has a variable `b` already"),
        ("a", "while", "reserved word"),
        ("a", "1a", "no name"),
        ("f", "main", "already"),
        ("f", "text", "function of the language"),
        ("f", "P", "function of the language"),
        ("smc", "steer", "belongs to the language"),
        ("tokens", "length", "belongs to the language"),
    ],
)
def test_a_name_that_would_clash_is_refused(name, new, why):
    with pytest.raises(CallError, match=why):
        rename(TEXT, name, new)


def test_a_name_in_a_line_that_cannot_be_read_is_not_renamed():
    with pytest.raises(CallError, match="cannot be read"):
        rename(TEXT.replace("lm.tokens", "lm.tokens b ="), "b", "c")

"""`text(lm, until=[...])`: which of several stops ends a text, what stays in the context, and which
lists are none."""

import json
import math

import pytest

import fkdsl

TABLE = """
model m = table:
    "" -> "a": 0.4, "b": 0.3, "ab": 0.1, "b\\n": 0.1, EOS: 0.1
    "b" -> "a": 0.5, "\\n": 0.3, "ba\\n": 0.2
"""
ROWS = {
    "": {"a": 0.4, "b": 0.3, "ab": 0.1, "b\n": 0.1, None: 0.1},
    "b": {"a": 0.5, "\n": 0.3, "ba\n": 0.2},
}


def texts(stops, n):
    """{(s, the context's text): probability}: every sequence of at most n tokens, cut by hand."""
    found, going = {}, {"": 1.0}
    for _ in range(n):
        after = {}
        for text, p in going.items():
            row = ROWS["b" if text.endswith("b") else ""]
            for token, q in row.items():
                whole = text + (token or "")
                places = [
                    i
                    for i in range(len(whole))
                    if any(whole[i:].startswith(stop) for stop in stops)
                ]
                if token is None or places:
                    key = whole[: min(places)] if places else whole, whole
                    found[key] = found.get(key, 0.0) + p * q
                else:
                    after[whole] = after.get(whole, 0.0) + p * q
        going = after
    for text, p in going.items():
        found[text, text] = found.get((text, text), 0.0) + p
    return found


def program(until, before="", condition="true", given="p()"):
    return (
        f'{TABLE}\nprogram {given} -> list[str]:\n    lm = prompt("")\n{before}'
        f"    s ~ text(lm, until={until}, max_tokens=3)\n    condition {condition}\n"
        "    return [s, lm.text]\n"
    )


def assert_law(source, law, **given):
    mass = sum(law.values())
    for variant in (fkdsl.parse(source)(**given), fkdsl.parse(source)(**given).without()):
        result = variant.exact()
        assert result.log_z == pytest.approx(math.log(mass), abs=1e-12)
        found = {tuple(answer.value): answer.probability for answer in result.posterior}
        assert found == pytest.approx({key: p / mass for key, p in law.items() if p > 0}, abs=1e-12)


STOPS = [
    ["\n"],
    ["\n", "ba"],
    ["ab", "b\n"],
    ["bb", "a"],
    ["aba", "bba", "\n"],
    ["b", "aba"],
    ["ba", "b", "b"],
]


@pytest.mark.parametrize("stops", STOPS, ids=json.dumps)
def test_the_stop_that_begins_first_ends_the_text_and_the_token_stays_in_the_context(stops):
    assert_law(program(json.dumps(stops)), texts(stops, 3))


@pytest.mark.parametrize("stops", STOPS, ids=json.dumps)
@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('matches(s, "a.?.?")', lambda s: s[:1] == "a" and len(s) <= 3 and "\n" not in s[1:]),
        ('not contains(s, "bb") and len(s) > 0', lambda s: "bb" not in s and s != ""),
        ('s in ["", "a", "aa"]', lambda s: s in ("", "a", "aa")),
    ],
)
def test_a_condition_on_a_text_with_several_stops_keeps_those_that_it_holds_of(
    stops, condition, holds
):
    law = {(s, whole): p for (s, whole), p in texts(stops, 3).items() if holds(s)}
    source = program(json.dumps(stops), condition=condition)
    if law:
        assert_law(source, law)
    else:
        with pytest.raises(fkdsl.ProgramError, match="FK502"):
            fkdsl.parse(source).exact()


def test_a_computed_list_and_a_parameter_are_stops_like_a_written_one():
    law = texts(["\n", "ba"], 3)
    computed = '    n ~ uniform_int(1, 1)\n    ends = ["\\n"] * n + ["b" + "a"]\n'
    assert_law(program("ends", before=computed), law)
    assert_law(program("ends", given='p(ends: list[str] = ["x"])'), law, ends=["\n", "ba"])


def test_a_token_is_a_stop_by_its_text():
    source = program(
        "[t, t]", before='    other = prompt("")\n    t ~ other\n    condition t == "b"\n'
    )
    assert_law(source, {key: 0.3 * p for key, p in texts(["b"], 3).items()})


@pytest.mark.parametrize("given", [[], ["\n", ""]])
def test_a_computed_list_that_holds_no_stop_is_a_mistake_at_the_users_line(given):
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(program("ends", given="p(ends: list[str])"))(ends=given).run(particles=2)
    (found,) = error.value.diagnostics
    assert (found.code, found.span.text) == ("FK412", "s ~ text(lm, until=ends, max_tokens=3)")


@pytest.mark.parametrize("draw", ["text(lm, max_tokens=n)", "word(lm, max_tokens=n - 1 + 1)"])
def test_a_text_of_fewer_than_no_tokens_is_a_mistake_at_the_users_line(draw):
    head = 'model m = table:\n    "" -> "a": 0.5, ".": 0.5\n\nprogram p(n: int) -> str:\n'
    body = f'    lm = prompt("")\n    s ~ {draw}\n    return s\n'
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(head + body)(n=-1).run(particles=2)
    (found,) = error.value.diagnostics
    assert (found.code, found.span.text) == ("FK402", f"s ~ {draw}")
    assert "max_tokens=-1" in found.message
    (answer,) = fkdsl.parse(head + body)(n=0).run(particles=2).posterior
    assert answer.value == ""


def test_a_stop_that_is_no_text_is_a_mistake():
    source = program("ends", before='    ends = parse_json("[1]")\n')
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(source).run(particles=2)
    assert {d.code for d in error.value.diagnostics} == {"FK412"}


def test_a_text_that_must_hold_one_of_its_stops_is_known_not_to_exist():
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(program('["\\n", "b"]', condition='contains(s, "b")')).exact()
    (found,) = error.value.diagnostics
    assert found.code == "FK502"
    assert found.notes == ("the text of line 8 ends before '\\n' or 'b'",)


def test_a_guided_text_with_several_stops_loses_no_particle():
    source = program('["\\n", "ba"]', condition='matches(s, "a+")')
    for seed in range(10):
        assert (
            fkdsl.parse(source)
            .run("importance", particles=4, seed=seed)
            .particles[0]
            .value[0]
            .strip("a")
            == ""
        )

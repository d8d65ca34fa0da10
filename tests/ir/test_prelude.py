"""Passes know the prelude's `text` by its mark in the ir, not by what its locals are called."""

import re
from dataclasses import replace

import pytest

import fkdsl
from fkdsl.ir import nodes as ir
from fkdsl.ir.printed import explain
from fkdsl.language.lower import prelude
from fkdsl.testing import assert_same_measure

TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.3, EOS: 0.2\n\n'
GUIDED = TABLE + (
    'program main() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=4)\n'
    '    condition starts_with(s, "ab") and len(words(s)) <= 2\n    return s\n'
)


def renamed(source, *names):
    """The prelude's text with locals and parameters renamed."""
    for name in names:
        source = replace(source, text=re.sub(rf"\b{name}\b(?![(=])", f"{name}_", source.text))
    return source


@pytest.mark.parametrize("names", [("stop",), ("ends",), ("s",), ("lm", "t", "start")])
def test_locals_of_the_prelude_may_be_renamed(monkeypatch, names):
    written = fkdsl.run(GUIDED, "exact")
    source = renamed(prelude.prelude_source(), *names)
    assert source != prelude.prelude_source()
    monkeypatch.setattr(prelude, "prelude_source", lambda: source)
    prelude.prelude.cache_clear()
    try:
        program = fkdsl.parse(GUIDED)
        result = fkdsl.run(program, "exact")
    finally:
        prelude.prelude.cache_clear()
    (draw,) = [i for f in program.ir().functions.values() for i in f.body if isinstance(i, ir.Draw)]
    assert draw.plan.completion is not None
    assert result.log_z == written.log_z


@pytest.mark.parametrize("of", ["a ** 0.5", "a * b", "mixture([a, b], weights=[0.3, 0.7])"])
def test_a_text_of_a_combination_is_the_loop_that_draws_it(of):
    """By hand: a loop of draws. Also where the combination is a variable, and a parameter of a
    function; and with a condition, which guides it."""
    start = (
        'model m = table:\n    "" -> "a": 0.5, "b": 0.3, EOS: 0.2\n'
        '    "a" -> "a": 0.1, "b": 0.5, ".": 0.4\n\n'
        "def drawn(d: dist[token]) -> str:\n"
        '    s ~ text(d, until=".", max_tokens=3, closed=true)\n    return s\n\n'
        'program p() -> list[str]:\n    a = prompt("")\n    b = prompt("a")\n'
    )
    end = "    condition len(s) != 1\n    return [s, a.text, b.text]\n"
    by_hand = (
        '    while not a.done and a.tokens < 3 and not contains(a.text, "."):\n'
        f"        t ~ {of}\n"
        '    condition a.done or contains(a.text, ".")\n    s = split(a.text, ".")[0]\n'
    )
    expected = fkdsl.parse(start + by_hand + end)
    for line in (
        f's ~ text({of}, until=".", max_tokens=3, closed=true)',
        f'd = {of}\n    s ~ text(lm=d, until=".", max_tokens=3, closed=true)',
        f"s ~ drawn({of})",
    ):
        program = fkdsl.parse(f"{start}    {line}\n{end}")
        assert_same_measure(program, expected)
        assert_same_measure(program.without(), expected)
        drawn = [i for f in program.ir().functions.values() for i in f.body if hasattr(i, "plan")]
        assert any(i.plan is not None and i.plan.completion is not None for i in drawn)


@pytest.mark.parametrize("of", ["lm ** 0.5", "lm * fork(lm)"])
def test_explain_says_that_surrogates_look_ahead_in_texts_of_one_context_alone(of):
    assert "a surrogate of the model" in explain(fkdsl.parse(GUIDED).ir())
    combined = explain(fkdsl.parse(GUIDED.replace("text(lm", f"text({of}")).ir())
    assert "looking ahead to" in combined
    assert "surrogate" not in combined

"""Passes know the prelude's `text` by its mark in the ir, not by what its locals are called."""

import re
from dataclasses import replace

import pytest

import fkdsl
from fkdsl.ir import nodes as ir
from fkdsl.language.lower import prelude

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

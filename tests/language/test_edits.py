"""The one thing to try as a change of the text: it makes the mistake go away, and no other come."""

import re
from pathlib import Path

import pytest

from fkdsl.base.diagnostics import edited
from fkdsl.base.errors import ProgramError
from fkdsl.base.spans import Source
from fkdsl.language.check.checker import survey
from fkdsl.language.syntax.parser import parse_around_mistakes

PAGES = sorted((Path(__file__).parents[2] / "docs/errors").glob("FK*.md"))
BAD = {
    path.stem: re.search(r"^```fk bad\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
    for path in PAGES
}
HAVE_EDITS = {
    "FK103", "FK111", "FK122", "FK123", "FK125", "FK128", "FK203", "FK204", "FK206", "FK210",
    "FK211", "FK212", "FK214", "FK216", "FK217", "FK218", "FK219", "FK220", "FK224", "FK311",
    "FK340", "FK341", "FK503", "FK504",
}  # fmt: skip
"""The codes whose page has an example with an edit."""


def mistakes(text):
    try:
        return survey(
            parse_around_mistakes(Source("a.fk", text)), Path(__file__).parent
        ).diagnostics
    except ProgramError as error:
        return error.diagnostics


@pytest.mark.parametrize("code", BAD)
def test_an_edit_of_a_pages_example_removes_its_mistake(code):
    text = BAD[code][1] if BAD[code] else ""
    found = [d for d in mistakes(text) if d.edits]
    assert (code in {d.code for d in found}) == (code in HAVE_EDITS)
    for d in found:
        after = mistakes(edited(text, d.edits))
        assert (d.code, d.message) not in {(x.code, x.message) for x in after}
        assert not [x for x in after if x.severity == "error" and x.code != d.code]


PAIRS = [
    # the text
    ("FK103", "return [1)", "return [1]"),
    ("FK103", "return 1)", "return 1"),
    ("FK104", "return n > 1 && n < 3", "return n > 1  and  n < 3"),
    ("FK104", "return n > 1 | n < 3", "return n > 1  or  n < 3"),
    ("FK104", "return !(n > 1)", "return not (n > 1)"),
    ("FK104", "return n$", "return n"),
    ("FK111", r'return "a\d"', r'return "a\\d"'),
    ("FK112", 'return f"a}"', 'return f"a}}"'),
    ("FK112", r'return rf"\d{4}"', r'return rf"\d{{4}}"'),
    ("FK112", "return f'{\"a\": 1}'", "return f'{{\"a\": 1}}'"),
    ("FK120", "x <- bernoulli(0.5)\n    return x", "x ~ bernoulli(0.5)\n    return x"),
    ("FK120", "while true:\n        break:\n    return 1",
     "while true:\n        break\n    return 1"),
    ("FK120", "if n > 1:\n        ...\n    return 1", "if n > 1:\n        pass\n    return 1"),
    ("FK122", "if n > 1\n        n = 2\n    return n", "if n > 1:\n        n = 2\n    return n"),
    ("FK122", "if n > 1  # one\n        n = 2\n    return n",
     "if n > 1:  # one\n        n = 2\n    return n"),
    ("FK123", "if n = 1:\n        n = 2\n    return n", "if n == 1:\n        n = 2\n    return n"),
    ("FK123", "observe true = bernoulli(0.5)\n    return 1",
     "observe true ~ bernoulli(0.5)\n    return 1"),
    ("FK125", "if n > 1:\n        n = 2\n    else if n > 0:\n        n = 3\n    return n",
     "if n > 1:\n        n = 2\n    elif n > 0:\n        n = 3\n    return n"),
    ("FK125", "int m = 2\n    return m", "m: int = 2\n    return m"),
    ("FK104", "n++\n    return n", "n += 1\n    return n"),
    ("FK124", 'return {first: n, "second": n}', 'return {"first": n, "second": n}'),
    ("FK125", "retrun n", "return n"),
    ("FK128", 'return "a".upper()', 'return upper("a")'),
    ("FK128", 'return "ab".startswith("a")', 'return starts_with("ab", "a")'),
    # names, types and calls
    ("FK203", "return True", "return true"),
    ("FK203", "return f\"{nn}\"", "return f\"{n}\""),
    ("FK206", "x ~ normal(mean=0.0, sdd=1.0)\n    return x",
     "x ~ normal(mean=0.0, sd=1.0)\n    return x"),
    ("FK210", 'return join(", ", ["a"])', 'return join(["a"], ", ")'),
    ("FK211", 'return "a" + n', 'return "a" + str(n)'),
    ("FK211", 'return n + 1 + "a"', 'return str(n + 1) + "a"'),
    ("FK212", "condition n\n    return n", "condition n != 0\n    return n"),
    ("FK212", "condition [n]\n    return n", "condition len([n]) > 0\n    return n"),
    ("FK212", "condition n + 1\n    return n", None),
    ("FK214", "x = 0  # zero\n    x = 0.5\n    return x",
     "x = 0.0  # zero\n    x = 0.5\n    return x"),
    ("FK216", 'lm = prompt("")\n    s = text(lm)\n    return s',
     'lm = prompt("")\n    s ~ text(lm)\n    return s'),
    ("FK217", "x ~ twice(n)\n    return x", "x = twice(n)\n    return x"),
    ("FK219", 'lm = prompt("")\n    return lm.txt', 'lm = prompt("")\n    return lm.text'),
    ("FK219", 'lm = prompt("")\n    t ~ lm\n    return t.text',
     'lm = prompt("")\n    t ~ lm\n    return t'),
    ("FK220", "for i in n:\n        pass\n    return n",
     "for i in range(n):\n        pass\n    return n"),
    ("FK311", "x ~ bernoulli(0.5)\n    return n", "_x ~ bernoulli(0.5)\n    return n"),
]  # fmt: skip
HEAD = "def twice(k: int) -> int:\n    return k * 2\n\nprogram p(n: int = 2):\n    "


@pytest.mark.parametrize(("code", "bad", "good"), PAIRS)
def test_an_edit_writes_what_the_help_says(code, bad, good):
    (found,) = [d for d in mistakes(HEAD + bad + "\n") if d.code == code]
    if good is None:
        assert not found.edits
        return
    assert edited(HEAD + bad + "\n", found.edits) == HEAD + good + "\n"
    assert not mistakes(HEAD + good + "\n")


WHOLE = [
    ("FK120", 'model = "tiny"', 'model  "tiny"'),
    ("FK120", "program p:\n    return 1", "program p():\n    return 1"),
    ("FK224", "model toy = table:\n    \"\" -> \"a\": 1\nmodel b = bytes(tooy)\n",
     "model toy = table:\n    \"\" -> \"a\": 1\nmodel b = bytes(toy)\n"),
    ("FK340", "def f():\n    return 1\ninfer smcc()", "def f():\n    return 1\ninfer smc()"),
    ("FK342", 'def f():\n    return 1\ninfer smc(resampling="sytematic")',
     'def f():\n    return 1\ninfer smc(resampling="systematic")'),
    ("FK349", 'program p(count: int = 1):\n    return 1\ntest "t" with cont=2:\n    expect Z == 1',
     'program p(count: int = 1):\n    return 1\ntest "t" with count=2:\n    expect Z == 1'),
]  # fmt: skip


@pytest.mark.parametrize(("code", "bad", "good"), WHOLE)
def test_an_edit_of_a_declaration_writes_what_the_help_says(code, bad, good):
    (found,) = [d for d in mistakes(bad) if d.code == code]
    assert edited(bad, found.edits) == good
    assert code not in {d.code for d in mistakes(good)}


def test_no_name_of_the_optimisers_own_is_offered():
    (found,) = mistakes('program p(s: str) -> bool:\n    return jsn(s) == ""\n')
    assert "`." not in found.help

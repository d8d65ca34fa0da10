"""What somebody who knows Python types first, and what he is told: each message says what to
write."""

import pytest

from fkdsl.base.errors import ProgramError
from fkdsl.base.rendering import render
from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source

BODY = (
    'program p() -> str:\n    lm = prompt("")\n    keys = ["a", "b"]\n    s ~ text(lm)\n    {}\n'
    "    return s\n"
)


def diagnostics(text, tmp_path):
    try:
        return check_source(Source("a.fk", text), tmp_path).warnings
    except ProgramError as error:
        return sorted(error.diagnostics, key=lambda d: d.span.start)


MISTAKES = {
    "try:\n        x = 1\n    except ValueError:\n        x = 2": (
        "FK125",
        "nothing is caught here",
    ),
    "import re": ("FK129", "matching is built in"),
    "from math import sqrt": ("FK129", "`log`, `exp`, `sqrt`"),
    "import numpy as np": ("FK129", "extern def"),
    "x = lm.done()": ("FK128", "write `lm.done`, without brackets"),
    "keys.append(s)": ("FK128", "write `keys += [s]`"),
    "x = s.strip()": ("FK128", "write `strip(s)`"),
    'x = s.startswith("a")': ("FK128", 'write `starts_with(s, "a")`'),
    'x = ", ".join(keys)': ("FK128", 'write `join(keys, ", ")`'),
    'x = join(", ", keys)': ("FK210", 'write `join(keys, ", ")`'),
    'x = re.match(r"a+", s)': ("FK128", 'write `matches(s, r"a+")`'),
    "x = math.sqrt(2.0)": ("FK128", "write `sqrt(2.0)`"),
    "x = f'{\"name\": 1}'": ("FK112", "write `{{` and `}}`"),
    'x = matches(s, rf"\\d{4}")': ("FK112", "write `{{4}}`"),
    'x = b"bytes"': ("FK113", 'write "..."'),
    "x <- text(lm)": ("FK120", "write `x ~ text(lm)`"),
    "x = 1, 2": ("FK120", "`[a, b]`"),
    "x = (1, 2)": ("FK120", "`[a, b]`"),
    "x = {1, 2}": ("FK120", "write a list"),
    "x = keys[::2]": ("FK120", "`xs[a:b]`"),
    "x = max(*keys)": ("FK120", "give each argument by itself"),
    'print "hello"': ("FK125", "return the value"),
    "int x = 3": ("FK125", "write `x: int = ...`"),
    "let x = 3": ("FK125", "write `x = ...`"),
    "assert len(s) > 3": ("FK125", "write `condition`"),
    "x = lambda y: y": ("FK125", "write a `def`"),
    'x = "%d" % 3': ("FK211", 'write f"... {x} ..."'),
    "x = 3 if len(s) > 2": ("FK120", "write `a if test else b`"),
    'x = prompt "sea"': ("FK120", 'prompt("sea")'),
    "x = s.length": ("FK219", "`len(s)`"),
    "condition s > 5": ("FK211", 'matches(s, r"[0-9]+") and int(s)'),
    'condition len(s) < "5"': ("FK211", "write the number 5, without quotes"),
    's ~ text(lm, stop="a")': ("FK206", "write `until=...`"),
    "s ~ text(lm, max_new_tokens=5)": ("FK206", "write `max_tokens=...`"),
    "x: string = s": ("FK120", "write `str`"),
    'x: dict = {"a": s}': ("FK120", "write `record`"),
    "x: bol = true": ("FK120", "write `bool`"),
    "condition 5 < s": ("FK211", 'matches(s, r"[0-9]+") and int(s)'),
    's ~ text(lm, until="a" or "b")': ("FK212", '`["a", "b"]`'),
    'condition s == "a" or "b" or "c"': ("FK212", 'write `s in ["a", "b", "c"]`'),
    'condition s != "a" and "b"': ("FK212", 'write `s not in ["a", "b"]`'),
    'condition regex(s, "a+")': ("FK204", 'write `matches(s, r"...")`'),
    "weight 0.5": ("FK125", "write `factor log(x)`"),
    "observe s == 7": ("FK120", "`condition ...`"),
    "x: [int] = keys": ("FK120", "write `list[str]`"),
    "x: {a: int} = keys": ("FK120", "write `record`"),
    'x = prompt("sea", 3)': ("FK208", 'or with images: `prompt("A photo of", photo, ":")`'),
    'x = chat("sea", image="cat.png")': ("FK206", 'or with images: `chat("A photo of", photo'),
    "condition: len(s) > 3": ("FK120", "leave it out"),
    "x = s is none": ("FK125", "write `==`"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_pythons_mistake_is_told_what_to_write(line, tmp_path):
    found = diagnostics(BODY.replace("{}", line), tmp_path)
    code, advice = MISTAKES[line]
    assert {d.code for d in found} == {code}, [render(d) for d in found]
    assert advice in found[0].help
    assert found[0].span.line == 5


TOP = {
    "MAX = 5": ("FK126", "program main(MAX = ...)"),
    'model = "smollm2"': ("FK120", 'write `model "smollm2"`'),
    "program main:\n    return 1": ("FK120", "write `main()`"),
    "import json": ("FK129", "`parse_json` and `valid_json`"),
}


@pytest.mark.parametrize("line", TOP)
def test_a_mistake_at_the_top_of_a_file_is_told_what_to_write(line, tmp_path):
    (found,) = diagnostics(f"{line}\n\nprogram p() -> int:\n    return 1\n", tmp_path)
    code, advice = TOP[line]
    assert (found.code, found.span.line) == (code, 1)
    assert advice in found.help


@pytest.mark.parametrize(
    ("said", "meant"),
    [("List[int]", "list[int]"), ("Tuple[float]", "list[float]"), ("Dist[int]", "dist[int]")],
)
def test_the_type_of_items_is_kept_in_advice_on_a_type(said, meant, tmp_path):
    text = f"def f(x: {said}) -> {meant}:\n    return x\n\nprogram p() -> int:\n    return 1\n"
    (found,) = diagnostics(text, tmp_path)
    assert (found.code, found.help) == ("FK120", f"write `{meant}`")


def test_methods_and_drafts_of_another_language_have_golden_messages(tmp_path):
    found = diagnostics(BODY.replace("{}", "x = s.strip()"), tmp_path)
    assert render(found[0]) == (
        "error[FK128]: there are no methods, such as `.strip(...)`\n"
        "  --> a.fk:5:10\n"
        " 5 |     x = s.strip()\n"
        "   |          ^^^^^^ called here\n"
        "   = help: write `strip(s)`"
    )


ALL = """import re
MAX = 5
model m = table:
    "" -> "a": 0.5, "b": 0.5
    "a" -> "b" 1.0

def f(x: int) -> int
    y = x +
    return y + unknown_one

program p() -> str:
    lm = prompt("")
    if lm.done
        u = (1
        v = 3
    elif lm.tokens = 2:
        v = 4
    else:
        v = MAX
    z = f(v) + unknown_two
    w = lm.colour
      q = 3
    x ~ bernouli(0.5)
    return lm.text; x
"""


def test_every_mistake_of_a_file_is_told_at_once_and_nothing_else(tmp_path):
    found = [(d.span.line, d.code) for d in diagnostics(ALL, tmp_path)]
    assert found == [
        (1, "FK129"), (2, "FK126"), (5, "FK120"), (7, "FK122"), (8, "FK120"), (13, "FK122"),
        (14, "FK102"),
        (20, "FK203"), (21, "FK219"), (22, "FK105"), (23, "FK204"), (24, "FK104"),
    ]  # fmt: skip


QUIET = [
    # A name of a line that cannot be read may be anything.
    "program p() -> int:\n    x = = 3\n    return helper(x + 1)\n\ndef helper(a: int -> int:\n    "
    "return a\n",
    # A line that cannot be read may draw, weigh and return.
    "def f():\n    x ~ ~ bernoulli(0.5)\n    return x\n\nprogram p() -> bool:\n    y ~ f()\n    "
    "return y\n",
    "program p() -> int:\n    return return 3\n",
    "program p() -> int:\n    while true\n        break\n    return 1\n",
    "program p() -> int:\n    for i in [3]\n        if i > 2:\n            continue\n        j = "
    "i\n    return j\n",
    # So may a block, a model, a test and an import.
    'model m = table\n    "" -> "a": 1.0\nprogram p() -> str:\n    l = prompt("", model=m)\n    t '
    "~ l\n    return t\n",
    'test "x" wiht n=3:\n    expect Z == 1.0\n\nprogram p(n: int = 1) -> int:\n    return n\n',
    "if true:\n    x = 1\nelse:\n    x = 2\n\nprogram p() -> int:\n    return x\n",
    "program p() -> int:\n        x = 1\n      y = 2\n      z = 3\n        return x + y + z\n",
    "program p():\nreturn 1\nx = 2\n",
    "program p() -> int:\n    x = [1, 2\n    y = 3\n    return x\n",
    'program p() -> str:\n    x = chat(user="a",\n             system="b"\n    y = 3\n    return '
    "x.text\n",
    'program p() -> str:\n    return f"{1 +}"\n',
]


@pytest.mark.parametrize("text", QUIET)
def test_one_mistake_is_told_once_and_leads_to_no_other(text, tmp_path):
    found = diagnostics(text, tmp_path)
    alone = 2 if "helper" in text else 1
    assert len(found) == alone, [render(d) for d in found]


def test_mistakes_of_an_imported_file_lead_to_none_in_this_one(tmp_path):
    (tmp_path / "words.fk").write_text(
        "def f(x: int) -> int:\n    return x +\n\ndef g(x: int -> int:\n    return x\n"
    )
    text = 'import "words.fk"\n\nprogram p() -> int:\n    return f(1) + g(2) + zz\n'
    assert [(d.code, d.span.source.name != "a.fk") for d in diagnostics(text, tmp_path)] == [
        ("FK120", True), ("FK102", True), ("FK203", False),
    ]  # fmt: skip


def test_a_file_that_declares_nothing_says_so(tmp_path):
    for text in ("", "# nothing\n", "infer exact()\n", "\n\n"):
        assert [d.code for d in diagnostics(text, tmp_path)] == ["FK314"]


def test_condition_false_at_an_end_needs_its_return(tmp_path):
    text = "program p(n: int = 1) -> int:\n    x ~ bernoulli(0.5)\n    if x:\n        return n\n"
    (found,) = diagnostics(text + "    condition false\n", tmp_path)
    assert found.code == "FK302"
    assert "behind `condition false` too" in found.help

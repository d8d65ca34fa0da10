"""Well-typed programs without meaning: every library function, distribution and statement, with odd
values, values within values, and contexts combined in any way."""

from __future__ import annotations

import random
from pathlib import Path

LEAVES = {
    "int": ("0", "1", "-3", "7", "10**9", "n", "lm.tokens", "2**40"),
    "float": ("0.0", "1.0", "-0.5", "1e-300", "1e300", "(0.1 + 0.2)", "x", "-0.0"),
    "probability": ("0.0", "1.0", "0.5", "0.25", "1e-300", "0.9999999999999999"),
    "positive": ("1.0", "0.5", "2.0", "1e-300", "1e300", "(len(lm.text) + 0.5)"),
    "index": ("0", "-1", "0", "1", "n", "10**9"),
    "named": ("n", "s", "x", "b", "lm.text", "lm.tokens"),
    "str": ('""', '"a"', '"ab b"', "lm.text", '"é😀"', '("a" * 30)', r'"\n"', "s"),
    "bool": ("true", "false", "lm.done", "b"),
    "list[str]": ('["a", "b"]', '["", "a b"]', "words(s)", "lines(s)", 'split(s, "a")'),
    "list[int]": ("[1, 2, 3]", "range(4)", "[n, 0]", "[i * i for i in range(3)]"),
    "list[list[str]]": ("xss", "[words(s)]", '[["a"], ["", s]]', "[xss[0], xss[0]]"),
    "record": ("r", '{"text": s, "rows": xss}', '{"text": lm.text, "rows": [["a"]]}'),
    "list[record]": ("[r]", "[r, r]", '[{"text": w, "rows": [[w]]} for w in words(s)]'),
    "any": ("r.text", "r.rows", 'parse_json("[[1, {}], null]")', 'parse_json("{}")'),
    "dist": ("lm", "lm", "other", "third", "[lm, other][0]"),
}
CALLS = {
    "int": (
        "len({str})",
        "len({list[str]})",
        "letters({str})",
        "count({str}, {str})",
        "edit_distance({str}, {str})",
        "{int} + {int}",
        "{int} * {int}",
        "{int} // {int}",
        "{int} % {int}",
        "{int} ** 2",
        'find({str}, r"[ab]+")',
        "abs({int})",
        "int({float})",
        "sum({list[int]})",
        "min({int}, {int})",
        "max({int}, {int})",
        "({int} if {bool} else {int})",
        "{list[int]}[{index}]",
        "round({float})",
        "syllables({str})",
    ),
    "float": (
        "{float} + {float}",
        "{float} * {float}",
        "{float} / {float}",
        "log({float})",
        "log({positive})",
        "{int} ** {int}",
        "exp({float})",
        "sqrt({positive})",
        "float({int})",
        "{float} ** {float}",
        "logprob(lm, {str})",
        "abs({float})",
        "-{float}",
    ),
    "str": (
        "{str} + {str}",
        "lower({str})",
        "upper({str})",
        "strip({str})",
        "replace({str}, {str}, {str})",
        "last_word({str})",
        "join({list[str]}, {str})",
        "str({int})",
        "str({float})",
        "str({bool})",
        "{str}[{int}:{int}]",
        "{str}[{index}]",
        "({str} if {bool} else {str})",
        "{list[str]}[{index}]",
        "{list[list[str]]}[{index}][{index}]",
        "str({list[list[str]]})",
        "str({record})",
        "str({any})",
        "str({record}.text)",
        "str({list[record]}[{index}].rows)",
        "join([w + str(i) for i, w in enumerate({list[str]})], {str})",
        "str(zip({list[list[str]]}, {list[int]}))",
        'f"{{{named}}}{{{named}}}"',
    ),
    "bool": (
        "{int} < {int}",
        "{str} == {str}",
        "{float} <= {float}",
        "not {bool}",
        "{bool} and {bool}",
        "{bool} or {bool}",
        "contains({str}, {str})",
        "starts_with({str}, {str})",
        "ends_with({str}, {str})",
        "{str} in {list[str]}",
        'matches({str}, r"[a-z ]{{0,5}}")',
        'matches({str}, r"(a|b)*\\bb")',
        "all(len(w) < 3 for w in {list[str]})",
        "any(w == {str} for w in {list[str]})",
        "valid_json({str})",
        'parses({str}, grammar="start: /[ab]+/")',
        'valid_json({str}, schema=\'{{"type": "array"}}\')',
        "len(distinct({list[str]})) == len({list[str]})",
        "{list[list[str]]} == {list[list[str]]}",
        "{list[str]} in {list[list[str]]}",
        "{record} == {record}",
        "{record} in {list[record]}",
        "{any} == {any}",
        "all(len(ws) < {int} for ws in {list[list[str]]})",
        "any(w == {str} for ws in {list[list[str]]} for w in ws)",
    ),
    "list[str]": (
        "sorted({list[str]})",
        "{list[str]} + {list[str]}",
        "[w + {str} for w in {list[str]}]",
        "sentences({str})",
        "{list[list[str]]}[{index}]",
        "[w for ws in {list[list[str]]} for w in ws]",
        "[a.text for a in {list[record]}]",
        "[name for name in {record}]",
    ),
    "list[list[str]]": (
        "{list[list[str]]} + {list[list[str]]}",
        "[{list[str]}, {list[str]}]",
        "[[w, {str}] for w in {list[str]}]",
        "[ws for ws in {list[list[str]]} if {bool}]",
        "reversed({list[list[str]]})",
        "distinct({list[list[str]]})",
        "{list[list[str]]}[{int}:{int}]",
    ),
    "record": (
        '{{"text": {str}, "rows": {list[list[str]]}}}',
        "{list[record]}[{index}]",
    ),
    "list[record]": (
        "{list[record]} + {list[record]}",
        "distinct({list[record]})",
        "[a for a in {list[record]} if {bool}]",
    ),
    "any": ("{record}.rows", "{any}[{index}]", "parse_json({str})", "{list[record]}[{index}].text"),
    "dist": (
        "{dist} * {dist}",
        "{dist} * {dist} * {dist}",
        "{dist} ** {float}",
        "{dist} ** {positive}",
        "mixture([{dist}, {dist}], weights=[{probability}, 0.5])",
        "mixture([{dist}, {dist}, {dist}], weights=[0.25, {probability}, {positive}])",
    ),
    "probability": ("min(1.0, abs({float}))", "exp(-abs({float}))"),
    "positive": ("abs({float}) + 0.1", "exp({probability})"),
    "index": ("{int} % 2",),
    "named": ("{named}",),
    "list[int]": (
        "sorted({list[int]})",
        "{list[int]} + {list[int]}",
        "[i for i in range({int}) if {bool}]",
    ),
}
DRAWS = (
    "t ~ lm",
    "t ~ lm ** {positive}",
    "t ~ lm ** {float}",
    "t ~ {dist}",
    "t ~ {dist}",
    "t ~ {dist}",
    "s ~ text(lm, max_tokens={int})",
    "s ~ text(lm, max_tokens=3)",
    "s ~ text(lm, until={str}, max_tokens=3)",
    "s ~ choice(lm, {list[str]})",
    "s ~ choice(lm, {list[str]}, other={str})",
    "w ~ word(lm)",
    "b ~ bernoulli({probability})",
    "b ~ bernoulli({float})",
    "n ~ uniform_int(-3, {index})",
    "n ~ uniform_int({int}, {int})",
    "x ~ uniform(-1.0, {positive})",
    "x ~ uniform({float}, {float})",
    "x ~ normal({float}, {positive})",
    "x ~ beta({positive}, {positive})",
    "n ~ poisson({positive})",
    "n ~ geometric({probability})",
    's ~ categorical(["a", {str}], [{probability}, 0.5])',
    "s ~ categorical({list[str]}, [0.5, 0.5])",
)
STATEMENTS = (
    *DRAWS,
    "condition {bool}",
    "condition {bool}",
    "factor {float}",
    "observe {str} ~ lm",
    "observe {str} ~ {dist}",
    "observe EOS ~ {dist}",
    "observe {str} ~ choice(other, {list[str]}, other={str})",
    "for i in range(3):\n        if lm.done:\n            break\n        t ~ {dist}\n"
    "        condition {bool}",
    "held = {dist}\n    lm += {str}\n    t ~ held",
    "observe {float} ~ normal({float}, 1.0)",
    "observe {int} ~ poisson(2.0)",
    "lm += {str}",
    "lm += special({str})",
    "n += {int}",
    "s += {str}",
    "x = {float}",
    "s = {str}",
    "n = {int}",
    "b = {bool}",
    "xss = {list[list[str]]}",
    "xss += [{list[str]}]",
    "r = {record}",
    "for i in range({index}):\n        xss = [[w, w] for ws in xss for w in ws]\n"
    "        condition {bool}",
    "checkpoint",
    "other = fork(lm)",
    "third = fork(other)",
    "if {bool}:\n        return {returned}",
    "for i in range({int}):\n        condition {bool}",
    "while {bool}:\n        t ~ lm\n        condition {bool}",
    "s = drawn(s, {int})",
)


def expression(rng: random.Random, kind: str, depth: int) -> str:
    """An expression of a type; parentheses wherever it is one of several parts."""
    if depth <= 0 or rng.random() < 0.3:
        return rng.choice(LEAVES[kind])
    return f"({filled(rng, rng.choice(CALLS[kind]), depth - 1)})"


def filled(rng: random.Random, template: str, depth: int) -> str:
    """The template with an expression for each `{type}`; `{{` and `}}` stay braces."""
    made, i = "", 0
    while i < len(template):
        if template[i : i + 2] in ("{{", "}}"):
            made, i = made + template[i], i + 2
        elif template[i] == "{":
            end = template.index("}", i)
            made, i = made + expression(rng, template[i + 1 : end], depth), end + 1
        else:
            made, i = made + template[i], i + 1
    return made


def program(rng: random.Random) -> str:
    """A program of up to six statements."""
    returned = rng.choice(("str", "str", "list[str]", "list[list[str]]", "record"))
    statements = [s.replace("{returned}", f"{{{returned}}}") for s in STATEMENTS]
    rows = [filled(rng, rng.choice(statements), 2) for _ in range(rng.randint(1, 6))]
    body = "".join(f"    {row}\n" for row in rows)
    entries = rng.choice(
        (
            '"a": 0.5, "b": 0.3, EOS: 0.2',
            '"a": 0.9, " b": 0.1',
            '"é": 0.5, "a\\n": 0.25, "😀b": 0.25',
        )
    )
    return f"""model m = table:
    "" -> {entries}

def drawn(s: str, n: int) -> str:
    return s[:n] + lower(s)

program main() -> {returned}:
    lm = prompt("")
    other = prompt("a")
    third = fork(other)
    n = 2
    x = 0.5
    s = "ab"
    b = true
    xss = [["a", s], ["b"]]
    r = {{"text": s, "rows": xss}}
{body}    return {expression(rng, returned, 2)}
"""


COMMANDS = (
    ["exact"],
    ["exact", "--no-opt"],
    ["exact", "--filtering", "--json"],
    ["explain"],
    ["check"],
    ["run", "--method", "smc", "--blame"],
    ["run", "--method", "steer"],
    ["run", "--method", "dpf"],
    ["run", "--method", "importance", "--json"],
    ["run", "--method", "rejection"],
    ["run", "--method", "alive"],
    ["run", "--method", "beam"],
    ["run", "--method", "local"],
    ["run", "--method", "pgibbs"],
    ["run", "--method", "tempered"],
    ["run", "--method", "smc", "--islands", "2", "--no-opt"],
)


def case(rng: random.Random, folder: Path) -> list[str]:
    """A drawn program, and a command on it."""
    (folder / "case.fk").write_text(program(rng), "utf-8")
    command = list(rng.choice(COMMANDS))
    timed = ["--timeout", "2"] if command[0] in ("exact", "run") else []
    return [*command, *timed, "case.fk"]

"""`fkdsl fmt`: one form for every text, reached in one step, with its tree and its comments."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.spans import Source
from fkdsl.language.formatting.formatter import format_text
from fkdsl.language.formatting.pieces import lines_of
from fkdsl.language.syntax.parser import parse
from fkdsl.testing.programs import program_texts
from tests.cli.test_cli import call

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted([*ROOT.glob("programs/*.fk"), *ROOT.glob("fkdsl/language/*.fk")])
BLOCKS = [
    block
    for page in sorted(ROOT.glob("docs/*.md"))
    for block in re.findall(r"^```fk\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
]


def formatted(text):
    return format_text(Source("p.fk", text))


def noisy(rng, text):
    """The text with other spaces, empty lines and comments, and its blocks indented by two."""
    out = []
    for line in lines_of(Source("p.fk", text))[0]:
        indent = "  " * line.depth
        words = []
        for piece in line.pieces:
            if piece.broken:
                words.append("\n" if not piece.continued else "\\\n")
            words += [piece.text, " " * rng.randint(1, 3)]
        if rng.random() < 0.2:
            out.append(f"{indent}#above {len(out)}")
        beside = f" #beside {len(out)}" if rng.random() < 0.2 else ""
        out.append(indent + "".join(words) + beside)
        out += [""] * rng.choice([0, 0, 0, 1, 4])
    return "\n".join(out)


def without_comments(text):
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    return [re.sub(r"  #.*", "", line) for line in lines if line.strip()]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_the_programs_that_ship_are_in_their_canonical_form(path):
    assert formatted(path.read_text("utf-8")) == path.read_text("utf-8")


@pytest.mark.parametrize("text", [*(p.read_text("utf-8") for p in PROGRAMS), *BLOCKS])
def test_noise_changes_neither_the_tree_nor_the_form(text):
    module = parse(Source("p.fk", text))
    for seed in range(3):
        rng = random.Random(seed)
        rough = noisy(rng, text)
        assert parse(Source("p.fk", rough)) == module
        neat = formatted(rough)
        assert formatted(neat) == neat
        assert parse(Source("p.fk", neat)) == module
        assert neat.count("beside") == rough.count("beside")
        assert neat.count("# above") == rough.count("#above")
        plain = re.sub(r"(?m)^\s*#.*\n|  #.*", "", formatted(text))
        assert without_comments(neat) == [line for line in plain.splitlines() if line.strip()]


@given(program_texts(), st.randoms(use_true_random=False))
def test_drawn_programs_keep_their_trees(program, rng):
    module = parse(Source("p.fk", str(program)))
    neat = formatted(noisy(rng, str(program)))
    assert parse(Source("p.fk", neat)) == module
    assert formatted(neat) == neat


CASES = {
    "spaces": ("x=-1+ 2*( y-3 )\n", "x = -1 + 2 * (y - 3)\n"),
    "slices": (
        "a = s[1 :n]\nb = s[ : -1]\nc = s[i+1:n]\n",
        "a = s[1:n]\nb = s[:-1]\nc = s[i + 1 : n]\n",
    ),
    "fractions": ("x = 1 / 3\ny = 0.5/z\n", "x = 1/3\ny = 0.5 / z\n"),
    "arguments": ("x = f (a, key = 1)[ 0 ].name\n", "x = f(a, key=1)[0].name\n"),
    "quotes": (
        "x = 'a'\ny = 'say \"b\"'\nz = r'c'\nw = f'{x}'\n",
        'x = "a"\ny = \'say "b"\'\nz = r"c"\nw = f"{x}"\n',
    ),
    "comments": (
        "if a: #why\n  x = 1\n  #inside\n#outside\ny = 2\n",
        "if a:  # why\n    x = 1\n    # inside\n# outside\ny = 2\n",
    ),
    "empty lines": ("\n\nx = 1\n\n\n\ny = 2\n\n", "x = 1\n\ny = 2\n"),
    "a kept comma": ("x = [1, 2,]\n", "x = [\n    1,\n    2,\n]\n"),
    "texts keep their lines": (
        "lm = prompt('a\\n'\n   'b\\n')\n",
        "lm = prompt(\n    'a\\n'\n    'b\\n'\n)\n",
    ),
    "a comment in a bracket": (
        "x = [1, # one\n 2]\n",
        "x = [\n    1,  # one\n    2,\n]\n",
    ),
    "a comment where no line is broken": (
        "x = f(1 + # one\n   2)\n",
        "x = f(1 + # one\n   2)\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_form(name):
    text, expected = CASES[name]
    program = "program p():\n" + "".join(f"    {line}\n" for line in text.splitlines())
    neat = formatted(program)
    assert neat == "program p():\n" + "".join(
        f"    {line}\n" if line else "\n" for line in expected.splitlines()
    )
    assert formatted(neat) == neat


def test_long_lines_are_broken_in_their_brackets():
    names = [f"a_rather_long_name_{i}" for i in range(8)]
    program = f"program p():\n    x = f({', '.join(names)}) and g(1)\n"
    body = "".join(f"        {name},\n" for name in names)
    assert formatted(program) == f"program p():\n    x = f(\n{body}    ) and g(1)\n"
    test = " and ".join(f"contains(value, '{name}')" for name in names)
    neat = formatted(f"program p():\n    x = all({test} for t in ts)\n")
    assert max(map(len, neat.splitlines())) < 80
    assert "        and contains" in neat


def test_blocks_stand_apart():
    text = 'model "m"\ndef f(x):\n  return x\n# of g\ndef g(x):\n  return x\n'
    text += "query a = value\nquery b = value\n"
    assert formatted(text) == (
        'model "m"\n\ndef f(x):\n    return x\n\n# of g\ndef g(x):\n    return x\n\n'
        "query a = value\nquery b = value\n"
    )


def test_arrows_of_a_table_stand_below_one_another():
    text = 'model m=table:\n  "" -> "a":1/2,EOS:0.5\n  "ab"->EOS: 1\n'
    assert formatted(text) == (
        'model m = table:\n    ""   -> "a": 1/2, EOS: 0.5\n    "ab" -> EOS: 1\n'
    )


# ---------------------------------------------------------------- the command

ROUGH = "program p() -> int:\n  return 1+1\n"
NEAT = "program p() -> int:\n    return 1 + 1\n"


def test_fmt_rewrites_what_it_must_and_nothing_else(tmp_path, capsys):
    rough, neat = tmp_path / "a.fk", tmp_path / "b.fk"
    rough.write_bytes(ROUGH.replace("\n", "\r\n").encode())
    neat.write_text(NEAT)
    rough.chmod(0o640)
    before = neat.stat().st_mtime_ns
    status, out, err = call(capsys, "fmt", str(tmp_path))
    assert (status, out) == (0, "")
    assert "reformatted" in err
    assert "1 file left as it is" in err
    assert rough.read_bytes() == NEAT.replace("\n", "\r\n").encode()
    assert rough.stat().st_mode & 0o777 == 0o640
    assert neat.stat().st_mtime_ns == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fk", "b.fk"]


def test_check_and_diff_change_nothing(tmp_path, capsys):
    path = tmp_path / "a.fk"
    path.write_text(ROUGH)
    status, _, err = call(capsys, "fmt", "--check", str(path))
    assert status == 1
    assert "would reformat" in err
    status, out, _ = call(capsys, "fmt", "--diff", str(path))
    assert status == 0
    assert "-  return 1+1\n+    return 1 + 1\n" in out
    assert path.read_text() == ROUGH


def test_a_file_with_mistakes_stays_and_the_others_are_done(tmp_path, capsys):
    bad, rough = tmp_path / "a.fk", tmp_path / "b.fk"
    bad.write_text("program p(:\n")
    rough.write_text(ROUGH)
    status, _, err = call(capsys, "fmt", str(bad), str(rough))
    assert status == 1
    assert "a.fk:1" in err
    assert bad.read_text() == "program p(:\n"
    assert rough.read_text() == NEAT
    assert call(capsys, "fmt", str(tmp_path / "none.fk"))[0] == 2
    assert call(capsys, "fmt", "-", str(rough))[0] == 2


LONG = "a" * 110
HALF = "a" * 44
ODD = {
    "a sign before a sign": ("x = - -y", "x = - -y"),
    "a plus before a plus": ("x = 1 + + +y", "x = 1 + + +y"),
    "other signs": ("x = - + y", "x = -+y"),
    "a point behind a number": ("x = 1 .e5", "x = 1 .e5"),
    "a comment in an empty bracket": ("x = f(  # c\n)", "x = f(  # c\n    )"),
    "a comment alone in an empty bracket": ("x = [\n# c\n]", "x = [\n        # c\n    ]"),
    "a comment before a long text": (
        f'x = f( # c\n"{LONG}")',
        f'x = f(  # c\n        "{LONG}"\n    )',
    ),
    "a comment behind a long text": (
        f'x = f(\n"{LONG}"\n# c\n)',
        f'x = f(\n        "{LONG}"\n        # c\n    )',
    ),
    "a comment beside an item and its comma": (
        "x = f(1 # a\n, # b\n2)",
        "x = f(1 # a\n, # b\n2)",
    ),
    "names of a comprehension": (
        f"x = [{LONG} for a, b in {LONG}]",
        f"x = [\n        {LONG}\n        for a, b in {LONG}\n    ]",
    ),
    "a backslash behind a bracket": (
        f"x = f(\\\ng({HALF}, {HALF}), 1)",
        f"x = f(\n        g(\n{' ' * 12}{HALF},\n{' ' * 12}{HALF},\n        ),\n        1,\n    )",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_places_change_neither_tree_nor_comments(name):
    rough, neat = (f"def f(y: int) -> int:\n    {line}\n" for line in ODD[name])
    assert formatted(rough) == neat
    assert formatted(neat) == neat


@pytest.mark.parametrize("text", ['\\\n\nimport "a.fk"\n', '\\\n# c\nimport "a.fk"\n'])
def test_a_backslash_before_an_empty_line_is_no_line(text):
    assert formatted(text) == text.removeprefix("\\\n").lstrip("\n")

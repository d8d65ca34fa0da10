"""Errors are data: a message, facts and help; one module turns them into text."""

import ast
import json
import tomllib
from pathlib import Path

import pytest

import fkdsl
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.cli.main import main

FKDSL = Path(fkdsl.__file__).parent
DEAD = 'program p() -> str:\n    x ~ bernoulli(0.5)\n    condition x and not x\n    return ""\n'


def test_an_error_is_rendered_from_its_fields():
    error = CallError("no such flag", "leave it out", ["there are two", "and no third"])
    assert (error.message, error.help) == ("no such flag", "leave it out")
    text = "no such flag\n  there are two\n  and no third\n  = help: leave it out"
    assert str(error) == text
    assert str(CallError("no such flag")) == "no such flag"


def test_a_population_that_died_says_where_in_its_facts():
    with pytest.raises(PopulationDied) as caught:
        fkdsl.parse(DEAD).run("smc", particles=4)
    died = caught.value
    assert died.message == "every particle died: all 4 particles are of weight zero after step 1"
    assert died.facts[0].startswith("step 1: 4 died at")
    assert died.help.startswith("use more particles")
    assert died.report == "\n  ".join([died.message, *died.facts, f"= help: {died.help}"])


def test_a_bound_that_ended_a_run_has_its_help_apart():
    endless = "program p() -> int:\n    n = 0\n    while true:\n        x ~ bernoulli(0.5)\n"
    with pytest.raises(BudgetEnded) as caught:
        fkdsl.parse(endless + "        n += 1\n    return n\n").run(particles=2, max_steps=3)
    error = caught.value
    assert error.message == error.unfinished.why
    assert "--max-steps" not in error.message
    assert "--max-steps" in error.help


def test_json_has_the_help_of_every_status(tmp_path, capsys):
    (tmp_path / "p.fk").write_text(DEAD)
    assert main(["run", str(tmp_path / "p.fk"), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert "\n" not in found["error"]
    assert found["help"] in found["died"]["report"]
    assert [f for f in found["facts"] if f.startswith("step 1: ")]
    assert found["help"]


def test_the_version_is_that_of_the_project_file():
    project = tomllib.loads((FKDSL.parent / "pyproject.toml").read_text("utf-8"))
    assert fkdsl.__version__ == project["project"]["version"]


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            yield node.body[0].value


def test_only_rendering_writes_help_lines():
    """Else somebody would have to take a message apart again."""
    for path in FKDSL.rglob("*.py"):
        text = path.read_text("utf-8")
        tree = ast.parse(text if "= help:" in text else "")
        own = set(map(id, docstrings(tree)))
        texts = [
            n.value
            for n in ast.walk(tree)
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in own
        ]
        assert path.name == "rendering.py" or not any("= help:" in text for text in texts), path

"""The house: imports run downwards, files stay short, docs say what is so, examples run."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(p for p in (ROOT / "fkdsl").rglob("*.py"))


def layers():
    """Package name -> layer, as the table of docs/architecture.md has it: "3", or "4a" for a room of a layer."""
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    found = {}
    for number, names in re.findall(r"^\| (\d[a-z]?) \| ([\w, ]+?) +\|", text, re.MULTILINE):
        for name in names.split(","):
            found[name.strip()] = number
    return found


def imported(path):
    """The fkdsl packages that a file imports, function-local ones too; those for types only are none."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "fkdsl" and len(parts) > 1:
                yield parts[1]


def test_the_layer_list_names_every_package():
    packages = {p.parent.name for p in (ROOT / "fkdsl").glob("*/__init__.py")}
    assert set(layers()) == packages


def test_imports_run_downwards():
    order, wrong = layers(), []
    for path in MODULES:
        room = path.relative_to(ROOT / "fkdsl").parts[0]
        if room not in order:
            continue
        for other in imported(path):
            if other in order and order[other] > order[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_inference_knows_no_language_and_no_language_model():
    for path in (ROOT / "fkdsl/inference").rglob("*.py"):
        assert set(imported(path)) <= {"base", "inference"}


def test_no_file_is_over_400_lines():
    long = [str(p) for p in [*MODULES, *(ROOT / "tests").rglob("*.py")] if len(p.read_text("utf-8").splitlines()) > 400]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_in_docstrings_are_what_happens(path):
    if ">>>" not in path.read_text("utf-8") or path.name in ("huggingface.py", "kv_batch.py", "state_batch.py"):
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


README = (ROOT / "README.md").read_text("utf-8")
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_commands_in_the_docs_print_what_they_say(path):
    """A ```console block is `$ command` and its output; those that need the small model are left to -m smollm2."""
    for block in re.findall(r"^```console\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            program = re.search(r"\S+\.fk", line)
            if program and 'model "smollm2"' in (ROOT / program.group()).read_text("utf-8") and " run " in line:
                continue
            command = line.replace("fkdsl", f"{sys.executable} -m fkdsl", 1)
            done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)
            assert mask(done.stdout + done.stderr) == mask(output), line


def mask(text):
    """Times differ from run to run."""
    return re.sub(r"\d+\.\d s\b", "T s", text).strip()


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_programs_in_the_docs_check(path):
    from fkdsl.base.spans import Source
    from fkdsl.language.checker import check_source

    for block in re.findall(r"^```fk\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        check_source(Source(path.name, block), ROOT / "programs")


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_python_in_the_docs_runs(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(path), "exec"), {})


def test_links_between_the_docs_lead_somewhere():
    for path in [*TEXTS, *(ROOT / "docs/errors").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_tests_that_the_docs_name_exist():
    tests = "\n".join(p.read_text("utf-8") for p in (ROOT / "tests").rglob("*.py"))
    for path in TEXTS:
        for name in re.findall(r"`(test_\w+)`", path.read_text("utf-8")):
            assert f"def {name}(" in tests, f"{path.name}: {name}"

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
    """Package name -> layer, as the table of docs/architecture.md has it: "3", or "4a" for a room
    of a layer."""
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    found = {}
    for number, names in re.findall(r"^\| (\d[a-z]?) \| ([\w, ]+?) +\|", text, re.MULTILINE):
        for name in names.split(","):
            found[name.strip()] = number
    return found


def name_of(path):
    """The dotted name of a module of fkdsl."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def imported(path):
    """The modules of fkdsl that a file imports: within functions too, and for types only too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES else node.module for name in whole]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name in NAMES)


def test_the_layer_list_names_every_package():
    packages = {p.parent.name for p in (ROOT / "fkdsl").glob("*/__init__.py")}
    assert set(layers()) == packages


def room(name):
    return name.split(".")[1] if "." in name else "fkdsl"


UPWARDS = {("machine", "proposals")}
"""Arrows between rooms that still run up."""


def test_imports_run_downwards():
    order = layers()
    arrows = {(room(name), room(other)) for name, path in NAMES.items() for other in imported(path)}
    wrong = {(a, b) for a, b in arrows if a in order and b in order and order[b] > order[a]}
    assert wrong == UPWARDS


CIRCLES = {
    ("fkdsl.language.check.calls", "fkdsl.language.check.expressions"),
    ("fkdsl.steering.feynman_kac", "fkdsl.steering.precompute"),
}
"""Circles that are still to be cut, besides those of whole rooms in CIRCULAR."""
CIRCULAR = {"api", "fkdsl", "machine", "proposals"}


def circles():
    """The strongly connected sets of two files and more: for each pair, whether one leads to the
    other and back."""
    graph = {name: set(imported(path)) - {name} for name, path in NAMES.items()}

    def reached(start):
        found, todo = set(), [start]
        while todo:
            todo.extend(new := graph[todo.pop()] - found)
            found |= new
        return found

    reach = {name: reached(name) for name in graph}
    return {
        tuple(sorted(m for m in reach[name] if name in reach[m]))
        for name in graph
        if name in reach[name]
    }


def test_no_files_import_each_other_in_a_circle():
    """But for those that are named here until they are cut."""
    found = {circle for circle in circles() if not {room(name) for name in circle} <= CIRCULAR}
    assert found == CIRCLES


def test_inference_knows_no_language_and_no_language_model():
    for path in (ROOT / "fkdsl/inference").rglob("*.py"):
        assert {room(name) for name in imported(path)} <= {"base", "inference"}, path


def test_no_file_is_over_460_lines():
    long = [
        str(p)
        for p in [*MODULES, *(ROOT / "tests").rglob("*.py")]
        if len(p.read_text("utf-8").splitlines()) > 460
    ]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_in_docstrings_are_what_happens(path):
    if ">>>" not in path.read_text("utf-8") or path.name in (
        "huggingface.py",
        "kv_batch.py",
        "state_batch.py",
    ):
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


README = (ROOT / "README.md").read_text("utf-8")
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_commands_in_the_docs_print_what_they_say(path):
    """A ```console block is `$ command` and its output; those that need the small model are left to
    -m smollm2."""
    for block in re.findall(
        r"^```console\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            program = re.search(r"\S+\.fk", line)
            if (
                program
                and 'model "smollm2"' in (ROOT / program.group()).read_text("utf-8")
                and " run " in line
            ):
                continue
            command = line.replace("fkdsl", f"{sys.executable} -m fkdsl", 1)
            done = subprocess.run(
                command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False
            )
            assert mask(done.stdout + done.stderr) == mask(output), line


def mask(text):
    """Times differ from run to run."""
    return re.sub(r"\d+\.\d s\b", "T s", text).strip()


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_programs_in_the_docs_check(path):
    from fkdsl.base.spans import Source
    from fkdsl.language.check.checker import check_source

    for block in re.findall(
        r"^```fk\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        check_source(Source(path.name, block), ROOT / "programs")


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_the_python_in_the_docs_runs(path):
    for block in re.findall(
        r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
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

"""The house: imports run downwards, files stay short. tests/test_docs.py holds what the docs
say."""

import ast
import re
import subprocess
from functools import cache
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


@cache
def imported(path):
    """The modules of fkdsl that a file imports: within functions too, and for types only too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES else node.module for name in whole]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [name for name in names if name in NAMES]
    return tuple(found)


def test_the_layer_list_names_every_package():
    packages = {p.parent.name for p in (ROOT / "fkdsl").glob("*/__init__.py")}
    assert set(layers()) == packages


def room(name):
    return name.split(".")[1] if "." in name else "fkdsl"


def test_imports_run_downwards():
    order = layers()
    arrows = {(room(name), room(other)) for name, path in NAMES.items() for other in imported(path)}
    wrong = {(a, b) for a, b in arrows if a in order and b in order and order[b] > order[a]}
    assert not wrong


ROOMS = {"language": ("syntax", "formatting", "check", "navigation", "lower")}
"""Packages whose rooms are ordered too: each imports itself and those before it; files beside the
rooms may import all of them, and no room imports those files."""


def height(name):
    """(package, how high a file of ROOMS stands in it); None for a file of another package."""
    package, inner = room(name), name.split(".")[2:]
    if package not in ROOMS:
        return None
    rooms = ROOMS[package]
    return package, rooms.index(inner[0]) if inner and inner[0] in rooms else len(rooms)


def test_the_rooms_of_a_package_are_ordered():
    for package, rooms in ROOMS.items():
        inside = {p.parent.name for p in (ROOT / "fkdsl" / package).glob("*/__init__.py")}
        assert inside == set(rooms)
    arrows = {
        (name, other)
        for name, path in NAMES.items()
        for other in imported(path)
        if height(name) and height(other) and room(name) == room(other)
    }
    assert not [(a, b) for a, b in arrows if height(a) < height(b)]


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
    assert not circles()


def test_inference_knows_no_language_and_no_language_model():
    for path in (ROOT / "fkdsl/inference").rglob("*.py"):
        assert {room(name) for name in imported(path)} <= {"base", "inference"}, path


def test_no_file_is_over_400_lines():
    long = [
        str(p)
        for p in [*MODULES, *(ROOT / "tests").rglob("*.py")]
        if len(p.read_text("utf-8").splitlines()) > 400
    ]
    assert not long


def test_no_function_is_over_60_lines():
    """Complexity is held by ruff (C901): what is above 15 says why where it stands."""
    long = {
        (str(path.relative_to(ROOT / "fkdsl")), node.name)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno - node.lineno >= 60
    }
    assert not long


def test_the_page_of_the_house_names_every_file_and_no_other():
    """By its name, by the end of its path, or by a star for all files of a room."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"[\w/*]+\.py\b", page))
    files = [p.relative_to(ROOT) for top in ("fkdsl", "tests") for p in (ROOT / top).rglob("*.py")]
    ours = [p for p in files if p.parts[0] == "fkdsl" and not p.name.startswith("__")]
    unnamed = [str(p) for p in ours if not any(p.match(name) for name in named)]
    assert not unnamed, f"docs/architecture.md says nothing of {unnamed}"
    gone = [name for name in named if not any(p.match(name) for p in files)]
    assert not gone, f"docs/architecture.md names {gone}, which are not there"


def test_the_top_level_has_six_entries():
    """Of what is committed: a clone may have more beside it."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is no clone")
    found = {line.split("/")[0] for line in done.stdout.splitlines()}
    agreed = {"pyproject.toml", "README.md", "fkdsl", "programs", "tests", "docs"}
    assert {name for name in found if not name.startswith(".")} == agreed

"""The docs say what is so: their commands print what stands beside them, their programs check,
their Python runs, their links and names lead somewhere.

A fence says what is done with it:

    ```console              `$ command` and its output: run, in a folder that has programs/
    ```fk                   checked; ```fk coin.fk is written to that file, for its page's commands
    ```python               run; ```python score.py is written to that file too
    ```json order.json      written to that file; ```jsonl and ```csv likewise
    ```diff                 applied to a copy of fkdsl, in which the page's commands run
    ```... not run: why     shown only; the reason stands there
"""

import ast
import csv
import doctest
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fkdsl.base.spans import Source
from fkdsl.cli.commands import COMMANDS
from fkdsl.cli.flags import command_parser
from fkdsl.inference.methods import METHODS
from fkdsl.language.compile import check_source
from fkdsl.values.signatures import TABLE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ERROR_PAGES = sorted((ROOT / "docs/errors").glob("*.md"))
MODULES = sorted((ROOT / "fkdsl").rglob("*.py"))
NOT_RUN = "not run:"
ELSEWHERE = {"testing.md": "tests/testing/test_page.py"}
"""Pages whose ```text blocks a test of their own reads."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: ```kind info."""

    kind: str
    info: str
    text: str


def blocks(path, kind=None):
    """The fenced blocks of a page, or those of one kind."""
    fenced = re.findall(
        r"^```(\w*) ?([^\n]*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [b for b in (Block(*found) for found in fenced) if kind in (None, b.kind)]


def page_name(path):
    return path.name


# Commands


def commands(path):
    """(command, output) of every line of a page's console blocks that begins with `$`."""
    for block in blocks(path, "console"):
        assert block.text.startswith("$ "), f"{path.name}: {block.text}"
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)


def needs_small_model(command, path):
    """Whether a command loads smollm2: by name, or as the model of a program that it runs."""
    words = command.split()
    if words[1] in ("check", "explain", "replay", "models", "test") or "--model" in words:
        return "--model smollm2" in command
    named = {block.info: block.text for block in blocks(path, "fk")}
    programs = [word for word in words if word.endswith(".fk")]
    texts = [named.get(name) or (ROOT / name).read_text("utf-8") for name in programs]
    return any('"smollm2"' in text for text in texts)


def mask(text, small):
    """What a command printed, without what differs from run to run: seconds, and shares of time
    (the last column before a line's source). On the small model bars too, whose ends round by the
    last digit of a float32."""
    text = re.sub(r"\d+\.\d s\b", "T s", text)
    text = re.sub(r" +\d+\.\d%(?=  \S)", " T%", text)
    return (re.sub(r"█+ +", "bar ", text) if small else text).strip()


def changed_files(path):
    """(file, old, new) of every hunk of the page's diffs that name files; the old text of a new
    file is ""."""
    for block in blocks(path, "diff"):
        for _, name, hunks in re.findall(
            r"^--- (\S+)\n\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", block.text, re.MULTILINE | re.DOTALL
        ):
            for hunk in hunks.split("@@\n")[1:]:
                lines = [(line[:1], line[1:]) for line in hunk.splitlines(keepends=True)]
                old = "".join(text for sign, text in lines if sign != "+")
                yield name, old, "".join(text for sign, text in lines if sign != "-")


def tree_for(path, folder):
    """Where fkdsl lies for the commands of a page: here, or a copy with the page's diffs."""
    changes = list(changed_files(path))
    if not changes:
        return ROOT
    shutil.copytree(ROOT / "fkdsl", folder / "fkdsl", ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        file = folder / name
        text = file.read_text("utf-8") if old else ""
        assert not old or text.count(old) == 1, f"{path.name}: {name} is not as the diff says"
        file.write_text(text.replace(old, new) if old else new, "utf-8")
    return folder


def names_file(block):
    return re.fullmatch(r"\w+\.\w+", block.info) is not None


def write_files(path, folder):
    """The blocks of a page that name a file, as files."""
    for block in filter(names_file, blocks(path)):
        (folder / block.info).write_text(block.text, "utf-8")


def run_commands(path, folder, small):
    shutil.copytree(ROOT / "programs", folder / "programs")
    write_files(path, folder)
    environment = os.environ | {"PYTHONPATH": str(tree_for(path, folder)), "COLUMNS": "200"}
    for command, output in commands(path):
        if needs_small_model(command, path) != small:
            continue
        done = subprocess.run(
            command.replace("fkdsl", f"{sys.executable} -m fkdsl", 1),
            shell=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
        assert mask(done.stdout, small) == mask(output, small), command


WITH_COMMANDS = [path for path in PAGES if any(True for _ in commands(path))]
WITH_SMALL_MODEL = [
    path
    for path in WITH_COMMANDS
    if any(needs_small_model(command, path) for command, _ in commands(path))
]


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=page_name)
def test_the_commands_in_the_docs_print_what_they_say(path, tmp_path):
    run_commands(path, tmp_path, small=False)


@pytest.mark.smollm2
@pytest.mark.parametrize("path", WITH_SMALL_MODEL, ids=page_name)
def test_the_commands_on_the_small_model_print_what_they_say(path, tmp_path):
    run_commands(path, tmp_path, small=True)


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_block_is_run_or_says_why_it_is_not(path):
    for block in blocks(path):
        if path.name in ELSEWHERE and block.kind == "text":
            assert path.name in (ROOT / ELSEWHERE[path.name]).read_text("utf-8")
        elif block.kind == "json" and names_file(block):
            json.loads(block.text)
        elif block.kind == "jsonl" and names_file(block):
            assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())
        elif block.kind == "csv" and names_file(block):
            assert len(list(csv.DictReader(block.text.splitlines(), strict=True))) > 0
        elif block.kind not in ("console", "fk", "python", "diff") or NOT_RUN in block.info:
            assert re.fullmatch(rf"{NOT_RUN} \S.*", block.info), f"{path.name}: {block.text}"
    prose = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^ +\$ ", prose, re.MULTILINE), "a command with output is ```console"


# Programs, Python and examples


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_the_programs_in_the_docs_check(path, tmp_path):
    if any(changed_files(path)):
        return  # they are of fkdsl with the page's diffs, and run there
    shutil.copytree(ROOT / "programs", tmp_path, dirs_exist_ok=True)
    write_files(path, tmp_path)
    for block in blocks(path, "fk"):
        check_source(Source(path.name, block.text), tmp_path)


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_the_python_in_the_docs_runs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks(path, "python"):
        if not block.info.startswith(NOT_RUN):
            exec(compile(block.text, str(path), "exec"), {})


WITH_EXAMPLES = [path for path in MODULES if ">>>" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_in_docstrings_are_what_happens(path, monkeypatch):
    """All of them: what doctest does not find, such as a docstring behind an assignment, is no
    place for one."""
    monkeypatch.chdir(ROOT)
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    found = sum(len(test.examples) for test in doctest.DocTestFinder().find(module))
    assert found == len(re.findall(r"^\s*>>> ", path.read_text("utf-8"), re.MULTILINE))
    assert doctest.testmod(module).failed == 0


# Names


def options(parser):
    return {name for action in parser._actions for name in action.option_strings}


@cache
def options_of_commands():
    """Command -> its options, those of its own commands among them."""
    (chosen,) = (action for action in command_parser()._actions if action.dest == "command")
    return {
        name: options(parser).union(
            *(
                options(inner)
                for action in parser._actions
                if action.dest == "action"
                for inner in action.choices.values()
            )
        )
        for name, parser in chosen.choices.items()
    }


CODE = re.compile(r"`([^`\n]+)`|^ {4,}(\S.*)$", re.MULTILINE)
"""Where docs name code that is not run: between backquotes, and indented."""


@pytest.mark.parametrize("path", [*PAGES, *ERROR_PAGES], ids=page_name)
def test_the_commands_and_options_that_the_docs_name_exist(path):
    for code in ("".join(found) for found in CODE.findall(path.read_text("utf-8"))):
        for command, rest in re.findall(r"\bfkdsl ([a-z]+)\b((?: (?! ).*?)*)(?:  |#|\||$)", code):
            assert command in COMMANDS, f"{path.name}: {code}"
            named = set(re.findall(r"(?<=\s)(--?[a-z][\w-]*)", rest))
            assert named <= options_of_commands()[command], f"{path.name}: {code}"


def test_the_options_that_the_docs_name_by_themselves_exist():
    known = set().union(*options_of_commands().values()) | {"--version", "--no-deps", "--to"}
    scripts = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for path in [*PAGES, *ERROR_PAGES]:
        for name in re.findall(r"`(--[a-z][\w-]*)", path.read_text("utf-8")):
            assert name in known or f'"{name}"' in scripts, f"{path.name}: {name}"


def test_the_docs_name_every_option():
    """By themselves, or in the table of methods as options of `infer`."""
    text = "\n".join(path.read_text("utf-8") for path in PAGES)
    of_methods = {f"--{name}" for method in METHODS.values() for name in method.all_options}
    every = set().union(*options_of_commands().values()) - of_methods - {"--help", "--verbose"}
    unnamed = {n for n in every if n.startswith("--") and not re.search(rf"{n}\b", text)}
    assert not unnamed


def test_the_language_page_names_every_function():
    text = (ROOT / "docs/language.md").read_text("utf-8")
    assert not {n for n in TABLE if n[0] != "." and not re.search(rf"\b{n}\b", text)}


def test_links_between_the_docs_lead_somewhere():
    for path in [*PAGES, *ERROR_PAGES]:
        for link, place in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", path.read_text("utf-8")):
            target = path.parent / link if link else path
            assert target.exists(), f"{path.name}: {link}"
            assert not place or place in headings(target), f"{path.name}: {link}#{place}"


def headings(path):
    """The places of a page that a link may name."""
    titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


MADE_UP = {"file.py", "file.lark"}


def test_the_files_that_the_docs_name_exist():
    """As a path from the root, from fkdsl/, or as the end of one."""
    files = [
        "/" + str(path.relative_to(ROOT))
        for folder in ("fkdsl", "programs", "tests", "docs")
        for path in (ROOT / folder).rglob("*")
    ]
    for path in PAGES:
        here = [*files, *("/" + name for name, old, _ in changed_files(path) if not old)]
        here += ["/" + block.info for block in filter(names_file, blocks(path))]
        text = re.sub(r"^(---|\+\+\+) .*", "", path.read_text("utf-8"), flags=re.MULTILINE)
        for name in set(re.findall(r"(?<![\w/.*-])([\w/]+\.(?:py|lark|tables))\b", text)) - MADE_UP:
            assert any(file.endswith("/" + name) for file in here), f"{path.name}: {name}"


def test_the_tests_that_the_docs_name_exist():
    defined = {
        node.name
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for path in PAGES:
        named = set(re.findall(r"`(test_\w+)`", path.read_text("utf-8")))
        assert named <= defined, f"{path.name}: {named - defined}"


def test_the_names_in_the_pages_on_the_code_are_in_the_code():
    """The pages that a maintainer reads: every word of some length between backquotes."""
    source = "\n".join(
        path.read_text("utf-8")
        for folder in ("fkdsl", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".fk", ".lark", ".md", ".tables") and path.name != "test_docs.py"
    )
    files = {path.stem for folder in ("fkdsl", "tests") for path in (ROOT / folder).rglob("*")}
    known = set(re.findall(r"\w+", source)) | files
    for name in ("architecture.md", "notation.md"):
        for code in re.findall(r"`([^`\n]+)`", (ROOT / "docs" / name).read_text("utf-8")):
            assert set(re.findall(r"[A-Za-z_]\w{2,}", code)) <= known, f"{name}: {code}"


def test_the_words_of_the_project_are_few_and_stand_once():
    text = (ROOT / "docs/notation.md").read_text("utf-8")
    table = text.split("## Words of this project")[1]
    words = re.findall(r"^\| ([a-z ]+) \| `", table, re.MULTILINE)
    assert len(words) == len(set(words)) <= 15
    source = "\n".join(path.read_text("utf-8") for path in MODULES)
    for name in re.findall(
        r"`(?:\w+\.)?(\w+)`", re.sub(r"[^|]*\|$", "", table, flags=re.MULTILINE)
    ):
        assert re.search(rf"\b{name}\b", source), name


# The whole


def statements(program):
    """The lines of a program without its comments."""
    lines = [re.sub(r"\s*#.*", "", line) for line in program.splitlines()]
    return [line for line in lines if line]


def test_the_programs_of_the_readme_are_those_that_its_commands_run():
    page = ROOT / "README.md"
    run = [command.split()[2] for command, _ in commands(page) if " run " in command]
    for shown, name in zip(blocks(page, "fk"), run, strict=True):
        assert statements(shown.text) == statements((ROOT / name).read_text("utf-8")), name


def test_the_readme_counts_the_programs():
    counted = {"twenty-two": 22}
    (word,) = re.findall(r"\): ([\w-]+) programs", (ROOT / "README.md").read_text("utf-8"))
    assert counted[word] == len(list((ROOT / "programs").glob("*.fk")))


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text("utf-8").split("\nDocs:")[1]
    named = set(re.findall(r"\]\((docs/[\w.-]+)\)", text))
    assert named == {f"docs/{path.name}" for path in PAGES[1:]} | {
        "docs/LICENSE",
        "docs/tutorial.ipynb",
    }


def test_the_licence_is_named_and_its_text_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, built = settings["project"], settings["tool"]["hatch"]["build"]["targets"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["docs/LICENSE"])
    assert "docs" in built["sdist"]["include"]
    text = (ROOT / "docs/LICENSE").read_text("utf-8")
    assert " ".join(text.split()).startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text
    assert "[Apache-2.0](docs/LICENSE)" in (ROOT / "README.md").read_text("utf-8")

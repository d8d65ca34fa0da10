"""The parser's tables ship as data, are those of the grammar, and nothing but time depends on
them."""

import ast
import json
import pickle
from pathlib import Path

import pytest

from fkdsl.base.spans import Source
from fkdsl.language.syntax import grammar_tables, parser
from fkdsl.language.syntax.grammar_tables import (
    TABLES,
    built,
    file_text,
    grammar_text,
    lalr,
    to_tables,
)

ROOT = Path(grammar_tables.__file__).parents[2]
SHIPPED = (ROOT / "language/syntax" / TABLES).read_text("utf-8")
TEXT = 'program p() -> str:\n    lm = prompt("a")\n    t ~ lm\n    return f"{t} {1 + 2}"\n'
UNSAFE = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "runpy"}


def test_the_tables_that_ship_are_those_of_the_grammar_by_the_installed_lark():
    """After a change of grammar.lark: python -m fkdsl.language.syntax.grammar_tables"""
    assert file_text(grammar_text()) == SHIPPED


def test_a_parser_from_tables_reads_every_program_as_a_built_one_does(monkeypatch):
    texts = [p.read_text("utf-8") for p in sorted((ROOT.parent / "programs").glob("*.fk"))]
    assert texts
    shipped = [parser.parse(Source("p.fk", text)) for text in texts]
    reference = built(grammar_text())
    monkeypatch.setattr(parser, "_lark", lambda: reference)
    assert [parser.parse(Source("p.fk", text)) for text in texts] == shipped


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no tables",
        SHIPPED[: len(SHIPPED) // 2],
        SHIPPED.replace("0", "1"),
        SHIPPED.replace("[0,", "[1,", 1),
    ],
)
def test_tables_that_are_damaged_are_not_read_and_change_nothing(monkeypatch, content, capfd):
    read = grammar_tables._beside
    monkeypatch.setattr(
        grammar_tables, "_beside", lambda name: content if name == TABLES else read(name)
    )
    assert to_tables(lalr()) == json.loads(SHIPPED.partition("\n")[2])
    assert capfd.readouterr() == ("", "")


def test_tables_of_another_grammar_are_not_read(monkeypatch):
    other = grammar_text() + "\nextra: NAME\n"
    read = grammar_tables._beside
    monkeypatch.setattr(
        grammar_tables, "_beside", lambda name: SHIPPED if name == TABLES else other
    )
    monkeypatch.setattr(grammar_tables, "from_tables", lambda _: pytest.fail("read"))
    assert lalr() is not None
    monkeypatch.setattr(grammar_tables, "_beside", read)


def test_a_lark_that_nobody_tried_builds_its_tables_itself(monkeypatch):
    monkeypatch.setattr(grammar_tables.lark, "__version__", "9.0.0")
    monkeypatch.setattr(grammar_tables, "from_tables", lambda _: pytest.fail("read"))
    assert lalr().parse([], start="start").children == []


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_planted_in_the_cache_folder_is_not_opened(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    # Under every name that an older version of fkdsl would have read.
    for name in ("grammar-9ddf20be986f1407.tables", "grammar.tables", TABLES):
        (cache / name).write_bytes(pickle.dumps(_Planted(tmp_path / "ran")))
    monkeypatch.setenv("FKDSL_CACHE", str(cache))
    before = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    parser._lark.cache_clear()
    parser.parse(Source("p.fk", TEXT))
    parser._lark.cache_clear()
    assert not (tmp_path / "ran").exists()
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == before


UNSAFE_CALLS = ("eval", "exec", "torch.load", "os.system", "__import__")
UNSAFE_ARGUMENTS = ("allow_pickle", "trust_remote_code", "shell")


def _calls(tree):
    """(the function, its unsafe arguments) of each call of a name, or of an attribute of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(name):
                    pass
                case ast.Attribute(ast.Name(owner), attribute):
                    name = f"{owner}.{attribute}"
                case _:
                    name = ""
            keywords = (k for k in node.keywords if k.arg in UNSAFE_ARGUMENTS)
            yield name, {k.arg: ast.unparse(k.value) for k in keywords}


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


MAKES_METHODS = ("quick_dataclass.py", "exec")
"""As the standard library's `dataclass` does: of the names of a class's own fields alone."""


def test_no_module_reads_a_format_that_runs_code():
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        assert not UNSAFE & set(_imports(tree)), path
        for name, keywords in _calls(tree):
            if (path.name, name) != MAKES_METHODS:
                assert name not in UNSAFE_CALLS, path
            assert all(value == "False" for value in keywords.values()), (path, name)

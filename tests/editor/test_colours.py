"""How programs are coloured: the grammars have the language's own names, and see what its lexer
sees."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import regex

from fkdsl.base.spans import Source
from fkdsl.editor.grammar import TEXTMATE, files, names
from fkdsl.language.syntax.lexer import WITHIN, Lexer
from fkdsl.report.highlight import highlighted
from tests.editor.asking import PROGRAMS, ROOT

pytest.importorskip("pygments", reason="pygments comes with the extra `dev`")

from pygments.token import Comment, Keyword, Name, Number, Operator, String, Token

from fkdsl.editor.pygments_lexer import FkLexer

BLOCKS = [
    block
    for page in sorted(ROOT.glob("docs/*.md"))
    for block in re.findall(r"^```fk\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
]
TEXTS = [*(p.read_text("utf-8") for p in PROGRAMS), *BLOCKS]
WORDS_WITHIN = frozenset().union(*WITHIN.values())


def test_the_files_are_those_that_the_tables_make():
    for path, text in files().items():
        assert path.read_text("utf-8") == text, "python -m fkdsl.editor.grammar"


def test_no_name_is_in_two_groups_that_look_the_same():
    groups = names()
    apart = ("control", "weighing", "operators", "constants", "declarations")
    found = [word for group in apart for word in groups[group]]
    assert len(found) == len(set(found))
    assert not set(groups["functions"]) & set(groups["distributions"])


def by_character(text, pieces):
    """The class of each character."""
    return [kind for kind, piece in pieces for _ in piece]


def reported(text):
    """The classes that the report's page gives, by the language's own lexer."""
    lines = highlighted(Source("a.fk", text))
    return by_character(text, [p for line in lines for p in [*line, ("", "\n")]])[: len(text)]


def kind_of(token):
    """A Pygments token as the report calls it."""
    if token in String:
        return "string"
    if token in Comment:
        return "comment"
    if token in Number:
        return "number"
    if token in Keyword.Constant:
        return "constant"
    if token in Keyword.Type:
        return ""
    return "keyword" if token in Keyword or token in Operator.Word else ""


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_pygments_sees_what_the_lexer_sees(text):
    tokens = list(FkLexer(ensurenl=False, stripnl=False).get_tokens(text))
    assert "".join(piece for _, piece in tokens) == text
    assert not [piece for token, piece in tokens if token in Token.Error]
    expected = reported(text)
    at = 0
    for token, piece in tokens:
        for c, kind in zip(piece, expected[at : at + len(piece)], strict=True):
            if c.isspace() or piece in WORDS_WITHIN:
                continue
            if kind == "string":  # values in an f-string's braces are code
                assert token not in Comment
            else:
                found = "draw" if piece == "~" else kind_of(token)
                assert found == kind, (piece, token)
        at += len(piece)


def test_pygments_knows_names_by_what_they_are():
    text = (
        "program p(n: int) -> str:\n    x ~ normal(0.0, 1.0)\n"
        '    s ~ text(lm, until="a")\n    return f(lm.text, str(n))\n'
    )
    found = {piece: token for token, piece in FkLexer().get_tokens(text) if piece.strip()}
    assert found["p"] in Name.Function
    assert found["int"] in Keyword.Type
    assert found["normal"] in Name.Class
    assert found["f"] in Name.Function
    assert found["~"] in Operator.Word
    pieces = [(piece, token) for token, piece in FkLexer().get_tokens(text)]
    assert ("text", Name.Builtin) in pieces
    assert ("text", Name.Attribute) in pieces
    assert ("str", Keyword.Type) in pieces
    assert ("str", Name.Builtin) in pieces


def test_pygments_takes_any_text():
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choice("ab :=~()[]{}\"'#f\\\n\té😀0.") for _ in range(40))
        assert (
            "".join(p for _, p in FkLexer(ensurenl=False, stripnl=False).get_tokens(text)) == text
        )
        Lexer(Source("a.fk", text)).tokens()


def test_pygments_finds_the_lexer_and_imports_little():
    code = (
        "import sys; from fkdsl.editor.pygments_lexer import FkLexer; "
        "assert not {'numpy', 'lark', 'jsonschema'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'fkdsl = "fkdsl.editor.pygments_lexer:FkLexer"' in project


def patterns(node):
    """Every regular expression of a TextMate grammar."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("match", "begin", "end"):
                yield value
            else:
                yield from patterns(value)
    elif isinstance(node, list):
        for item in node:
            yield from patterns(item)


def test_the_textmate_grammar_is_made_of_expressions_and_of_its_own_parts():
    grammar = json.loads(TEXTMATE.read_text("utf-8"))
    found = list(patterns(grammar))
    assert len(found) > 30
    for pattern in found:
        regex.compile(pattern)
    text = json.dumps(grammar)
    assert {f"#{name}" for name in grammar["repository"]} == set(
        re.findall(r'"include": "(#\w+)"', text)
    )


def test_the_extension_is_what_its_package_says():
    folder = Path(TEXTMATE).parents[1]
    package = json.loads((folder / "package.json").read_text("utf-8"))
    contributes = package["contributes"]
    for entry in [*contributes["grammars"], *contributes["snippets"]]:
        assert json.loads((folder / entry["path"]).read_text("utf-8"))
    (language,) = contributes["languages"]
    assert json.loads((folder / language["configuration"]).read_text("utf-8"))
    code = (folder / Path(package["main"]).name).read_text("utf-8")
    for command in contributes["commands"]:
        assert f'"{command["command"]}"' in code
    assert contributes["grammars"][0]["scopeName"] == "source.fk"


def test_the_snippets_are_programs_when_they_are_filled_in():
    from fkdsl.language.compile import check_source

    path = Path(TEXTMATE).parents[1] / "snippets" / "fk.json"
    for name, snippet in json.loads(path.read_text("utf-8")).items():
        body = "\n".join(snippet["body"])
        filled = re.sub(r"\$\{\d+:([^}]*)\}", r"\1", body)
        filled = re.sub(r"\$\{\d+\|([^,|]*)[^}]*\}|\$\d+", lambda m: m[1] or "", filled)
        filled = filled.replace("\\$", "$").replace("\t", "    ")
        if filled.split()[0] in {"program", "model", "def", "infer", "test"}:
            whole = f"program p() -> int:\n    return 1\n\n{filled}\n"
        else:
            lines = "".join(f"    {line}\n" for line in filled.splitlines())
            whole = f"def f(lm: context) -> int:\n{lines}    return 1\n"
        check_source(Source(name, whole))

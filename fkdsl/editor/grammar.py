"""How programs are coloured: the words and names of the language, as the lexer and the checker have
them, for the TextMate grammar (editors, documentation) and the Pygments lexer.

Both read what this module writes, so that none lists a name by itself:

    python -m fkdsl.editor.grammar      names.json, vscode/syntaxes/fk.tmLanguage.json

A test holds the files to the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fkdsl.inference.methods import METHODS
from fkdsl.language.check.checker import BUILT_INS
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.expressions import ATTRIBUTES
from fkdsl.language.check.queries import MEANS, QUANTILES
from fkdsl.language.check.scopes import WEIGHING
from fkdsl.language.check.tests import FIGURES, SUPPORT
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS
from fkdsl.report.highlight import CONSTANTS
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import NAMED_TYPES

HERE = Path(__file__).parent
NAMES = HERE / "names.json"
TEXTMATE = HERE / "vscode" / "syntaxes" / "fk.tmLanguage.json"
OPERATOR_WORDS = frozenset({"and", "or", "not", "in"})
FUNCTION_WORDS = frozenset({"def"})
Pattern = dict[str, Any]


def names() -> dict[str, list[str]]:
    """The words and names by what they are, each list in order."""
    assert BUILT_INS, "importing the checker fills TABLE"
    constants = {w for w in KEYWORDS if w.upper() in CONSTANTS}
    weighing = {kind.__name__.lower() for kind in WEIGHING} & KEYWORDS | {"expect"}
    control = KEYWORDS - constants - weighing - OPERATOR_WORDS - FUNCTION_WORDS
    public = {name: s for name, s in TABLE.items() if not name.startswith(".")}
    distributions = {n for n, s in public.items() if s.kind == "distribution"}
    groups: Mapping[str, Iterable[str]] = {
        "control": control,
        "weighing": weighing,
        "operators": OPERATOR_WORDS,
        "constants": constants,
        "declarations": DECLARATIONS,
        "types": {*NAMED_TYPES, "list", "dist"},
        "functions": public.keys() - distributions,
        "distributions": distributions,
        "operations": OPERATIONS,
        "figures": {*MEANS, *QUANTILES},
        "values": {*FIGURES, SUPPORT},
        "attributes": ATTRIBUTES,
        "methods": METHODS,
    }
    return {group: sorted(found) for group, found in groups.items()}


def textmate() -> Pattern:
    """The TextMate grammar, `source.fk`."""
    words = {group: "|".join(found) for group, found in names().items()}
    return {
        "name": "fk",
        "scopeName": "source.fk",
        "fileTypes": ["fk"],
        "patterns": [{"include": "#declarations"}, {"include": "#code"}],
        "repository": {
            "declarations": {"patterns": _declarations(words)},
            "code": {"patterns": _code(words)},
            "strings": {"patterns": _strings()},
            "escapes": _match("constant.character.escape.fk", _ESCAPE),
            "braces": {
                "patterns": [
                    _match("constant.character.escape.fk", r"\{\{|\}\}"),
                    {
                        "begin": r"\{",
                        "end": r"(?=['\"\n])|(?::[^}'\"]*)?\}",
                        "beginCaptures": {"0": {"name": _BRACE}},
                        "endCaptures": {"0": {"name": _BRACE}},
                        "name": "meta.interpolation.fk",
                        "patterns": [{"include": "#code"}],
                    },
                ]
            },
        },
    }


_ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)"
_BRACE = "punctuation.section.interpolation.fk"
_NUMBER = r"(?<![\w.])(?:0[xX][0-9a-fA-F]+|(?:\d[\d_]*)?\.?\d[\d_]*\.?(?:[eE][+-]?\d+)?)(?!\w)"


def _match(name: str, pattern: str) -> Pattern:
    return {"name": name, "match": pattern}


def _captured(pattern: str, *scopes: str) -> Pattern:
    """A pattern whose groups have scopes, in order."""
    return {
        "match": pattern,
        "captures": {str(i): {"name": f"{s}.fk"} for i, s in enumerate(scopes, 1)},
    }


def _declarations(words: Mapping[str, str]) -> list[Pattern]:
    """What begins at the left margin: words that are names elsewhere."""
    keyword, name = "keyword.declaration", "entity.name"
    return [
        _captured(r"^(program)\s+(\w+)", keyword, f"{name}.function"),
        _captured(r"^(extern)\s+(def)\s+(\w+)", keyword, keyword, f"{name}.function"),
        _captured(
            r"^(model)\s+(\w+)\s*=\s*(table)(?=\s*:)", keyword, f"{name}.type", "keyword.other"
        ),
        _captured(r"^(model)\s+(\w+)(?=\s*=)", keyword, f"{name}.type"),
        _captured(r"^(index)\s+(\w+)(?=\s*=)", keyword, f"{name}.type"),
        _captured(r"^(query)\s+(\w+)", keyword, f"{name}.constant"),
        _captured(rf"^(infer)\s+({words['methods']})\b", keyword, "support.function.method"),
        _captured(rf"^({words['declarations']})\b(?!\s*(?:[=~.\[,:]|[-+*/]=))", keyword),
        _captured(r"(?<=['\"])\s+(with)\b(?=.*(?::\s*(?:#.*)?$|=))", "keyword.other"),
        _captured(r"\b(from)(?=\s*['\"])", "keyword.other"),
    ]


def _code(words: Mapping[str, str]) -> list[Pattern]:
    called = r"(?=\s*\()"
    types = rf"(?:{words['types']})\b(?!\s*\()"
    return [
        _match("comment.line.number-sign.fk", r"#.*$"),
        {"include": "#strings"},
        _captured(r"\b(def)\s+(\w+)", "keyword.declaration", "entity.name.function"),
        _captured(rf"(?:(?<=:)|(?<=->)|(?<=list\[)|(?<=dist\[))\s*({types})", "storage.type"),
        _match("keyword.control.fk", rf"(?<!\.)\b(?:{words['control']})\b"),
        _match("keyword.other.weighing.fk", rf"(?<!\.)\b(?:{words['weighing']})\b"),
        _match("keyword.operator.word.fk", rf"\b(?:{words['operators']})\b"),
        _match("constant.language.fk", rf"\b(?:{words['constants']})\b"),
        _match("support.class.distribution.fk", rf"\b(?:{words['distributions']})\b{called}"),
        _match("support.function.context.fk", rf"\b(?:{words['operations']})\b{called}"),
        _match("support.function.builtin.fk", rf"\b(?:{words['functions']})\b{called}"),
        _match("support.function.figure.fk", rf"\b(?:{words['figures']})\b{called}"),
        _match("support.variable.attribute.fk", rf"(?<=\.)(?:{words['attributes']})\b"),
        _captured(rf"\b(\w+){called}", "entity.name.function.call"),
        _captured(r"\b([A-Za-z_]\w*)(?=\s*=(?!=)[^()\n]*[,)])", "variable.parameter"),
        _match("constant.numeric.fk", _NUMBER),
        _match("keyword.operator.draw.fk", "~"),
        _match("keyword.operator.fk", r"\*\*|//|==|!=|<=|>=|->|[-+*/]=|[-+*/%<>=]"),
    ]


def _strings() -> list[Pattern]:
    """Raw or not, with values in braces or without, of one line or several."""
    found = []
    for quote in ('"""', "'''", '"', "'"):
        for prefix, inside in (
            (r"\b(?:[fF][rR]|[rR][fF])", ["#braces"]),
            (r"\b[rR]", []),
            (r"\b[fF]", ["#escapes", "#braces"]),
            ("", ["#escapes"]),
        ):
            end = quote if len(quote) == 3 else f"{quote}|(?=$)"
            # In a raw string a backslash keeps its quote too.
            patterns = [{"include": name} for name in inside] + [{"match": r"\\."}]
            found.append(
                {
                    "name": f"string.quoted.{'triple' if len(quote) == 3 else 'single'}.fk",
                    "begin": prefix + quote,
                    "end": end,
                    "patterns": patterns,
                }
            )
    return found


def files() -> dict[Path, str]:
    """The files that are made of the tables, with what they say."""
    return {
        path: json.dumps(content, indent=1) + "\n"
        for path, content in ((NAMES, names()), (TEXTMATE, textmate()))
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

"""Programs in Pygments' colours, for documentation and papers: `pygmentize -l fk FILE.fk`, and
```` ```fk ```` in whatever uses Pygments.

The names are those of names.json (grammar.py). It imports nothing else of fkdsl, since every user
of Pygments imports it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, include, words
from pygments.token import (
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Token,
    Whitespace,
)

NAMES: dict[str, list[str]] = json.loads(Path(__file__).with_name("names.json").read_text("utf-8"))
CALLED = r"\b(?=\s*\()"
QUOTES = {'"""': "three", "'''": "three-single", '"': "one", "'": "one-single"}
_SPACE = r"([ \t]+)"


def _one_of(group: str, prefix: str = r"\b", suffix: str = r"\b") -> words:
    return words(tuple(NAMES[group]), prefix=prefix, suffix=suffix)


def _strings() -> list[Any]:
    """The beginnings of strings, each with the states that read it."""
    rules: list[Any] = []
    for quote, state in QUOTES.items():
        for prefix, kind in (
            ("(?:[fF][rR]|[rR][fF])", "fr"),
            ("[rR]", "r"),
            ("[fF]", "f"),
            ("", "s"),
        ):
            begin = (rf"\b{prefix}" if prefix else "") + quote
            rules.append((begin, String, f"{kind}-{state}"))
    return rules


def _string_states() -> dict[str, list[Any]]:
    """A state for each kind of string: raw or not, with values in braces or without."""
    states: dict[str, list[Any]] = {}
    for quote, state in QUOTES.items():
        for kind in ("fr", "r", "f", "s"):
            rules: list[Any] = [(quote, String, "#pop")]
            if len(quote) == 1:
                rules.append((r"\n", Whitespace, "#pop"))
            if "r" not in kind:
                rules.append(
                    (r"\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[\s\S])", String.Escape)
                )
            else:
                rules.append((r"\\[\s\S]", String))
            if "f" in kind:
                rules.append((r"\{\{|\}\}", String.Escape))
                rules.append((r"\{", String.Interpol, "braces"))
            rules.append((r"[^\\\"'{}\n]+", String))
            rules.append((r"[\s\S]", String))
            states[f"{kind}-{state}"] = rules
    return states


class FkLexer(RegexLexer):  # type: ignore[misc]  # Pygments has no types
    """The language of fkdsl's programs."""

    name = "fkdsl"
    aliases: ClassVar[list[str]] = ["fk", "fkdsl"]
    filenames: ClassVar[list[str]] = ["*.fk"]
    mimetypes: ClassVar[list[str]] = ["text/x-fk"]
    url = ""

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (rf"^(program){_SPACE}(\w+)", bygroups(Keyword.Declaration, Whitespace, Name.Function)),
            (
                rf"^(extern){_SPACE}(def){_SPACE}(\w+)",
                bygroups(
                    Keyword.Declaration, Whitespace, Keyword.Declaration, Whitespace, Name.Function
                ),
            ),
            (
                rf"^(model){_SPACE}(\w+)([ \t]*)(=)([ \t]*)(table)(?=\s*:)",
                bygroups(
                    Keyword.Declaration,
                    Whitespace,
                    Name.Class,
                    Whitespace,
                    Operator,
                    Whitespace,
                    Keyword,
                ),
            ),
            (
                words(tuple(NAMES["methods"]), prefix=rf"^(infer){_SPACE}(", suffix=r")\b"),
                bygroups(Keyword.Declaration, Whitespace, Name.Builtin),
            ),
            (
                _one_of("declarations", "^", r"\b(?!\s*(?:[=~.\[,:]|[-+*/]=))"),
                Keyword.Declaration,
            ),
            (r"(?<=['\"])([ \t]+)(with)\b(?=.*:)", bygroups(Whitespace, Keyword)),
            (r"\b(from)(?=\s*['\"])", Keyword),
            include("code"),
        ],
        "code": [
            (r"#.*$", Comment.Single),
            *_strings(),
            (r"\s+|\\\n", Whitespace),
            (rf"\b(def){_SPACE}(\w+)", bygroups(Keyword.Declaration, Whitespace, Name.Function)),
            (
                words(
                    tuple(NAMES["types"]),
                    prefix=r"(?:(?<=:)|(?<=: )|(?<=->)|(?<=-> )|(?<=list\[)|(?<=dist\[))",
                    suffix=r"\b(?!\s*\()",
                ),
                Keyword.Type,
            ),
            (_one_of("control", r"(?<!\.)\b"), Keyword),
            (_one_of("weighing", r"(?<!\.)\b"), Keyword),
            (_one_of("operators"), Operator.Word),
            (_one_of("constants"), Keyword.Constant),
            (_one_of("distributions", suffix=CALLED), Name.Class),
            (_one_of("operations", suffix=CALLED), Name.Builtin),
            (_one_of("functions", suffix=CALLED), Name.Builtin),
            (_one_of("figures", suffix=CALLED), Name.Builtin),
            (_one_of("attributes", r"(?<=\.)"), Name.Attribute),
            (rf"[^\W\d]\w*{CALLED}", Name.Function),
            (r"[^\W\d]\w*", Name),
            (r"0[xX][\da-fA-F]+|(?:\d[\d_]*)?\.?\d[\d_]*\.?(?:[eE][+-]?\d+)?", Number),
            (r"~", Operator.Word),
            (r"\*\*|//|==|!=|<=|>=|->|[-+*/]=|[-+*/%<>=]", Operator),
            (r"[\[\](){},:.]", Punctuation),
            (r".", Token.Error),
        ],
        "braces": [
            (r":[^}'\"\n]*(?=\})", String.Interpol),
            (r"\}", String.Interpol, "#pop"),
            (r"(?=[\"'\n])", String, "#pop"),
            include("code"),
        ],
        **_string_states(),
    }


__all__ = ["FkLexer"]

"""The parser that lark makes of grammar.lark, read from tables that ship with fkdsl.

Making the tables takes longer than most programs take to parse, so they are made once, by

    python -m fkdsl.language.syntax.grammar_tables

and stand beside the grammar as JSON: data, which runs nothing when it is read, in a folder that
only an installer writes. `lalr` builds them anew where they are of another grammar or where lark is
of a version that nobody has tried them with. tests/language/test_grammar_tables.py fails when they
are not those of the grammar.

All that fkdsl uses of lark's private parts is in this file: the layout of a serialised parser.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from pkgutil import get_data
from typing import Any

import lark
from lark import Lark, Token
from lark.grammar import Rule
from lark.lexer import Lexer, TerminalDef
from lark.parsers.lalr_analysis import Reduce, Shift

TRIED = ("1.2.", "1.3.")
"""Versions of lark that read these tables as they were written."""
TABLES = "grammar.tables"
SHIFT = 0
"""lark's number of the action that reads a token; 1 is a reduction."""
OPTIONS: dict[str, Any] = {
    "start": ["start", "expression"],
    "keep_all_tokens": True,
    "maybe_placeholders": False,
}


class GivenTokens(Lexer):  # type: ignore[misc]
    """Hands lark the tokens that our own lexer made."""

    def __init__(self, lexer_conf: Any) -> None:
        pass

    def lex(self, data: Any) -> Iterator[Token]:
        return iter(data)


def lalr() -> Lark:
    """The parser of grammar.lark: from the tables that ship, or built where these do not fit."""
    grammar = grammar_text()
    if lark.__version__.startswith(TRIED):
        with suppress(OSError, UnicodeDecodeError):
            mark, _, body = _beside(TABLES).partition("\n")
            if mark == fingerprint(grammar, body):
                return from_tables(json.loads(body))
    return built(grammar)


def built(grammar: str) -> Lark:
    """The parser, its tables made from the grammar."""
    return Lark(grammar, parser="lalr", lexer=GivenTokens, **OPTIONS)


def grammar_text() -> str:
    return _beside("grammar.lark")


def fingerprint(grammar: str, body: str) -> str:
    """The first line of the file: of this grammar, read with our options, and these tables,
    undamaged."""
    said = f"{grammar}\0{sorted(OPTIONS.items())}\0{body}"
    return blake2b(said.encode(), digest_size=16).hexdigest()


def to_tables(parser: Lark) -> dict[str, Any]:
    """The parser's tables as JSON-able data, the same for the same grammar: states are numbered
    from the start on."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    table = data["parser"]["parser"]
    names = table["tokens"]
    states = {
        state: {names[token]: action for token, action in actions.items()}
        for state, actions in table["states"].items()
    }
    numbers = _numbered(states, table["start_states"])
    return {
        "rules": [_plain(memo[i]) for i in range(len(memo))],
        "rules_of": _plain(data["rules"]),
        "conf": _plain(data["parser"]["parser_conf"]),
        "states": [
            {token: _renumbered(states[state][token], numbers) for token in sorted(states[state])}
            for state in numbers
        ],
        "starts": {k: numbers[v] for k, v in sorted(table["start_states"].items())},
        "ends": {k: numbers[v] for k, v in sorted(table["end_states"].items())},
    }


def from_tables(tables: Mapping[str, Any]) -> Lark:
    """The parser again. lark would look up its kinds of rules anew for each of the states' actions,
    half of the time that reading the tables takes: so it reads them without states, which are added
    here."""
    data = {
        "parser": {
            "lexer_conf": {
                "terminals": [], "ignore": [], "g_regex_flags": 0, "use_bytes": False,
                "lexer_type": GivenTokens,
            },
            "parser_conf": tables["conf"],
            "parser": {
                "tokens": {},
                "states": {},
                "start_states": tables["starts"],
                "end_states": tables["ends"],
            },
        },
        "rules": tables["rules_of"],
        "options": {"parser": "lalr", "lexer": GivenTokens, **OPTIONS},
    }  # fmt: skip
    parser: Lark = Lark._load_from_dict(data, dict(enumerate(tables["rules"])))
    rules = {of["@"]: rule for of, rule in zip(tables["rules_of"], parser.rules, strict=True)}
    parser.parser.parser._parse_table.states = {
        i: {
            token: (Shift, target) if kind == SHIFT else (Reduce, rules[target["@"]])
            for token, (kind, target) in state.items()
        }
        for i, state in enumerate(tables["states"])
    }
    return parser


def _numbered(states: Mapping[int, Mapping[str, Any]], starts: Mapping[str, int]) -> dict[int, int]:
    """Numbers of states by the order in which they are reached, which does not depend on how lark
    counted them."""
    numbers = {starts[name]: i for i, name in enumerate(sorted(starts))}
    waiting = deque(numbers)
    while waiting:
        state = waiting.popleft()
        for token in sorted(states[state]):
            kind, target = states[state][token]
            if kind == SHIFT and target not in numbers:
                numbers[target] = len(numbers)
                waiting.append(target)
    return numbers


def _renumbered(action: tuple[int, Any], numbers: Mapping[int, int]) -> list[Any]:
    kind, target = action
    return [kind, numbers[target] if kind == SHIFT else _plain(target)]


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _beside(name: str) -> str:
    data = get_data("fkdsl.language.syntax", name)
    assert data is not None
    return data.decode("utf-8").replace("\r\n", "\n")


def file_text(grammar: str) -> str:
    """What the file of a grammar's tables says: the fingerprint, then JSON, a state a line."""
    body = (
        "{" + ",\n".join(f'"{k}":{_lines(v)}' for k, v in to_tables(built(grammar)).items()) + "}\n"
    )
    return f"{fingerprint(grammar, body)}\n{body}"


def _lines(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    return "[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "]"


if __name__ == "__main__":
    Path(__file__).with_name(TABLES).write_text(file_text(grammar_text()), "utf-8")

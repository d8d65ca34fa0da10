r"""A Lark grammar in llguidance's dialect, written from what Lark itself has compiled.

Lark writes templates, ranges and imports out. Priorities are dropped: they choose among the parses
of a text, and here it only matters that there is one. Ignored text may stand at both ends, as in
Lark. Terminals stay terminals, matched by longest match.

A terminal that llguidance cannot follow (a look-around, a back-reference) is replaced by a weaker
one. By longest match a weaker terminal could take characters that the next one needs, so in that
case every single character becomes a terminal. The resulting grammar then has every text of
Lark's.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fkdsl.base.deadline import OutOfTime, bounded
from fkdsl.engine.constraints.matchers import UNFORCED, compile_error
from fkdsl.engine.constraints.rust_patterns import Characters, weaker_terminal

LARK_TERMINALS = {r'".*?(?<!\\)(\\\\)*?"': r'"(?:\\.|[^"\\\n])*"'}
"""Terminals of Lark's own library that look around, and a pattern for each that does not:
ESCAPED_STRING ends at the first quote that no backslash escapes."""
LARK_SECONDS = 10.0
"""CPU time that Lark may take to read a grammar."""


def rewritten(grammar: str) -> tuple[str, tuple[str, ...]]:
    """(the grammar for llguidance, a line for each terminal that it follows by a weaker pattern).
    Raises ValueError if Lark cannot read the grammar."""
    parser = compiled(grammar)
    terminals: dict[str, str] = {}
    weaker: list[str] = []
    for terminal in parser.terminals:
        text, exact = _terminal(terminal.pattern)
        terminals[terminal.name] = text
        if not exact:
            weaker.append(terminal.name)
    if not weaker:
        return _by_terminals(parser, terminals), ()
    shown = (f"the terminal {_shown(name)} beyond a weaker pattern" for name in weaker)
    return _by_characters(parser), tuple(shown)


def _shown(name: str) -> str:
    return "of ignored text" if name.startswith("__IGNORE") else f"`{name}`"


def compiled(grammar: str) -> Any:
    import lark

    try:
        with bounded(LARK_SECONDS):
            return lark.Lark(grammar, parser="earley", lexer="dynamic", import_paths=[])
    except OutOfTime as error:
        raise ValueError(f"it takes {error} to read") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except Exception as error:  # Lark raises many kinds
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None


def _terminal(pattern: Any) -> tuple[str, bool]:
    """(a terminal in llguidance's dialect, whether it matches the same texts)."""
    if type(pattern).__name__ == "PatternStr" and not pattern.flags:
        return json.dumps(pattern.value, ensure_ascii=False), True
    regexp = LARK_TERMINALS.get(pattern.to_regexp(), pattern.to_regexp())
    plain = f"/{regexp.replace('/', chr(92) + '/')}/"
    if (
        "/" not in regexp
        and "\n" not in regexp
        and not compile_error(f"start: X\nX: {plain}\n{UNFORCED}")
    ):
        return plain, True
    text, exact = weaker_terminal(regexp)
    return f"/{text}/", exact


def _by_terminals(parser: Any, terminals: dict[str, str]) -> str:
    names = {name: f"T{i}" for i, name in enumerate(terminals)}
    rules = _rules(parser, lambda name: names[name])
    ignored = [names[name] for name in parser.ignore_tokens]
    lines = [f"{names[name]}: {text}" for name, text in terminals.items()]
    edge = "edge" if ignored else ""
    if ignored:
        # Copies, since an ignored terminal may stand in no rule.
        lines += [f"E{i}: {terminals[name]}" for i, name in enumerate(parser.ignore_tokens)]
        lines.append(f"edge: ({' | '.join(f'E{i}' for i in range(len(ignored)))})*")
        lines += [f"%ignore {terminals[name]}" for name in parser.ignore_tokens]
    return _joined(rules, lines, f"{edge} r_start {edge}")


def _by_characters(parser: Any) -> str:
    names = {terminal.name: f"t{i}" for i, terminal in enumerate(parser.terminals)}
    gap = "gap " if parser.ignore_tokens else ""
    rules = _rules(parser, lambda name: gap + names[name])
    characters = Characters()
    lines = [f"{names[t.name]}: {characters.rule(t.pattern.to_regexp())}" for t in parser.terminals]
    if gap:
        lines.append(f"gap: ({' | '.join(names[name] for name in parser.ignore_tokens)})*")
    lines += [f"{name}: /{text}/" for text, name in characters.names.items()]
    return _joined(rules, lines, f"r_start {gap}")


def _joined(rules: list[str], lines: list[str], start: str) -> str:
    return "\n".join([f"start: {start.strip()}", *rules, *lines, UNFORCED])


def _rules(parser: Any, terminal: Any) -> list[str]:
    """Lark's rules, under names that llguidance reads. Lark has made each choice of a rule's
    optional parts an alternative."""
    numbers: dict[str, str] = {"start": "r_start"}
    alternatives: dict[str, dict[str, None]] = {}
    for rule in parser.rules:
        symbols = [
            terminal(s.name) if s.is_term else numbers.setdefault(s.name, f"r{len(numbers)}")
            for s in rule.expansion
        ]
        name = numbers.setdefault(rule.origin.name, f"r{len(numbers)}")
        alternatives.setdefault(name, {})[" ".join(symbols) or '""'] = None
    return [f"{name}: {' | '.join(options)}" for name, options in alternatives.items()]


def ignores(grammar: str) -> bool:
    """Whether a grammar has an `%ignore` line."""
    return bool(re.search(r"^\s*%ignore\b", grammar, re.MULTILINE))

"""Parsers of Lark grammars, bounded in time.

Lark matches terminals by `re`, which cannot be stopped, so here `patterns.timed_match` matches
them. CPU time and the run's deadline bound the parser itself.

>>> parser = build_parser('start: "a"+')
>>> parses_whole(parser, "aaa"), parses_whole(parser, "ab")
(True, False)
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import Any

from fkdsl.base.deadline import Budget, OutOfTime, bounded
from fkdsl.engine.constraints.languages import LONGEST_SOURCE
from fkdsl.values.library.patterns import compiled_pattern, timed_match
from fkdsl.values.signatures import BuiltinError

PARSE_SECONDS = 10.0
"""CPU time for parsing one text."""
GRAMMAR_PATH = os.path.join(os.devnull, "grammar")
"""The path that Lark is told for a grammar. Without one it would look for `%import .name` beside
the main script of the process."""
UNWATCHED = 0.1
"""CPU time for which a parse runs without being watched, since watching makes it three times as
slow."""

_building = threading.Lock()
"""Lark reads its own grammar of grammars when it reads the first one, which is not for several
threads at once."""

_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""The budget of the current parse, None once that is watched."""


def build_parser(grammar: str) -> Any:
    """The parser of a grammar, for `parses_whole`. Raises what Lark raises for a text that is no
    grammar."""
    import lark

    with _building:
        parser = lark.Lark(
            grammar,
            parser="earley",
            lexer="dynamic",
            ambiguity="forest",  # makes no tree, which takes exponential time for some grammars
            import_paths=[],
            source_path=GRAMMAR_PATH,
        )
    earley: Any = parser.parser.parser  # the library has no option for how terminals are matched
    patterns = {
        t.name: compiled_pattern(t.pattern.to_regexp(), LONGEST_SOURCE) for t in parser.terminals
    }

    def match(terminal: Any, text: str, index: int = 0) -> Any:
        if (budget := _budget.get()) is not None and budget.used > UNWATCHED:
            budget.watch()
            _budget.set(None)
        return timed_match(patterns[terminal.name].match, text, index)

    assert callable(earley.term_matcher)
    earley.term_matcher = match
    return parser


def parses_whole(parser: Any, text: str) -> bool:
    """Whether the grammar derives the whole text. Raises BuiltinError (FK414) if that takes more
    than PARSE_SECONDS of CPU time, ValueError if Lark cannot decide it."""
    import lark

    try:
        with bounded(PARSE_SECONDS, at_once=False) as budget:
            token = _budget.set(budget)
            try:
                parser.parse(text)
            finally:
                _budget.reset(token)
        return True
    except OutOfTime:
        raise BuiltinError(
            f"the grammar takes more than {PARSE_SECONDS:g} s of CPU time on a text of "
            f"{len(text):,} characters",
            "write it so that a text has few derivations: `start: item+` rather than "
            "`start: start start | item`",
            "FK414",
        ) from None
    except lark.exceptions.LarkError:
        return False
    except RuntimeError as error:
        # Lark has several derivations, where what is ignored is also a terminal, and cannot choose.
        if "multiple start symbol items" in str(error):
            return True
        raise ValueError(str(error)) from None

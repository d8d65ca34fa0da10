"""Lark grammars as parsers, within bounds.

Lark matches terminals by `re`, which cannot be stopped: here `patterns.timed` matches them. The
parser itself is Python, and bounded by CPU time and the run's deadline.

>>> parser = build_parser('start: "a"+')
>>> parses_whole(parser, "aaa"), parses_whole(parser, "ab")
(True, False)
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

from fkdsl.base.deadline import Budget, OutOfTime, bounded
from fkdsl.values.library.patterns import compiled_pattern, timed_match
from fkdsl.values.signatures import BuiltinError

PARSE_SECONDS = 10.0
"""CPU time for one text."""
GRAMMAR_PATH = os.path.join(os.devnull, "grammar")
"""Where a grammar is said to stand: else lark looks for `%import .name` beside the main script of
the process."""
UNWATCHED = 0.1
"""CPU time for which a parse goes on without being watched: being watched takes three times as
long."""
LONGEST = 200_000
"""Characters of a terminal's pattern."""

_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""Of the parse that goes on, until it is watched."""


def build_parser(grammar: str) -> Any:
    """What `parses_whole` takes. Raises what Lark raises of a text that is no grammar."""
    import lark

    parser = lark.Lark(
        grammar, parser="earley", lexer="dynamic", import_paths=[], source_path=GRAMMAR_PATH
    )
    earley: Any = parser.parser.parser  # the library has no option for how terminals are matched
    patterns = {t.name: compiled_pattern(t.pattern.to_regexp(), LONGEST) for t in parser.terminals}

    def match(terminal: Any, text: str, index: int = 0) -> Any:
        if (budget := _budget.get()) is not None and budget.used > UNWATCHED:
            budget.watch()
            _budget.set(None)
        return timed_match(patterns[terminal.name].match, text, index)

    assert callable(earley.term_matcher)
    earley.term_matcher = match
    return parser


def parses_whole(parser: Any, text: str) -> bool:
    """Whether the grammar derives the text. Raises BuiltinError (FK414) if that takes more than
    PARSE_SECONDS of CPU time, ValueError if Lark cannot tell."""
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
        message = f"the grammar takes more than {PARSE_SECONDS:g} s of CPU time on a text of {len(text):,} characters"
        help = "write it so that a text has few derivations: `start: item+` rather than `start: start start | item`"
        raise BuiltinError(message, help, "FK414") from None
    except lark.exceptions.LarkError:
        return False
    except (
        RuntimeError
    ) as error:  # its way to say that it cannot tell an empty start from an ignored text
        raise ValueError(str(error)) from None

r"""Patterns of the `regex` library, compiled and matched within bounds on time and size.

>>> pattern_mistake("(ab"), pattern_mistake(r"\d{4}"), pattern_mistake("(?:a{9999}){9999}")
('missing ) at character 4', '', 'its repeats come to more than 100,000 characters')
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import regex

from fkdsl.base.deadline import current
from fkdsl.engine.constraints.patterns import LONGEST_PATTERN
from fkdsl.values.signatures import BuiltinError

WRITTEN_OUT = 100_000
"""Most characters of a pattern with its repeats written out, as `regex` does it: (?:a{9999}){9999}
would take all memory."""
MATCH_SECONDS = 1.0
"""CPU time that a pattern may take on one text."""
FIRST_SECONDS = 0.1
"""Time of the first try. Nearly every match takes less, and needs no other clock."""
PATTERN_HELP = (
    "write a pattern of Python's `re`, with a backslash before a bracket or sign that stands for "
    "itself"
)
_REPEAT = regex.compile(r"\{\s*(\d+)\s*(?:,\s*\d*\s*)?\}")
_CLASS = regex.compile(r"\[\^?\]?(?:\\.|[^\]\\])*+\]", regex.DOTALL)
_NOT_READ = regex.compile(r"\(\?(?:#|[a-zA-Z0-9]*[xV])")
"""Comments and flags that change the meaning of brackets."""


@lru_cache(maxsize=256)
def _compile(pattern: str, longest: int = LONGEST_PATTERN) -> tuple[Any, str]:
    """(the compiled pattern, ""), or (None, why it is refused)."""
    if len(pattern) > longest:
        return None, f"longer than {longest:,} characters"
    if written_out(pattern) > WRITTEN_OUT:
        return None, f"its repeats come to more than {WRITTEN_OUT:,} characters"
    try:
        return regex.compile(pattern), ""
    except RecursionError:
        return None, "nested too deep"
    except regex.error as raised:
        error: Any = raised
        where = f" at character {error.pos + 1}" if error.pos is not None else ""
        return None, f"{error.msg}{where}"
    except Exception as error:  # the library raises other kinds for some wrong patterns
        return None, str(error) or type(error).__name__


def pattern_mistake(pattern: str, longest: int = LONGEST_PATTERN) -> str:
    """Why a text is no pattern, in the library's words; "" if it is one."""
    return _compile(pattern, longest)[1]


def compiled_pattern(pattern: str, longest: int = LONGEST_PATTERN) -> Any:
    """The compiled pattern. Raises BuiltinError with the library's reason if it is none."""
    result, mistake = _compile(pattern, longest)
    if mistake:
        raise BuiltinError(f"not a pattern: {mistake}: {_shown(pattern)!r}", PATTERN_HELP)
    return result


def timed_match(match: Callable[..., Any], text: str, *args: Any) -> Any:
    """match(text, *args), where `match` is a method of a compiled pattern, within MATCH_SECONDS of
    this thread's CPU time and before the current deadline. Raises BuiltinError (FK414) with the
    pattern, or DeadlinePassed.

    The library counts the CPU time of the whole process, in which several threads may run. So a
    match that is over its time is started again with more, until it has had MATCH_SECONDS of its
    own thread's time.
    """
    try:
        return match(text, *args, timeout=FIRST_SECONDS)
    except TimeoutError:
        pass
    deadline, seconds = current(), MATCH_SECONDS
    while True:
        deadline.check()
        began = time.thread_time()
        try:
            # Near the deadline the match gets too little time, which only serves to end it soon.
            return match(text, *args, timeout=min(seconds, max(deadline.left / 2, 0.05)))
        except TimeoutError:
            if time.thread_time() - began >= 0.9 * MATCH_SECONDS:
                pattern = match.__self__.pattern  # type: ignore[attr-defined]
                raise BuiltinError(
                    f"the pattern {_shown(pattern)!r} takes more than {MATCH_SECONDS:g} s of CPU "
                    f"time on a text of {len(text):,} characters",
                    "avoid nested repeats such as (a+)+",
                    "FK414",
                ) from None
            seconds *= 2


def _shown(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else f"{pattern[:57]}..."


def written_out(pattern: str) -> int:
    """About how many characters a pattern has with its repeats written out, and never much fewer.

    >>> written_out("ab{3}"), written_out("(?:ab|c){100}")
    (4, 700)
    """
    if _NOT_READ.search(pattern):
        size = len(pattern)
        for times in _REPEAT.findall(pattern):
            size *= _times(times)
        return size
    open_groups, last, i = [0], 0, 0
    while i < len(pattern):
        repeat = _REPEAT.match(pattern, i)
        if repeat:
            more = last * (_times(repeat[1]) - 1)
            open_groups[-1] += more
            last, i = last + more, repeat.end()
            continue
        if pattern[i] == "(":
            open_groups.append(0)
            i += 1
            continue
        if pattern[i] == ")" and len(open_groups) > 1:
            last, i = open_groups.pop() + 1, i + 1
        else:
            whole = _CLASS.match(pattern, i)
            last, i = 1, whole.end() if whole else i + (2 if pattern[i] == "\\" else 1)
        open_groups[-1] += last
    return sum(open_groups)


def _times(digits: str) -> int:
    return max(1, int(digits)) if len(digits) < 9 else 10**9

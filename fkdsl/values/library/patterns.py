r"""Patterns of the `regex` library, compiled and matched within bounds on time and size.

>>> pattern_mistake("(ab"), pattern_mistake(r"\d{4}"), pattern_mistake("(?:a{9999}){9999}")
('missing ) at character 4', '', 'its repeats come to more than 100,000 characters')
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fkdsl.base.deadline import current
from fkdsl.base.lazy import lazy_import
from fkdsl.engine.constraints.languages import LONGEST_PATTERN
from fkdsl.values.signatures import BuiltinError

if TYPE_CHECKING:
    import regex

    from fkdsl.engine.constraints import pattern_size, patterns
else:
    regex = lazy_import("regex")
    pattern_size = lazy_import("fkdsl.engine.constraints.pattern_size")
    patterns = lazy_import("fkdsl.engine.constraints.patterns")

MATCH_SECONDS = 1.0
"""CPU time that a pattern may take on one text."""
FIRST_SECONDS = 0.1
"""Time of the first try. Nearly every match takes less, and needs no other clock."""
BEGINNINGS = 10 * LONGEST_PATTERN
"""Most characters of a pattern for beginnings of texts."""
_slow: set[str] = set()
"""Patterns that took too long on the beginning of a text, of which nothing more is asked."""
PATTERN_HELP = (
    "write a pattern of Python's `re`, with a backslash before a bracket or sign that stands for "
    "itself"
)


@lru_cache(maxsize=256)
def _compile(pattern: str, longest: int = LONGEST_PATTERN) -> tuple[Any, str]:
    """(the compiled pattern, ""), or (None, why it is refused)."""
    if len(pattern) > longest:
        return None, f"longer than {longest:,} characters"
    if pattern_size.written_out(pattern) > pattern_size.WRITTEN_OUT:
        return None, f"its repeats come to more than {pattern_size.WRITTEN_OUT:,} characters"
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
        raise BuiltinError(
            f"not a pattern: {mistake}: {_shown(pattern)!r}",
            f"{PATTERN_HELP}; of one that a model writes, `condition valid_pattern(p)` first",
        )
    return result


def timed_match(match: Callable[..., Any], text: str, *args: Any, **options: Any) -> Any:
    """match(text, *args, **options), where `match` is a method of a compiled pattern, within
    MATCH_SECONDS of this thread's CPU time and before the current deadline. Raises BuiltinError
    (FK414) with the pattern, also where it needs more memory than there is, or DeadlinePassed.

    The library counts the CPU time of the whole process, in which several threads may run. So a
    match that is over its time is started again with more, until it has had MATCH_SECONDS of its
    own thread's time.
    """
    try:
        return _timed(match, text, *args, **options)
    except MemoryError:
        raise BuiltinError(
            f"the pattern {_pattern(match)} needs more memory than there is, on a text of "
            f"{len(text):,} characters",
            "avoid a group that calls itself before it has read anything",
            "FK414",
        ) from None


def _timed(match: Callable[..., Any], text: str, *args: Any, **options: Any) -> Any:
    try:
        return match(text, *args, timeout=FIRST_SECONDS, **options)
    except TimeoutError:
        pass
    deadline, seconds = current(), MATCH_SECONDS
    while True:
        deadline.check()
        began = time.thread_time()
        try:
            # Near the deadline the match gets too little time, which only serves to end it soon.
            left = max(deadline.left / 2, 0.05)
            return match(text, *args, timeout=min(seconds, left), **options)
        except TimeoutError:
            if time.thread_time() - began >= 0.9 * MATCH_SECONDS:
                raise BuiltinError(
                    f"the pattern {_pattern(match)} takes more than {MATCH_SECONDS:g} s of CPU "
                    f"time on a text of {len(text):,} characters",
                    "avoid nested repeats such as (a+)+",
                    "FK414",
                ) from None
            seconds *= 2


def _pattern(match: Callable[..., Any]) -> str:
    return repr(_shown(match.__self__.pattern))  # type: ignore[attr-defined]


@lru_cache(maxsize=256)
def _beginnings(pattern: str) -> tuple[Any, list[Any]]:
    """(the compiled pattern whose partial matches may be beginnings of texts that match, those with
    whose texts none of them begins); (None, []) where nothing is known."""
    beginnings = patterns.beginnings_of(pattern)
    written = () if beginnings is None else (beginnings.pattern, *beginnings.refused)
    compiled = [_compile(part, BEGINNINGS)[0] for part in written]
    return (None, []) if not compiled or None in compiled else (compiled[0], compiled[1:])


def may_begin_match(pattern: str, text: str) -> bool:
    """False only if no text that begins with this one matches the pattern."""
    may_begin, refused = _beginnings(pattern)
    if may_begin is None or pattern in _slow:
        return True
    try:
        if any(timed_match(part.match, text) for part in refused):
            return False
        return timed_match(may_begin.fullmatch, text, partial=True) is not None
    except BuiltinError:
        _slow.add(pattern)
        return True


def _shown(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else f"{pattern[:57]}..."

"""Bounds on patterns, which hold before the `regex` library compiles one."""

from __future__ import annotations

import regex

WRITTEN_OUT = 100_000
"""Most characters of a pattern with its repeats written out, as `regex` does it: (?:a{9999}){9999}
would take all memory."""
_REPEAT = regex.compile(r"\{\s*(\d+)\s*(?:,\s*\d*\s*)?\}")
_CLASS = regex.compile(r"\[\^?\]?(?:\\.|[^\]\\])*+\]", regex.DOTALL)
_NOT_READ = regex.compile(r"\(\?(?:#|[a-zA-Z0-9]*[xV])")
"""Comments and flags that change the meaning of brackets."""


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

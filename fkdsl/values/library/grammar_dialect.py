"""Help for grammars in llguidance's dialect of Lark: the same in Lark's own syntax."""

from __future__ import annotations

import re

DIALECT_FORMS = (
    (re.compile(r"[\w)\]\"]\s*\{\s*(\d+)\s*\}"), "`x~{0}` for `x{{{0}}}`"),
    (re.compile(r"[\w)\]\"]\s*\{\s*(\d+)\s*,\s*(\d+)\s*\}"), "`x~{0}..{1}` for `x{{{0},{1}}}`"),
    (re.compile(r"[\w)\]\"]\s*\{\s*(\d+)\s*,\s*\}"), "`x~{0} x*` for `x{{{0},}}`"),
    (re.compile(r"[\w)\]\"]\s*\{\s*,\s*(\d+)\s*\}"), "`x~0..{0}` for `x{{,{0}}}`"),
    (re.compile(r"%regex\b"), "a terminal `NAME: /pattern/` for `%regex`"),
    (re.compile(r"%json\b"), "`valid_json(s, schema=...)` in place of `%json`"),
    (re.compile(r"%(?:llguidance|lark)\b"), "a grammar without `%llguidance`"),
    (re.compile(r"^\s*\w+\s*\[[^]\n]*\]\s*:", re.MULTILINE),
     "`name: ...` without attributes in brackets"),
    (re.compile(r"<\[|<\|"), "plain texts for special tokens"),
)  # fmt: skip
"""For each form that only llguidance's dialect has, its pattern and Lark's own form."""
_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|//.*|/(?:\\.|[^/\\\n])+/[a-z]*')


def dialect_help(grammar: str) -> str:
    """How to write a grammar's forms of llguidance's dialect in Lark's own; "" if it has none.

    >>> dialect_help('start: DIGIT{3,5}')
    "write it in Lark's own form: `x~3..5` for `x{3,5}`"
    """
    plain = _QUOTED.sub('""', grammar)
    forms = [
        form.format(*match.groups())
        for pattern, form in DIALECT_FORMS
        if (match := pattern.search(plain))
    ]
    return f"write it in Lark's own form: {', '.join(forms)}" if forms else ""

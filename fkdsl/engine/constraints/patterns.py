r"""Patterns of the `regex` library as trees: exact where they are regular, else in a weaker form.

    pattern_reader.py        the syntax, read as the library reads it
    pattern_groups.py        what refers to groups; weaker forms of what no automaton follows
    pattern_expressions.py   trees as expressions, which make an automaton

A back-reference is exact where its group can capture few texts; else its weaker form is any text of
the group. An atomic group is exact but for repeats inside that may read nothing. What no automaton
follows at all (`(*SKIP)`) raises `Unsupported`. Of every pattern that is not exact, the library
itself says whether a text may be the beginning of one that matches (pattern_ends.py).

>>> from fkdsl.engine.constraints.pattern_trees import weaker_reasons
>>> [list(weaker_reasons(parse_pattern(p))) for p in (r"([ab])x\1", r"(\w+)x\1")]
[[], ['a back-reference']]
"""

from __future__ import annotations

from functools import lru_cache

from fkdsl.engine.constraints.languages import LONGEST_PATTERN
from fkdsl.engine.constraints.pattern_ends import Beginnings
from fkdsl.engine.constraints.pattern_groups import with_groups
from fkdsl.engine.constraints.pattern_reader import Reading, read_pattern
from fkdsl.engine.constraints.pattern_size import WRITTEN_OUT, written_out
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported


@lru_cache(maxsize=256)
def _read(pattern: str) -> Reading:
    if len(pattern) > LONGEST_PATTERN:
        raise Unsupported(f"the pattern is longer than {LONGEST_PATTERN:,} characters")
    if written_out(pattern) > WRITTEN_OUT:
        raise Unsupported(f"its repeats come to more than {WRITTEN_OUT:,} characters")
    try:
        return read_pattern(pattern)
    except RecursionError:
        raise Unsupported("a pattern that is nested too deep") from None
    except Unsupported:
        raise
    except Exception as error:  # the library raises many kinds for wrong patterns
        raise Unsupported(f"a part that the `regex` library does not read ({error})") from None


@lru_cache(maxsize=256)
def parse_pattern(pattern: str) -> Tree:
    """The tree of a pattern. Raises Unsupported."""
    try:
        return with_groups(_read(pattern))
    except RecursionError:
        raise Unsupported("a pattern that is nested too deep") from None


@lru_cache(maxsize=256)
def beginnings_of(pattern: str) -> Beginnings | None:
    """What is known of the beginnings of texts that match (pattern_ends.py); None for nothing."""
    try:
        return _read(pattern).beginnings
    except Unsupported:
        return None

"""The files that a pattern stands for, as `glob` has it, looked for within the run's deadline.

The library's own `glob` follows links in circles, and says nothing until it has found something: a
folder with two links to itself has 2^40 names. Here a folder is not entered below itself.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> (folder / "a").mkdir(); (folder / "a" / "b.md").touch()
>>> list(matches("**/*.md", folder))
['a/b.md']
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from fkdsl.base.deadline import check

ANY_DEPTH = "**"
Marks = frozenset[tuple[int, int]]
"""Device and number of the folders that a name leads through."""


def matches(pattern: str, folder: Path) -> Iterator[str]:
    """The names of what a pattern stands for, relative to the folder, but for folders: `*`, `?` and
    `[...]` within a name, `**` for folders at any depth, hidden ones left out unless the pattern
    says the dot."""
    parts: list[str] = []
    for part in Path(pattern).parts:
        if part != ANY_DEPTH or parts[-1:] != [ANY_DEPTH]:
            parts.append(part)
    if parts[-1:] == [ANY_DEPTH]:
        parts.append("*")
    yield from _below(folder, "", parts, frozenset())


def _below(folder: Path, at: str, parts: list[str], passed: Marks) -> Iterator[str]:
    """The names below `at` that the parts of a pattern stand for."""
    check()
    if not parts:
        if os.path.lexists(folder / at) and not os.path.isdir(folder / at):
            yield at
        return
    first, rest = parts[0], parts[1:]
    if not glob.has_magic(first):
        if _mark(folder / at) not in passed:
            yield from _below(folder, os.path.join(at, first), rest, passed)
        return
    inside, own = _names(folder / at, passed)
    if first == ANY_DEPTH:
        yield from _below(folder, at, rest, passed)
        for name in inside:
            if not name.startswith(".") and os.path.isdir(folder / at / name):
                yield from _below(folder, os.path.join(at, name), parts, own)
        return
    for name in inside:
        if fnmatch.fnmatch(name, first) and (first.startswith(".") or not name.startswith(".")):
            yield from _below(folder, os.path.join(at, name), rest, own if rest else passed)


def _names(path: Path, passed: Marks) -> tuple[list[str], Marks]:
    """(the names in a folder, the folders passed with it); none in one that was passed, that is
    none, or that cannot be read."""
    mark = _mark(path)
    try:
        if mark is not None and mark not in passed:
            return sorted(os.listdir(path)), passed | {mark}
    except OSError:
        pass
    return [], passed


def _mark(path: Path) -> tuple[int, int] | None:
    """Device and number of a folder; None if it is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

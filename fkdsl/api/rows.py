"""A program run once for each row of a file: `fkdsl run FILE.fk --each rows.csv`.

A column that has a parameter's name is its value in each row; other columns go with the answers.
Models are loaded once. Rows share the beginnings of their prompts (engine.shared_prompts), and what
was compiled of the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fkdsl.api.arguments import check_argument, example_of
from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import CACHE_MEMORY, Engines, LoadedModels
from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.shared_prompts import SharedPrompts
from fkdsl.models.interface import LanguageModel
from fkdsl.values.library.data import COMMAS, KINDS, MOST_BYTES, numbered_rows
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.types import Type
from fkdsl.values.values import plain

MOST_FILE = 16 * MOST_BYTES
"""Most bytes of a file of rows."""
SHARE = 4
"""The part of the cache's memory that the beginnings of prompts may have is one in so many."""


@dataclass(frozen=True)
class Row:
    """A row of a file, by its columns' names. line: where it begins, from 1."""

    line: int
    columns: Mapping[str, Any]

    def key(self) -> str:
        """What tells it from other rows, and from what stood in its line before."""
        return json.dumps([self.line, self.columns], sort_keys=True, ensure_ascii=False)


def read_rows(path: str) -> list[Row]:
    """The rows of a .jsonl, .csv or .tsv file. Raises CallError where it cannot be read, has no
    row, or a line is damaged."""
    file = Path(path)
    if file.suffix.lower() not in (".jsonl", *COMMAS):
        raise CallError(f"--each {path} is no file of rows", f"name {KINDS}")
    try:
        numbered = numbered_rows(path, file, MOST_FILE)
        rows = [Row(line, {c: plain(v) for c, v in row.items()}) for line, row in numbered]
    except OSError as error:
        raise CallError(f"--each {path}: {error.strerror or error}", f"name {KINDS}") from None
    except BuiltinError as error:
        raise CallError(f"--each: {error.message}", error.help) from None
    if not rows:
        raise CallError(f"--each {path} has no rows", "write one below the names of the columns")
    return rows


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The names of all columns, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def verify_columns(program: CalledProgram, path: str, columns: list[str]) -> None:
    """Raises CallError unless the rows say parameters of the program, and nobody else those."""
    names = [p.name for p in program.info.definition.params]
    twice = [name for name in program.arguments if name in columns]
    if twice:
        raise CallError(
            f"`{twice[0]}` is a column of {path}, and -p gives it too", "leave one of them out"
        )
    if not set(names) & set(columns):
        near = next((f"`{c}` to `{n}`" for c in columns if (n := near_name(c, names))), "")
        known = ", ".join(f"`{name}`" for name in names) or "none"
        raise CallError(
            f"no column of {path} is a parameter of `{program.name}`, which has {known}",
            f"rename {near}" if near else "name a column in its first line after each parameter",
        )

    absent = [p.name for p in program.info.definition.params if p.default is None]
    lacks = [name for name in absent if name not in (*columns, *program.arguments)]
    if lacks:
        raise CallError(
            f"`{program.name}` needs its parameter `{lacks[0]}`, which is no column of {path}",
            f"add the column, or give it by -p {lacks[0]}=...",
        )


def arguments_of(
    program: CalledProgram, row: Row, read: Callable[[str, str, Type], Any] | None
) -> dict[str, Any]:
    """A row's values of the parameters. read: makes a value of the texts of a file that has
    nothing else, by a parameter's name and type. Raises CallError for a value that does not
    fit."""
    info = program.info
    given = {}
    for p, wanted in zip(info.definition.params, info.params, strict=True):
        if p.name in row.columns:
            value = row.columns[p.name]
            try:
                value = value if read is None else read(p.name, value, wanted)
                given[p.name] = check_argument(info, p.name, value)
            except CallError as error:
                help = f"write a value such as {example_of(wanted)} in the row"
                raise CallError(error.message, help) from None
    return given


class SharedEngines:
    """Engines for one run after the other, which share models and beginnings of prompts. make: new
    engines over models that may be loaded already."""

    def __init__(self, make: Callable[[LoadedModels], Engines], memory: int | None) -> None:
        self._make_engines, self._memory = make, (memory or CACHE_MEMORY) // SHARE
        self._loaded: LoadedModels = {}
        self._prompts: dict[int, SharedPrompts] = {}

    def engines(self) -> Engines:
        """Engines for the next run: their caches are empty but for what is shared."""
        return self._make_engines(self._loaded).fresh(self._engine)

    def _engine(
        self, model: LanguageModel, memory: int | None, max_batch: int | None
    ) -> CachedTransformer:
        engine = CachedTransformer(model, memory, max_batch)
        if any(model is kept for kept in self._loaded.values()):  # so its id is no other's
            engine.prompts = self._prompts.setdefault(id(model), SharedPrompts(self._memory))
        return engine

"""The answers of `fkdsl run FILE.fk --each ROWS`: a line for each row, on stdout or in the file of
--out, written as soon as it is there.

A file that has answers already is gone on with: rows that are answered in it are left out, those
that failed are tried again. It must be of the same call and the same rows.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from fkdsl.api.rows import MOST_FILE, Row
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.cli.formats import cell
from fkdsl.cli.output import json_text, say
from fkdsl.cli.report import line_of
from fkdsl.values.values import plain

MOST_ANSWERS = 16 * MOST_FILE
"""Most bytes of a file of answers that is gone on with."""
ANOTHER = "name another file by --out, or delete this one"


@dataclass(frozen=True)
class RowAnswer:
    """What a row came to. figures: of its likeliest value, by name. queries: the answers to them.
    more: what JSON has besides. error: why there is no answer, "" where there is one."""

    row: Row
    value: Any = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    queries: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class AnswerFile:
    """Where answers go. out: the file, None for stdout. kind: jsonl, csv or text. columns: of the
    rows. call: tells this call from others. done: the rows that are answered in the file."""

    def __init__(
        self, out: str | None, kind: str, columns: Sequence[str], call: str, rows: Sequence[Row]
    ) -> None:
        self.out, self.kind, self.columns, self.call = out, kind, list(columns), call
        line, *behind = (f"run.{f}" if f in columns else f for f in ("line", "error", "call"))
        self._before, self._behind = [line, *columns], behind  # columns of a table
        self._taken = {*self._before, *behind}
        self._fields: list[str] | None = None  # those between, once an answer says them
        self._waiting: list[RowAnswer] = []
        self._file: TextIO | None = None
        self.done: set[str] = set()
        if out is not None:
            self.done = self._go_on(Path(out), rows)
            self._file = Path(out).open("a", encoding="utf-8", newline="")  # noqa: SIM115 (`close`)

    def close(self) -> None:
        """Writes what waits for the names of the columns, and closes the file."""
        if self._waiting:
            self._begin_table(None)
        if self._file is not None:
            self._file.close()

    def add(self, answer: RowAnswer) -> tuple[str, ...]:
        """Writes an answer. Returns the names of its fields that have no column in a table."""
        if self.kind == "text":
            self._write("" if answer.error else line_of(answer.value))
        elif self.kind == "jsonl":
            self._write(json_text(self._object(answer)))
        elif self._fields is None and answer.error:
            self._waiting.append(answer)
        else:
            if self._fields is None:
                self._begin_table(answer)
            self._write(self._table_row(answer))
            if isinstance(answer.value, Mapping):
                return tuple(name for name in answer.value if name not in (self._fields or ()))
        return ()

    def _write(self, line: str) -> None:
        if self._file is None:
            say(line, flush=True)
        else:
            self._file.write(line + "\n")
            self._file.flush()

    # ------------------------------------------------------------------- lines

    def _object(self, answer: RowAnswer) -> dict[str, Any]:
        told = {"line": answer.row.line, "row": dict(answer.row.columns)}
        if answer.error:
            return {**told, "error": answer.error, **answer.more, "call": self.call}
        value = {"value": plain(answer.value), **answer.figures}
        return {**told, **value, **answer.more, "call": self.call}

    def _begin_table(self, first: RowAnswer | None) -> None:
        """Writes the names of the columns: a record's fields, or `value`, then figures."""
        value = None if first is None else first.value
        fields = list(value) if isinstance(value, Mapping) else ["value"]
        figures = [] if first is None else [*first.figures, *first.queries]
        self._fields = [*fields, *figures]
        own = [f"answer.{f}" if f in self._taken else f for f in self._fields]
        self._write(_csv_line([*self._before, *own, *self._behind]))
        for waiting in self._waiting:
            self._write(self._table_row(waiting))
        self._waiting = []

    def _table_row(self, answer: RowAnswer) -> str:
        value = answer.value if isinstance(answer.value, Mapping) else {"value": answer.value}
        figures = {k: v for k, v in {**answer.figures, **answer.queries}.items() if v is not None}
        values = {} if answer.error else {**value, **figures}
        cells = [cell(values[name]) if name in values else "" for name in self._fields or ()]
        return _csv_line([*self._row_cells(answer.row), *cells, cell(answer.error), self.call])

    def _row_cells(self, row: Row) -> list[Any]:
        given = [cell(row.columns[c]) if c in row.columns else "" for c in self.columns]
        return [row.line, *given]

    # ---------------------------------------------------------------- going on

    def _go_on(self, path: Path, rows: Sequence[Row]) -> set[str]:
        """The rows that are answered in the file; what failed, or was cut short, is left out of it
        from now on. Raises CallError for a file of anything else."""
        if not path.exists() or path.stat().st_size == 0:
            return set()
        try:
            text = read_file(path, MOST_ANSWERS).decode("utf-8")
        except UnicodeDecodeError:
            raise self._foreign("it is no text in UTF-8") from None
        except OSError as error:
            raise self._foreign(error.strerror or str(error)) from None
        known = {self._key(row): row for row in rows}
        kept, done = [], set[str]()
        for line, key, call, failed in (
            self._objects(text) if self.kind == "jsonl" else self._table(text)
        ):
            if key is None:  # the names of a table's columns
                kept.append(line)
                continue
            if call != self.call:
                raise self._foreign("it has answers of another program or other flags")
            if key not in known:
                raise self._foreign("it has answers of other rows")
            if not failed:
                kept.append(line)
                done.add(known[key].key())
        whole = "".join(f"{line}\n" for line in kept)
        if whole != text:
            beside = path.with_name(path.name + ".part")
            beside.write_text(whole, "utf-8", newline="")
            os.replace(beside, path)
        if not done and self.kind == "csv":  # the columns may be others now
            path.write_text("", "utf-8")
            self._fields = None
        return done

    def _key(self, row: Row) -> str:
        return row.key() if self.kind == "jsonl" else _csv_line(self._row_cells(row))

    def _objects(self, text: str) -> Iterator[tuple[str, str | None, Any, bool]]:
        *lines, rest = text.split("\n")  # what follows the last line break was cut short
        if not _begin_alike(rest, '{"line": '):
            raise self._foreign("its last line is no answer of --each")
        for number, line in enumerate(lines, 1):
            try:
                data = json.loads(line)
                row = Row(data["line"], data["row"])
                yield line, row.key(), data["call"], "error" in data
            except (ValueError, KeyError, TypeError, RecursionError):
                raise self._foreign(f"line {number} is no answer of --each") from None

    def _table(self, text: str) -> Iterator[tuple[str, str | None, Any, bool]]:
        cut = text[: text.rfind("\n") + 1]
        if cut.count('"') % 2:  # within a field of the last row
            cut = cut[: cut[: cut.rfind('"')].rfind("\n") + 1]
        n = len(self._before)
        try:
            table = [row for row in csv.reader(io.StringIO(cut, newline=""), strict=True) if row]
        except csv.Error as error:
            raise self._foreign(f"it is no CSV: {error}") from None
        if not table and _begin_alike(text, _csv_line(self._before)):
            return
        names = table[0] if table else []
        if names[:n] != self._before or names[-2:] != self._behind:
            raise self._foreign("it is no table of answers to these rows")
        yield _csv_line(names), None, None, False
        self._fields = [name.removeprefix("answer.") for name in names[n:-2]]
        for row in table[1:]:
            if len(row) == len(names):
                yield _csv_line(row), _csv_line(row[:n]), row[-1], row[-2] != ""

    def _foreign(self, why: str) -> CallError:
        return CallError(f"--out {self.out} is there, and cannot be gone on with: {why}", ANOTHER)


def _begin_alike(a: str, b: str) -> bool:
    return a.startswith(b) or b.startswith(a)


def _csv_line(cells: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(list(cells))
    return out.getvalue().removesuffix("\n")

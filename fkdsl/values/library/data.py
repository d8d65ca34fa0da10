"""Rows of a data file that a program names: `read_rows("examples.jsonl")`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkdsl.base.files import read_file, verify_regular
from fkdsl.base.folders import Folder, OutsideRoot
from fkdsl.base.lazy import lazy_import
from fkdsl.values.library.structured import from_json
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import RECORD, STR, List
from fkdsl.values.values import Record

if TYPE_CHECKING:
    from fkdsl.values.library import schemas
else:
    schemas = lazy_import("fkdsl.values.library.schemas")

MOST_BYTES, MOST_ROWS = 4_000_000, 100_000
"""Bounds of a file."""
COMMAS = {".csv": ",", ".tsv": "\t"}
KINDS = "a .jsonl file (an object a line), .csv or .tsv (the first line names the columns)"
UNREADABLE = "FK418"


@pure("read_rows", [Parameter("path", STR)], List(RECORD), needs_folder=True)
def read_rows(path: str, *, folder: Path | Folder) -> tuple[Record, ...]:
    """The rows of a file in the program's folder, as records: of a .jsonl file an object a line; of
    .csv and .tsv texts by the names in the first line."""
    found = data_file(path, folder)
    try:
        status = found.stat()
        return _read(path, str(found), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise _unread(path, error) from None


def data_file(path: str, folder: Path | Folder) -> Path:
    """The file that is named. Raises BuiltinError (FK418) if there is none in the folder, or it is
    of no kind that is read."""
    try:
        found = Folder.of(folder).find(path)
        verify_regular(found, MOST_BYTES)
    except OSError as error:
        raise _unread(path, error) from None
    if found.suffix.lower() not in (".jsonl", *COMMAS):
        raise BuiltinError(f"{path!r} is no file of rows", f"name {KINDS}", UNREADABLE)
    return found


def _unread(path: str, error: OSError) -> BuiltinError:
    help = "name a file beside the program"
    if isinstance(error, OutsideRoot):
        help += ", or run with --allow-outside if you trust the program"
    return BuiltinError(f"cannot read {path!r}: {error.strerror or error}", help, UNREADABLE)


@lru_cache(maxsize=8)
def _read(name: str, file: str, size: int, changed: int) -> tuple[Record, ...]:
    """The rows of a file as it was when it had this size and was changed then; all particles have
    the same ones. Raises OSError, and BuiltinError where a line is damaged."""
    return tuple(Record(row) for _, row in numbered_rows(name, Path(file), MOST_BYTES))


def numbered_rows(name: str, file: Path, most: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a file, each with the line that it begins in. most: bytes of the file. Raises
    OSError, and BuiltinError where a line is damaged."""
    try:
        text = read_file(file, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BuiltinError(
            f"{name!r} is no text in UTF-8", "save it as UTF-8", UNREADABLE
        ) from None
    kind = file.suffix.lower()
    rows = _json_lines(name, text) if kind == ".jsonl" else _table(name, text, COMMAS[kind])
    for n, row in enumerate(rows):
        if n == MOST_ROWS:
            raise BuiltinError(
                f"{name!r} has more than {MOST_ROWS:,} rows", "name a part of it", UNREADABLE
            )
        yield row


def _json_lines(name: str, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = from_json(schemas.load_json(line, names_once=True))
            why = ""
        except JSONDecodeError as error:  # its own text names line 1
            value, why = None, f": {error.msg}, at column {error.colno}"
        except (ValueError, BuiltinError) as error:
            value, why = None, f": {error}"
        if not isinstance(value, Record):
            help = 'write {"name": "value"} on each'
            raise _damaged(name, number, f"is no JSON object{why}", help)
        yield number, value


def _table(name: str, text: str, comma: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    table = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    line = 1
    try:
        columns = [c.strip() for c in next(table, [])]
        if "" in columns or len(set(columns)) < len(columns) or not columns:
            raise _damaged(name, 1, "does not name each column once", "name them in the first line")
        line = table.line_num + 1
        for row in table:
            if len(row) not in (0, len(columns)):
                raise _damaged(
                    name, line, f"has {len(row)} fields, and there are {len(columns)} columns",
                    "write a field for each column, in double quotes where a comma is part of it",
                )  # fmt: skip
            if row:
                yield line, dict(zip(columns, row, strict=True))
            line = table.line_num + 1
    except csv.Error as error:
        raise _damaged(name, line, f"is no CSV: {error}", "mend it, or write .jsonl") from None


def _damaged(name: str, line: int, what: str, help: str) -> BuiltinError:
    return BuiltinError(f"line {line} of {name!r} {what}", help, UNREADABLE)

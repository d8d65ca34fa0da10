"""The rows of a table in a SQLite file, which may come from a stranger: it is opened for reading
alone, only plain tables are read, no function that its schema names is trusted, and the deadline
ends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from fkdsl.base.deadline import current
from fkdsl.retrieval.errors import RetrievalError

DATABASES = (".sqlite", ".sqlite3", ".db")
MOST_LENGTH = 1 << 20
"""Most bytes of a value or of a statement."""
STEPS_PER_LOOK = 10_000
"""SQLite's own steps between two looks at the deadline."""


def rows_of(
    path: Path,
    name: str,
    table: str,
    text: str,
    column_of: Callable[[str, list[str], str], int],
) -> Iterator[tuple[int, str]]:
    """(rowid, text) of a table's rows, in order. column_of: which of the columns is the text.
    Raises RetrievalError."""
    deadline = current()
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_LENGTH)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_progress_handler(lambda: deadline.passed, STEPS_PER_LOOK)
        connection.execute("PRAGMA trusted_schema = OFF")
        chosen = _table(connection, name, table)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(chosen)})")]
        column = columns[column_of(name, columns, text)]
        number_of = _row_number(columns)
        query = (
            f"SELECT {number_of}, {_quoted(column)} FROM {_quoted(chosen)} "
            f"WHERE typeof({_quoted(column)}) = 'text' ORDER BY {number_of}"
        )
        for number, value in connection.execute(query):
            yield int(number), value
    except (sqlite3.Error, ValueError) as error:
        deadline.check()
        raise RetrievalError(
            f'cannot read "{name}": {error}', "name a SQLite file with a table of texts"
        ) from None
    finally:
        connection.close()


def _table(connection: sqlite3.Connection, name: str, wanted: str) -> str:
    """The table that is read."""
    # SQLite writes what a virtual table is made by as CREATE VIRTUAL TABLE, however it was said.
    listed = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "AND rootpage > 0 AND sql LIKE 'CREATE TABLE%'"
    )
    tables = [str(row[0]) for row in connection.execute(listed)]
    if wanted in tables:
        return wanted
    if not wanted and len(tables) == 1:
        return tables[0]
    shown = ", ".join(t[:40] for t in tables[:20]) or "none"
    what = f"no table `{wanted}`" if wanted else f"{len(tables)} tables"
    raise RetrievalError(
        f'"{name}" has {what}', f'say which table: `with table="..."`; it has {shown}'
    )


def _row_number(columns: list[str]) -> str:
    """A name of the number of a row, which columns may hide. Raises ValueError if they hide all."""
    taken = {c.lower() for c in columns}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in taken:
            return name
    raise ValueError("its columns hide the numbers of its rows")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""The files of an index: which they are, and the passages of each.

    "notes/*.md"       the files that match; `**` stands for folders at any depth
    "notes"            every text in a folder and below it, tables too
    "faq.jsonl"        an object a line
    "faq.csv"          a row a line, the first one names the columns (.tsv: between tabs)
    "faq.sqlite"       the rows of a table (.sqlite, .sqlite3, .db)

They lie below the program's folder, symbolic links followed, unless it may name files outside.
Hidden files and folders (`.env`, `.git`) are never read. A file that is no text is left out where a
pattern or a folder brought it in; a file that is named itself is a mistake then. Each has a bound,
and so have all together.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from fkdsl.base.deadline import check
from fkdsl.base.diagnostics import near_name
from fkdsl.base.files import read_file, verify_regular
from fkdsl.base.folders import Folder, OutsideRoot
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.surrogates import without_surrogates
from fkdsl.retrieval.databases import DATABASES, rows_of
from fkdsl.retrieval.errors import OutsideFolder, RetrievalError
from fkdsl.retrieval.passages import Passage, paragraphs, row_passages
from fkdsl.retrieval.patterns import matches
from fkdsl.retrieval.spec import MOST_PASSAGES, IndexSpec

TEXTS = (".md", ".markdown", ".txt", ".rst", ".org", ".adoc", ".tex")
TABLES = (".jsonl", ".csv", ".tsv")
MOST_BYTES = 256 << 20
"""Most bytes of one file, but of a database."""
MOST_DATABASE_BYTES = 8 << 30
MOST_FILES = 100_000
MOST_FIELD = 1 << 20
"""Most characters of a field of a table."""


@dataclass(frozen=True)
class NamedFile:
    """A file of an index. name: relative to the program's folder, with `/`. alone: whether the
    index names this file itself."""

    name: str
    path: Path
    size: int
    changed: int
    alone: bool


def find_files(pattern: str, folder: Folder) -> list[NamedFile]:
    """The files of an index, by name. Raises RetrievalError if there are none, too many, or some
    outside the folder."""
    verify_pattern(pattern, folder)
    found: dict[str, NamedFile] = {}
    for name, alone in _names(pattern, folder.path):
        check()
        if _is_hidden(name):
            if alone:
                raise unreadable(name, "it is hidden", "name a file that does not begin with a dot")
            continue
        try:
            path = folder.find(name)
            verify_regular(path)
            status = path.stat()
        except OutsideRoot:
            raise outside(name) from None
        except OSError as error:
            if alone:
                raise unreadable(name, str(error.strerror)) from None
            continue  # a pipe, a device, or gone meanwhile
        shown = without_surrogates(name.replace(os.sep, "/"))
        found[shown] = NamedFile(shown, path, status.st_size, status.st_mtime_ns, alone)
        if len(found) > MOST_FILES:
            raise RetrievalError(
                f'"{pattern}" matches more than {MOST_FILES:,} files', "name a smaller folder"
            )
    if not found:
        raise RetrievalError(f'no file matches "{pattern}"', _near(pattern, folder.path))
    return [found[name] for name in sorted(found)]


def _near(pattern: str, folder: Path) -> str:
    """Help for a pattern that matches nothing."""
    first, slash, rest = pattern.partition("/")
    names = sorted(p.name for p in islice(folder.glob("*"), 1000))
    near = near_name(first, names) if first not in names else None
    if near is not None:
        return f'did you mean "{near}{slash}{rest}"?'
    return f"it is looked for in {folder.absolute()}, the folder of the file that names it"


def verify_pattern(pattern: str, folder: Folder) -> None:
    """Raises RetrievalError for a pattern that can name nothing below the folder."""
    if not pattern.strip() or "\0" in pattern or len(pattern) > 1000:
        raise RetrievalError(
            f'"{pattern[:50]}" names no files', 'name a folder or files: "notes/*.md"'
        )
    bounded = folder.root is not None
    if bounded and (Path(pattern).is_absolute() or ".." in Path(pattern).parts):
        raise outside(pattern)


def _names(pattern: str, folder: Path) -> Iterator[tuple[str, bool]]:
    """(name, whether the pattern is that very name) of what a pattern stands for."""
    if not glob.has_magic(pattern):
        if not os.path.isdir(folder / pattern):
            if os.path.lexists(folder / pattern):
                yield pattern, True
            return
        kinds = (*TEXTS, *TABLES, *DATABASES)
        names = matches(os.path.join(glob.escape(pattern), "**", "*"), folder)
        yield from ((n, False) for n in names if n.lower().endswith(kinds))
        return
    yield from ((name, False) for name in matches(pattern, folder))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in Path(name).parts)


def embedding_name(spec: IndexSpec, folder: Folder) -> str:
    """What embeds, as the library knows it: a folder that begins with a dot, or with a slash, is
    one below the program's folder. Raises OutsideFolder for another."""
    name = spec.embedding
    if not (name.startswith(".") or Path(name).is_absolute()):
        return name
    try:
        return str(folder.find(name).absolute())
    except OSError:
        raise outside(name) from None


def outside(name: str) -> OutsideFolder:
    return OutsideFolder(
        f'"{name}" lies outside the program\'s folder',
        "put it below the program's folder, or run with --allow-outside if you trust the program",
    )


def unreadable(name: str, reason: str, help: str = "") -> RetrievalError:
    return RetrievalError(f'cannot read "{name}": {reason}', help or "check the file")


class NoText(Exception):
    """A file is no text in UTF-8."""


def read_passages(file: NamedFile, spec: IndexSpec) -> tuple[str, list[Passage]]:
    """(sha256 of the content in hex, the passages). Raises RetrievalError, and NoText for a file
    that is left out."""
    if file.name.lower().endswith(DATABASES):
        return _of_database(file, spec)
    try:
        raw = read_file(file.path, MOST_BYTES)
    except OSError as error:
        raise unreadable(file.name, str(error.strerror), "leave it out of the pattern") from None
    digest = hashlib.sha256(raw).hexdigest()
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        if "\0" in text:
            raise NoText
    except (UnicodeDecodeError, NoText):
        if file.alone:
            raise unreadable(file.name, "it is no text", "save it as UTF-8") from None
        raise NoText from None
    return digest, _bounded(file.name, _passages(file.name, text, spec))


def _bounded(name: str, passages: Iterator[Passage]) -> list[Passage]:
    found = []
    for passage in passages:
        found.append(passage)
        if len(found) > MOST_PASSAGES:
            raise RetrievalError(
                f'"{name}" has more than {MOST_PASSAGES:,} passages',
                "index a part of it, or use longer passages: `with passage=2000`",
            )
    return found


def _passages(name: str, text: str, spec: IndexSpec) -> Iterator[Passage]:
    kind = os.path.splitext(name)[1].lower()
    if kind == ".jsonl":
        yield from _json_lines(name, text, spec)
    elif kind in (".csv", ".tsv"):
        yield from _rows(name, text, spec, "\t" if kind == ".tsv" else ",")
    else:
        yield from paragraphs(text, name, spec.passage)


def _json_lines(name: str, text: str, spec: IndexSpec) -> Iterator[Passage]:
    field = spec.text or "text"
    for line, raw in enumerate(text.split("\n"), 1):
        check()
        if not raw.strip():
            continue
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            raise unreadable(f"{name}:{line}", "the line is no JSON", "") from None
        value = value.get(field) if isinstance(value, dict) else value
        if not isinstance(value, str):
            help = f'each line is a text, or an object such as {{"{field}": "..."}}; '
            raise unreadable(
                f"{name}:{line}", f"it has no text in `{field}`", help + 'or say `with text="..."`'
            )
        yield from row_passages(without_surrogates(value), name, line, spec.passage)


def _rows(name: str, text: str, spec: IndexSpec, comma: str) -> Iterator[Passage]:
    csv.field_size_limit(MOST_FIELD)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    line = 1
    try:
        column = column_of(name, next(rows, []), spec.text)
        line = rows.line_num + 1
        for row in rows:
            check()
            if len(row) > column:
                yield from row_passages(row[column], name, line, spec.passage)
            line = rows.line_num + 1
    except csv.Error as error:
        raise unreadable(f"{name}:{line}", f"it is no CSV: {error}") from None


def column_of(name: str, columns: list[str], wanted: str) -> int:
    """Which of a table's columns is read. Raises RetrievalError if it has none such."""
    known = [c.strip().lower() for c in columns]
    if wanted and wanted.lower() in known:
        return known.index(wanted.lower())
    if not wanted and ("text" in known or len(known) == 1):
        return known.index("text") if "text" in known else 0
    shown = ", ".join(c[:40] for c in columns[:20]) or "none"
    raise RetrievalError(
        f'"{name}" has no column `{wanted or "text"}`',
        f'say which column is the text: `with text="..."`; it has {shown}',
    )


def _of_database(file: NamedFile, spec: IndexSpec) -> tuple[str, list[Passage]]:
    if file.size > MOST_DATABASE_BYTES:
        raise unreadable(file.name, "it has more than 8 GB", "index a part of it")
    digest = hashlib.sha256()
    with file.path.open("rb") as content:
        while part := content.read(1 << 20):
            check()
            digest.update(part)
    rows = (
        passage
        for number, text in rows_of(file.path, file.name, spec.table, spec.text, column_of)
        for passage in row_passages(without_surrogates(text), file.name, number, spec.passage)
    )
    return digest.hexdigest(), _bounded(file.name, rows)

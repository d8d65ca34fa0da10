"""What completion offers: items, and those that are files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.cursor import Cursor

Kind = Literal[
    "keyword", "variable", "function", "distribution", "attribute", "method", "option", "model",
    "type", "value", "file", "figure",
]  # fmt: skip
MOST_NAMES = 200
"""Files of a folder that are offered."""


@dataclass(frozen=True)
class Item:
    """label: what is written, unless `insert` is another text. rank: the smaller, the earlier."""

    label: str
    kind: Kind
    detail: str = ""
    doc: str = ""
    insert: str = ""
    rank: int = 5


FILES = {
    "import": (".fk",),
    "schema": (".json",),
    "grammar": (".lark",),
    "from": (".py",),
    "path": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),
    "index": (".md", ".txt", ".jsonl", ".csv", ".tsv", ".sqlite", ".db"),
}
"""Which files a text names, by the word or the argument before it."""


def files_below(analysis: Analysis, here: Cursor, what: str) -> Iterator[Item]:
    """Files below the program's folder, of the folder that is typed so far."""
    folder, _, _ = (here.string or "").rpartition("/")
    try:
        path = Folder.main(analysis.folder).find(folder)
        names = sorted(os.listdir(path))[:MOST_NAMES]
        inner = [n for n in names if (path / n).is_dir() and not n.startswith((".", "__"))]
    except (OSError, ValueError):
        return
    own = os.path.basename(analysis.source.name)
    for name in names:
        if name.endswith(FILES[what]) and not (name == own and not folder):
            yield Item(name, "file", rank=1)
    yield from (Item(f"{name}/", "file", rank=2) for name in inner)

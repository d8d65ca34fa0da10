"""The programs that an editor has open, over the files of the disk.

An import is read from the open text of its file, else from the disk, below the folder of the
program's main file and within the bounds of any other command (docs/security.md).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fkdsl.base.errors import FkdslError, ProgramError
from fkdsl.base.spans import Source
from fkdsl.editor.analysis import Analysis
from fkdsl.language.check.checker import survey
from fkdsl.language.check.scopes import World
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse_around_mistakes, read_source

MOST_MODULES = 200
"""Parsed files that are kept."""
MOST_FILES, MOST_FOLDERS, MOST_BYTES = 300, 300, 1_000_000
"""Of the search for programs that import a file."""


class Workspace:
    """Open texts by their paths, and the analyses of programs over them.

    root: the folder of texts that are in no file, and the one that is searched for programs that
    import a file. Paths are real ones, free of symbolic links.
    """

    def __init__(self, root: Path | None = None, *, allow_outside: bool = False) -> None:
        self.root, self.allow_outside = root, allow_outside
        self.open: dict[str, str] = {}
        self._modules: OrderedDict[str, tree.Module] = OrderedDict()
        self._read: dict[str, tuple[tuple[int, int], Source]] = {}
        self._worlds: dict[str, World] = {}

    def change(self, path: str, text: str) -> None:
        """Takes a text as that of its file."""
        self.open[path] = text

    def close(self, path: str) -> None:
        """From now on the file on the disk counts."""
        self.open.pop(path, None)
        self._worlds.pop(path, None)

    def analyse(self, path: str, changed: Mapping[str, str] | None = None) -> Analysis:
        """What is known of a program. changed: texts in place of open ones and files, for this
        analysis alone."""
        texts = {**self.open, **(changed or {})}
        folder = Path(path).parent

        def load(shown: Path) -> tree.Module:
            return self._parsed(self._source(os.path.realpath(shown), texts))

        source = Source(path, "")
        try:
            source = self._source(path, texts)
            found = survey(self._parsed(source), folder, load, allow_outside=self.allow_outside)
        except ProgramError as error:
            return Analysis(source, folder, None, tuple(error.diagnostics), self._worlds.get(path))
        if changed is None:
            self._worlds[path] = found.world
        module_source = found.files[0].module.source if found.files else source
        return Analysis(module_source, folder, found)

    def importers(self, path: str) -> Iterator[Analysis]:
        """The programs that import a file, directly or not: those that are open, and those below
        the root (or else the file's own folder), as far as the search goes."""
        for other in [*self.open, *self._files(self.root or Path(path).parent)]:
            if other != path and os.path.basename(path) and self._may_import(other):
                try:
                    analysis = self.analyse(other)
                except FkdslError:
                    continue
                if path in analysis.files:
                    yield analysis

    # ------------------------------------------------------------------- files

    def _source(self, path: str, texts: Mapping[str, str]) -> Source:
        """The text of a file: the open one, else the disk's. Raises as `read_source` does."""
        if path in texts:
            return Source(path, texts[path])
        stat = os.stat(path) if os.path.exists(path) else None
        stamp = (stat.st_mtime_ns, stat.st_size) if stat is not None else (0, 0)
        known = self._read.get(path)
        if known is None or known[0] != stamp:
            if len(self._read) > MOST_MODULES:
                self._read.clear()
            known = self._read[path] = (stamp, read_source(Path(path)))
        return known[1]

    def _parsed(self, source: Source) -> tree.Module:
        """The module of a text, parsed once; of each file the last one is kept."""
        module = self._modules.get(source.name)
        if module is None or module.source.text != source.text:
            module = self._modules[source.name] = parse_around_mistakes(source)
        self._modules.move_to_end(source.name)
        while len(self._modules) > MOST_MODULES:
            self._modules.popitem(last=False)
        return module

    def _may_import(self, path: str) -> bool:
        """Whether a file has an import at all, by its text."""
        try:
            return "import" in self._source(path, self.open).text
        except (FkdslError, OSError):
            return False

    def _files(self, root: Path) -> Iterator[str]:
        """Programs below a folder that are not open; hidden folders and large files left out."""
        files = folders = 0
        for folder, inner, names in os.walk(root):
            folders += 1
            inner[:] = sorted(d for d in inner if not d.startswith(".") and d != "node_modules")
            for name in sorted(n for n in names if n.endswith(".fk")):
                path = os.path.realpath(os.path.join(folder, name))
                if path in self.open or not _is_small(path):
                    continue
                files += 1
                if files > MOST_FILES:
                    return
                yield path
            if folders > MOST_FOLDERS:
                return


def _is_small(path: str) -> bool:
    """Whether a path is a regular file that a search looks into."""
    try:
        return os.path.isfile(path) and os.path.getsize(path) <= MOST_BYTES
    except OSError:
        return False

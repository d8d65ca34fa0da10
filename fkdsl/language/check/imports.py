"""Loads the files that a program imports, each once, and reports those that are missing or import
each other in a circle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.files import real_path
from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.report import Report
from fkdsl.language.syntax import tree

Load = Callable[[Path], tree.Module]
MAX_IMPORTS = 100
"""Files that one program may import, directly or not."""


@dataclass(frozen=True)
class File:
    """A module of the program. via: the import that first brought it in, None for the program's own
    file."""

    module: tree.Module
    folder: Path | None
    via: tree.Import | None


class Imports:
    """Gathers the files of a program."""

    def __init__(self, report: Report, load: Load) -> None:
        self.report, self.load = report, load
        self.files: list[File] = []
        self.known: set[Path] = set()
        self.open: list[Path] = []
        self.main = Folder.main(None)

    def gather(self, module: tree.Module, main: Folder) -> list[File]:
        """The program's own file first, then the imported ones in the order of the imports."""
        self.main = main
        self.open.append(real_path(main.path / Path(module.source.name).name))
        self._add(File(module, main.path, None))
        return self.files

    def _add(self, file: File) -> None:
        self.files.append(file)
        for d in file.module.declarations:
            if isinstance(d, tree.Import):
                self._import(d, file.folder or Path())

    def _import(self, d: tree.Import, folder: Path) -> None:
        if not d.path or Path(d.path).is_absolute():
            self.report.error(
                "FK332", f'"{d.path}" is no relative path', d.span, "not relative",
                'name a file beside this one: `import "words.fk"`',
            )  # fmt: skip
            return
        try:
            path = Path(os.path.realpath(self.main.beside(folder).find(d.path)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.report.error(
                "FK360", f'"{d.path}" is not imported: {reason}', d.span, "outside",
                "put it below the program's folder, or run with --allow-outside if you trust the "
                "program",
            )  # fmt: skip
            return
        if path.suffix != ".fk":
            self.report.error(
                "FK361", f'"{d.path}" is no file of this language', d.span, "does not end in .fk",
                "name a file that ends in .fk",
            )  # fmt: skip
        elif path in self.open:
            circle = [p.name for p in self.open[self.open.index(path) :]] + [path.name]
            self.report.error(
                "FK330", f"`{path.name}` imports itself", d.span, "a circle of imports",
                "move what both need into a third file", notes=(" -> ".join(circle),),
            )  # fmt: skip
        elif path not in self.known:
            self._load(d, path, folder / d.path)

    def _load(self, d: tree.Import, path: Path, shown: Path) -> None:
        self.known.add(path)
        if len(self.known) > MAX_IMPORTS:
            self.report.error(
                "FK330",
                f"more than {MAX_IMPORTS} files are imported",
                d.span,
                "one too many",
                "put files together",
            )
            return
        try:
            module = self.load(shown)
        except ProgramError as error:
            self.report.extend(error.diagnostics)
            return
        except (CallError, OSError) as error:
            message = error.message if isinstance(error, CallError) else str(error)
            help = error.help if isinstance(error, CallError) else ""
            self.report.error(
                "FK330", f"cannot import: {message}", d.span, "not read", help or "check the path"
            )
            return
        self.open.append(path)
        self._add(File(module, shown.parent, d))
        self.open.pop()

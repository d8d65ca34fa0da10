"""Where a program's file looks for the files that it names, and the folder that it does not leave.

A program may come from a stranger. What it names stays below the folder of the program's main file,
symbolic links followed, so that it shows nobody a line of anything else. `--allow-outside` lifts
that.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folder:
    """path: what names are relative to. root: what they stay below, without symbolic links in it;
    None for nothing."""

    path: Path
    root: Path | None

    @classmethod
    def main(cls, path: Path | None, *, allow_outside: bool = False) -> Folder:
        """The folder of a program's main file."""
        path = path or Path()
        return cls(path, None if allow_outside else Path(os.path.realpath(path)))

    @classmethod
    def of(cls, folder: Path | Folder) -> Folder:
        return folder if isinstance(folder, Folder) else cls.main(folder)

    def beside(self, path: Path) -> Folder:
        """The folder of another file of the same program."""
        return Folder(path, self.root)

    def find(self, name: str) -> Path:
        """The path of a file that is named here. Raises OSError for one that lies outside the
        root."""
        path = self.path / name
        if self.root is None:
            return path
        try:
            real = Path(os.path.realpath(path))
        except ValueError as error:
            raise OSError(errno.EINVAL, f"no file can have this name: {error}", name) from None
        if not real.is_relative_to(self.root):
            raise OSError(errno.EACCES, f"it lies outside the program's folder, {self.root}", name)
        return path

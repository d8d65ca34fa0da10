"""The folder in which a program's file looks for the files that it names, and the folder that
bounds them.

A program may come from a stranger. The files that it names must lie below the folder of its main
file, after symbolic links are followed; so its error messages cannot show lines of other files.
`--allow-outside` lifts the bound.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fkdsl.base.quick_dataclass import dataclass


class OutsideRoot(PermissionError):
    """A file that a program names lies outside the folder that bounds them."""


@dataclass(frozen=True)
class Folder:
    """path: the folder that names are relative to. root: the folder that the files must lie below,
    free of symbolic links; None for no bound."""

    path: Path
    root: Path | None

    @classmethod
    def main(cls, path: Path | None, *, allow_outside: bool = False) -> Folder:
        """The folder of a program's main file, which bounds it unless `allow_outside`."""
        path = path or Path()
        return cls(path, None if allow_outside else Path(os.path.realpath(path)))

    @classmethod
    def of(cls, folder: Path | Folder) -> Folder:
        """The folder itself, or that of a main file in this place."""
        return folder if isinstance(folder, Folder) else cls.main(folder)

    def beside(self, path: Path) -> Folder:
        """The folder of another file of the same program."""
        return Folder(path, self.root)

    def find(self, name: str) -> Path:
        """The path of a file by its name in this folder. Raises OutsideRoot for one that lies
        outside the root, OSError for a name that no file can have."""
        path = self.path / name
        if self.root is None:
            return path
        try:
            real = Path(os.path.realpath(path))
        except ValueError as error:
            raise OSError(errno.EINVAL, f"no file can have this name: {error}", name) from None
        if not real.is_relative_to(self.root):
            # Without the folder's path: a server's clients are not told where its files lie.
            raise OutsideRoot(errno.EACCES, "it lies outside the program's folder", name)
        return path

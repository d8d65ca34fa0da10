"""The open texts of one editor, and their analyses, made beside the loop that reads its messages.

An analysis is made once for each state of the texts. It may take seconds (a large grammar, an
optimiser at work), so it is made in a thread; a second one compiles programs, so that what needs no
compiling never waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from fkdsl.base.errors import InternalError
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.workspace import Workspace

LARGE = 20_000
"""Characters of a text that is not checked anew for each letter that is typed."""
T = TypeVar("T")


class Session:
    """Documents by their addresses, as the editor gives them. path_of: the path that an address
    says, None for one that is no file's."""

    def __init__(
        self, path_of: Callable[[str], str | None], *, allow_outside: bool = False
    ) -> None:
        self.workspace = Workspace(allow_outside=allow_outside)
        self.addresses: dict[str, str] = {}
        self.versions: dict[str, int | None] = {}
        self._path_of = path_of
        self._state = 0
        self._known: dict[str, tuple[int, Analysis]] = {}
        self._checker = ThreadPoolExecutor(1, "fkdsl-check")
        self._compiler = ThreadPoolExecutor(1, "fkdsl-compile")

    def path(self, address: str) -> str:
        """The real path of a document; of one that is in no file, a name in the root folder."""
        path = self._path_of(address)
        if path is None:
            path = os.path.join(self.workspace.root or Path(), quote(address, safe=""))
        return os.path.realpath(path)

    def change(self, address: str, text: str, version: int | None) -> str:
        """Takes the text of a document, and gives its path."""
        path = self.path(address)
        self.addresses[path], self.versions[path] = address, version
        self.workspace.change(path, text)
        self._state += 1
        return path

    def close(self, address: str) -> None:
        path = self.path(address)
        self.addresses.pop(path, None)
        self.versions.pop(path, None)
        self._known.pop(path, None)
        self.workspace.close(path)
        self._state += 1

    def forget(self) -> None:
        """Whatever was read from the disk may have changed."""
        self._state += 1

    def affected(self, path: str) -> list[str]:
        """The open documents whose programs have a file, itself first."""
        others = [p for p, (_, a) in list(self._known.items()) if path in a.files and p != path]
        return [p for p in (path, *others) if p in self.addresses]

    def _analysed(self, path: str) -> Analysis:
        state = self._state
        known = self._known.get(path)
        if known is not None and known[0] == state:
            return known[1]
        analysis = self.workspace.analyse(path)
        self._known[path] = (state, analysis)
        return analysis

    async def checked(self, path: str) -> Analysis:
        """The analysis of a document as it is now."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._checker, contained, lambda: self._analysed(path))

    async def ask(self, path: str, question: Callable[[Analysis], T]) -> T:
        """An answer that needs no compiled program."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._checker, contained, lambda: question(self._analysed(path))
        )

    async def ask_at_once(self, path: str, question: Callable[[Analysis], T]) -> T:
        """An answer while one types: in a large text, by the names that were last known."""
        known, text = self._known.get(path), self.workspace.open.get(path, "")
        if known is None or len(text) < LARGE or known[0] == self._state:
            return await self.ask(path, question)
        return question(known[1].with_text(text))

    async def ask_compiled(self, path: str, question: Callable[[Analysis], T]) -> T:
        """An answer that may need the program compiled."""
        analysis = await self.checked(path)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compiler, contained, lambda: question(analysis))

    def shut(self) -> None:
        """Ends the threads; what they are at is finished and dropped."""
        self._checker.shutdown(wait=False, cancel_futures=True)
        self._compiler.shutdown(wait=False, cancel_futures=True)


def contained(work: Callable[[], T]) -> T:
    """What some work gives. Raises Exceptions only: a panic of a library in Rust, or time that has
    run out, would end the loop's task without an answer."""
    try:
        return work()
    except Exception:
        raise
    except BaseException as error:
        raise InternalError(f"{type(error).__name__}: {error}") from error

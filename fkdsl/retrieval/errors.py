"""Why an index cannot be had, or has no answer."""

from __future__ import annotations


class RetrievalError(Exception):
    """An index cannot be read, built or asked. message: what is wrong; help: one thing to try."""

    def __init__(self, message: str, help: str = "") -> None:
        self.message, self.help = message, help
        super().__init__(message)


class OutsideFolder(RetrievalError):
    """A file of an index lies outside the program's folder."""

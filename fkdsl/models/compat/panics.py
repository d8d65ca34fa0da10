"""Panics of the Rust in tokenizers and safetensors as ordinary errors: what a file made them do is
the file's fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fkdsl.base.errors import CallError


@contextmanager
def panics_are_errors(subject: str, help: str) -> Iterator[None]:
    """Within it a panic is a CallError about `subject`. PanicException is a BaseException, and no
    module offers it."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        reason = (str(error).strip() or "no reason given").splitlines()[0][:300]
        raise CallError(f"{subject}: {reason}", help) from None

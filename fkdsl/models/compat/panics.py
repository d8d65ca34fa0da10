"""Turns panics of the Rust code in tokenizers and safetensors into ordinary errors: the file that
caused one is at fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fkdsl.base.errors import CallError


@contextmanager
def panics_are_errors(subject: str, help: str) -> Iterator[None]:
    """Within it a panic becomes a CallError about `subject`. PanicException is a BaseException that
    no module exports, so it is known by its name."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        reason = (str(error).strip() or "no reason given").splitlines()[0][:300]
        raise CallError(f"{subject}: {reason}", help) from None

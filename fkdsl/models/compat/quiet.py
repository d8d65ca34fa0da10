"""Silences transformers: its progress bars and warnings, and the bar of its gguf reader."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within it transformers draws no bars and warns of nothing."""
    from transformers.utils import logging

    reader = _gguf_reader()
    bar = getattr(reader, "tqdm", None)
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # The gguf reader uses tqdm directly, which no setting of transformers silences (5.24).
    if bar is not None:
        reader.tqdm = _without_bar
    try:
        yield
    finally:
        if bar is not None:
            reader.tqdm = bar
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _gguf_reader() -> Any:
    """The module of transformers that reads gguf files; None in a release that has it elsewhere,
    whose bar is then drawn."""
    try:
        return importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    except ImportError:
        return None


def _without_bar(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items

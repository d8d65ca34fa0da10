"""The parser that lark makes of the grammar, its tables kept in fkdsl's cache from one process to the next.

Making the tables takes longer than most programs take to parse. A file is of one grammar, lark and Python; it is
written beside and renamed, so it is there whole or not at all. One that is damaged is made again, and where none can be
written there is none.
"""

from __future__ import annotations

import os
import pickle
import platform
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lark
from lark import Lark

from fkdsl.models.cache import cache_root

READING = (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, LookupError, TypeError, ValueError)
"""What reading a damaged file may raise."""


def lalr(grammar: str, **options: Any) -> Lark:
    """lark's LALR parser of a grammar, with the given options."""
    told = f"{grammar}{sorted(options.items(), key=str)}{lark.__version__}{platform.python_version()}"
    name = f"grammar-{blake2b(told.encode(), digest_size=8).hexdigest()}.tables"
    path = cache_root() / name
    with suppress(*READING), path.open("rb") as file:
        found: Lark = Lark.load(file)
        return found
    made = Lark(grammar, parser="lalr", **options)
    with suppress(OSError):
        _write(made, path)
    return made


def _write(parser: Lark, path: Path) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            parser.save(file)
        os.replace(scratch, path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)

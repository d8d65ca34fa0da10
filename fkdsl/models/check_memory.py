"""The results of checks of models on this machine, in the cache folder: a small file for each key.

result = remembered_check(key)               # "" the first time
remember_check(key, "cached")
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.models.cache import cache_root, make_private

CHECK_FORMAT = 1
"""The version of the checks. It changes when a check, or a way through a model, changes."""


def remembered_check(key: Mapping[str, Any]) -> str:
    """The result that `remember_check` wrote for a key on this machine; "" if there is none that
    can be read."""
    try:
        entry = json.loads(_file(key).read_text("utf-8"))
        return str(entry["found"]) if entry["key"] == dict(key) else ""
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def remember_check(key: Mapping[str, Any], result: str) -> None:
    """Writes the result of a check. Where the cache folder cannot be written, nothing happens, and
    the next load checks again."""
    path = _file(key)
    try:
        make_private(path.parent)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, delete=False
        ) as file:
            json.dump({"key": dict(key), "found": result}, file)
        os.replace(file.name, path)
    except OSError:
        return


def _file(key: Mapping[str, Any]) -> Path:
    text = json.dumps({"format": CHECK_FORMAT, **key}, sort_keys=True)
    return cache_root() / "checks" / f"{blake2b(text.encode(), digest_size=12).hexdigest()}.json"

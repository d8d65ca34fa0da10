"""What checks of models found on this machine, in the cache folder: a small file for each key.

known = remembered_check(key)                     # "" the first time
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
"""Of what is remembered; another one after a change of a check or of a way through a model."""


def remembered_check(key: Mapping[str, Any]) -> str:
    """What `remember_check` was told of a key on this machine; "" if nothing, or nothing that can be
    read."""
    try:
        said = json.loads(_file(key).read_text("utf-8"))
        return str(said["found"]) if said["key"] == dict(key) else ""
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def remember_check(key: Mapping[str, Any], found: str) -> None:
    """Writes what a check found; where the cache folder cannot be written, the next load checks
    again."""
    path = _file(key)
    try:
        make_private(path.parent)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, delete=False
        ) as file:
            json.dump({"key": dict(key), "found": found}, file)
        os.replace(file.name, path)
    except OSError:
        return


def _file(key: Mapping[str, Any]) -> Path:
    text = json.dumps({"format": CHECK_FORMAT, **key}, sort_keys=True)
    return cache_root() / "checks" / f"{blake2b(text.encode(), digest_size=12).hexdigest()}.json"

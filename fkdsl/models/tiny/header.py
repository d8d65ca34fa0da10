"""Reads the header of a file of `fkdsl train` without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.models.reference import check_safetensors

HEADER = "fkdsl"
"""The key of fkdsl's facts in a file's header."""
EYES = "eyes"
"""Among the facts, the shape of the part that sees; only files of models with eyes have it."""


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in a file's header. Raises CallError for a file that does not exist, is damaged, or
    was not written by fkdsl."""
    if not path.is_file():
        raise CallError(f"there is no file `{path}`", "name a file that fkdsl train wrote")
    check_safetensors(path, str(path))
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    try:
        facts = json.loads(header["__metadata__"][HEADER])
    except (KeyError, TypeError, ValueError):
        facts = None
    if not isinstance(facts, dict):
        raise CallError(
            f"`{path}` was not written by fkdsl train", "other models are named by their folder"
        )
    return facts


def made_facts(facts: dict[str, Any]) -> dict[str, str]:
    """The facts about how a file's weights were made, ready to print."""
    made = facts.get("made")
    return {str(k): str(v) for k, v in made.items()} if isinstance(made, dict) else {}

"""The files that `fkdsl train` writes: safetensors with facts in the header, written whole or not
at all.

    facts, shape, tensors = read_model_file(path)    # the tensors have the shapes of the header
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target
from fkdsl.models.tiny.header import HEADER, read_facts
from fkdsl.models.tiny.links import PREFIX, link_shapes
from fkdsl.models.tiny.transformer import TinyShape, weight_shapes

LARGEST_DIMENSION = 1 << 16
"""The largest size in a shape, since the header of a stranger's file may have any number."""


def write_model_file(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes a file under a temporary name and renames it, so that a killed run leaves the old file
    as it was. Raises CallError if it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    check_target(path)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: t.contiguous() for k, t in tensors.items()},
            str(scratch),
            {HEADER: json.dumps(facts)},
        )
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise CallError(
            f"`{path}` cannot be written: {why}", "name another folder by --out"
        ) from None
    finally:
        with suppress(OSError):  # where the folder is a file, there is nothing to unlink
            scratch.unlink(missing_ok=True)


def read_model_file(path: Path) -> tuple[dict[str, Any], TinyShape, dict[str, Tensor]]:
    """(facts, shape, tensors) of a file. Raises CallError unless all weights, and either all links
    or none, have the shapes that the header names; an optimizer's tensors are not checked."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    facts = read_facts(path)
    shape = _shape(facts.get("shape"), path)
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise CallError(
            f"`{path}` is damaged: {error}", "take an older copy, or train again"
        ) from None
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    linked = any(name.startswith(PREFIX) for name in shapes)
    for name, expected in (weight_shapes(shape) | (link_shapes(shape) if linked else {})).items():
        if shapes.get(name) != expected:
            raise CallError(
                f"`{path}` is of another shape than it says: {name} is "
                f"{shapes.get(name, 'not there')}, not {expected}",
                "the file was changed: take an older copy, or train again",
            )
    return facts, shape, tensors


def _shape(facts: Any, path: Path) -> TinyShape:
    """The shape that a header names. Raises CallError if a transformer cannot have it."""
    kinds = {f.name: float if f.type == "float" else int for f in fields(TinyShape)}
    good = (
        isinstance(facts, dict)
        and facts.keys() == kinds.keys()
        and all(
            isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in facts.values()
        )
        and all(
            kind is float or (isinstance(facts[n], int) and facts[n] <= LARGEST_DIMENSION)
            for n, kind in kinds.items()
        )
    )
    if not good:
        raise CallError(
            f"`{path}` does not say of what shape its model is",
            "take an older copy, or train again",
        )
    return check_shape(TinyShape(**facts))


def check_shape(shape: TinyShape) -> TinyShape:
    """The shape. Raises CallError if a transformer cannot have it."""
    if min(shape.width, shape.layers, shape.heads, shape.hidden, shape.ahead, shape.context) < 1:
        raise CallError(
            "a model's width, layers, heads, hidden, ahead and context are all at least 1"
        )
    if shape.width % (2 * shape.heads):
        raise CallError(
            f"a width of {shape.width} does not go into {shape.heads} heads of an even width",
            f"use a multiple of {2 * shape.heads}",
        )
    return shape

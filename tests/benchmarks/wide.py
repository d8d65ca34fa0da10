"""A large model with tiny's law: tiny, padded, so that a forward costs what one of a large model
does.

    path = widened(folder, times=6, layers=17)  # a file for `--model`, of 145 million parameters

Every width is `times` tiny's and blocks are put in before the last until there are `layers`.
Wherever the padding would be added to the stream, its weights are zero; everywhere else they are
random. So a forward multiplies all of it, and its logits are tiny's to rounding, those of the heads
too. What a draft saves on it is what it saves on a large model whose drafts are kept as often as
tiny's are.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

import fkdsl.models.tiny
from fkdsl.models.tiny.files import read_model_file, write_model_file
from fkdsl.models.tiny.links import PREFIX
from fkdsl.models.tiny.transformer import weight_shapes

TINY = Path(fkdsl.models.tiny.__file__).with_name("tiny.safetensors")
ADDED = ("o_proj.weight", "down_proj.weight", "embed_tokens.weight")
"""Weights whose rows or columns end in the stream: the padding of these is zero."""


def widened(folder: Path, times: int, layers: int, dtype: torch.dtype = torch.bfloat16) -> Path:
    """The file of such a model, written to a folder."""
    facts, small, tensors = read_model_file(TINY)
    shape = replace(
        small,
        width=times * small.width,
        heads=times * small.heads,
        hidden=times * small.hidden,
        layers=layers,
        eps=small.eps / times,  # of a mean over `times` as many coordinates, most of them zero
    )
    source = torch.Generator().manual_seed(1)
    wide: dict[str, Tensor] = {}
    for name, size in weight_shapes(shape).items():
        wide[name] = padded(
            tensors.get(origin(name, small.layers, layers)), name, size, times, source
        ).to(dtype)
    links = {name: t for name, t in tensors.items() if name.startswith(PREFIX)}
    path = folder / f"tiny_times_{times}_{layers}.safetensors"
    write_model_file(path, wide | links, {**facts, "shape": asdict(shape)})
    return path


def origin(name: str, small: int, layers: int) -> str:
    """The name in tiny of a weight of the large model; of those put in, none."""
    before, _, after = name.partition("model.layers.")
    if before or not after:
        return name
    i, rest = after.split(".", 1)
    if small - 1 <= int(i) < layers - 1:
        return ""
    return f"model.layers.{int(i) if int(i) < small - 1 else small - 1}.{rest}"


def padded(
    weight: Tensor | None, name: str, size: tuple[int, ...], times: int, source: torch.Generator
) -> Tensor:
    """A weight of the given size that begins with tiny's."""
    if len(size) == 1:
        norm = torch.ones(size)
        if weight is not None:
            norm[: len(weight)] = weight.float() / times**0.5  # the mean square is `times` smaller
        return norm
    found = (
        torch.zeros(size)
        if name.endswith(ADDED)
        else torch.randn(size, generator=source) / size[1] ** 0.5
    )
    if weight is not None:
        found[: weight.shape[0], : weight.shape[1]] = weight.float()
    return found

"""The image encoder of a model, run once an image.

    encoder = Encoder(module)     # from now on the module's own forward asks it
    encoder.work.passes           # images, or parts of images, that went through it

A module of transformers runs its encoder in its forward. What came out is kept by a hash of what
went in, so an image that comes in another prompt, or again after its keys and values were evicted,
is not encoded again. Where the encoder takes images as a batch, each is kept by itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from fkdsl.models.attachments import EncoderWork

NAMES = ("vision_tower", "vision_model", "visual", "vision_encoder", "image_encoder", "vpm")
"""How families name their encoders of images."""
MOST_BYTES = 256 << 20
"""Most bytes of outputs that are kept; the least recently used go first."""


class Encoder:
    """The encoder of a module of transformers, with what it gave for the images seen last."""

    def __init__(self, module: Any) -> None:
        self.work = EncoderWork()
        self.nbytes = 0
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        tower = _tower(module)
        if tower is not None:
            self._run = tower.forward
            tower.forward = self._forward

    def _forward(self, *args: Any, **given: Any) -> Any:
        """The output of the encoder's own forward."""
        tensors = [a for a in (*args, *given.values()) if isinstance(a, Tensor) and a.ndim]
        sizes = {len(t) for t in tensors}
        if len(sizes) == 1 and (n := sizes.pop()) > 1:
            with suppress(NotABatch):
                return _joined([self._of(*_item(args, given, i)) for i in range(n)])
        return self._of(args, given)

    def _of(self, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        key = _digest((*args, *sorted(given.items())))
        if key not in self._kept:
            began = time.perf_counter()
            output = self._run(*args, **given)
            vectors = max((t.numel() // t.shape[-1] for t in _tensors(output) if t.ndim), default=0)
            self.work.add(1, vectors, time.perf_counter() - began)
            self._keep(key, output)
            return _copied(output)
        self._kept.move_to_end(key)
        return _copied(self._kept[key][0])

    def _keep(self, key: bytes, output: Any) -> None:
        size = sum(t.numel() * t.element_size() for t in _tensors(output))
        self._kept[key] = (_copied(output), size)
        self.nbytes += size
        while self.nbytes > MOST_BYTES and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self.nbytes -= freed


def _tower(module: Any) -> Any:
    """The encoder of images among a module's parts, the outermost one; None if none has a known
    name."""
    named = [
        (path.count("."), part)
        for path, part in module.named_modules()
        if path.rpartition(".")[2] in NAMES
    ]
    return min(named, key=lambda found: found[0])[1] if named else None


def _item(
    args: Sequence[Any], given: Mapping[str, Any], i: int
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the i-th image of a batch."""

    def of(value: Any) -> Any:
        return value[i : i + 1] if isinstance(value, Tensor) and value.ndim else value

    return [of(a) for a in args], {name: of(value) for name, value in given.items()}


class NotABatch(Exception):
    """An encoder's output is not one entry for each image."""


def _joined(outputs: Sequence[Any]) -> Any:
    """The output of a batch, from those of its images. Raises NotABatch if these are not batches of
    one."""
    first = outputs[0]
    if isinstance(first, Tensor):
        if any(o.ndim == 0 or len(o) != 1 or o.shape != first.shape for o in outputs):
            raise NotABatch
        return torch.cat(list(outputs))
    if isinstance(first, Mapping):
        fields = {name: _joined([o[name] for o in outputs]) for name in first}
        return type(first)(**fields)
    if type(first) in (tuple, list):
        return type(first)(_joined(list(column)) for column in zip(*outputs, strict=True))
    if all(o is None for o in outputs):
        return None
    raise NotABatch


def _copied(output: Any) -> Any:
    """An output of its own, since modules write into what their encoders give. Its tensors are
    shared."""
    return type(output)(**output) if isinstance(output, Mapping) else output


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, tuple | list) else []


def _digest(value: Any) -> bytes:
    """A hash of nested arguments."""
    digest = blake2b(digest_size=20)

    def add(part: Any) -> None:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, tuple | list):
            digest.update(b"(%d" % len(part))
            for inner in part:
                add(inner)
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.digest()

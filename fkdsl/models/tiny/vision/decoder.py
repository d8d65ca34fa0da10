"""The decoder of a byte-level model with eyes: the frozen decoder, with a block of cross-attention
before some of its layers.

The symbol that stands for an image is read as END. What the blocks need of the image, the keys
and values of its latents, is made once and lies in the segment of that symbol: every context that
continues it finds it there, and when the cache drops the segment, it is gone too. A symbol sees the
last image before it, as in Flamingo; symbols before any image go through the frozen model
alone.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear, rms_norm

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.attachments import Attachment, EncoderWork
from fkdsl.models.decoder import Batch, Decoder
from fkdsl.models.decoder_weights import DecoderLayer
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.kv_pool import KVPool, KVSegment
from fkdsl.models.tiny.transformer import END
from fkdsl.models.tiny.vision.transformer import Block, Eyes

KEPT_IMAGES = 64
"""Most images whose pixels are kept; 14 kB each at the default size."""
READOUT = -1
"""Among the keys of a Sight, the block of the readout; the others are layers of the trunk."""


class Sight:
    """What the blocks attend to of an image: for each block (keys, values), (1, heads, L, w)."""

    def __init__(self, parts: dict[int, tuple[Tensor, Tensor]]) -> None:
        self.parts = parts
        self.nbytes: int = sum(
            t.numel() * t.element_size() for pair in parts.values() for t in pair
        )


class SeeingSegment(KVSegment):
    """A segment that knows the images of its context. sights: (position in the context, Sight) of
    each, ascending."""

    __slots__ = ("sights",)
    sights: tuple[tuple[int, Sight], ...]

    @property
    def nbytes(self) -> int:
        begins = len(self.table) - self.length
        own: int = super().nbytes
        images: int = sum(sight.nbytes for at, sight in self.sights if at >= begins)
        return own + images


@dataclass(frozen=True)
class View:
    """The symbols of a batch that see the same image. at: (m,) their indices among the batch's;
    since: (m,) how many symbols after the image each stands."""

    sight: Sight
    at: Tensor
    since: Tensor


@dataclass(frozen=True)
class SeeingBatch(Batch):
    views: tuple[View, ...] = ()


class SeeingDecoder(Decoder):
    """A decoder with eyes. pixels_of: (high, wide, 3) uint8 of an attachment."""

    segment_kind = SeeingSegment

    def see_with(self, eyes: Eyes, pixels_of: Callable[[Attachment], NDArray[np.uint8]]) -> None:
        """Sets the eyes, in the decoder's dtype. To be called once, before the first forward."""
        self.eyes, self.pixels_of = eyes, pixels_of
        self.work = EncoderWork()
        self._sights: WeakValueDictionary[int, Sight] = WeakValueDictionary()
        self._pixels: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def verify(self, image: Attachment) -> None:
        """Raises CallError for an image that cannot be decoded."""
        self._decoded(image)

    def _decoded(self, image: Attachment) -> NDArray[np.uint8]:
        """The pixels of an image. The last few are kept: every particle begins by asking."""
        pixels = self._pixels.get(image)
        if pixels is None:
            pixels = self._pixels[image] = self.pixels_of(image)
            if len(self._pixels) > KEPT_IMAGES:
                self._pixels.popitem(last=False)
        return pixels

    def batch(
        self, rows: Sequence[ForwardRow], pool: KVPool, filler: int = 0
    ) -> tuple[Batch, list[KVSegment]]:
        """See Decoder.batch."""
        new = self._new_sights(rows)
        plain = [r._replace(tokens=tuple(END if i < 0 else i for i in r.tokens)) for r in rows]
        batch, segments = super().batch(plain, pool, filler)
        seen: dict[Sight, list[tuple[int, int]]] = {}
        first = 0
        for row, segment in zip(rows, segments, strict=True):
            assert isinstance(segment, SeeingSegment)
            length = len(segment.table) - len(row.tokens)
            images = [(length + k, new[i]) for k, i in enumerate(row.tokens) if i < 0]
            segment.sights = (*_sights_of(row.past, length), *images)
            for k in range(len(row.tokens)):
                before = [s for s in segment.sights if s[0] <= length + k]
                if before:
                    seen.setdefault(before[-1][1], []).append(
                        (first + k, length + k - before[-1][0])
                    )
            first += len(row.tokens)
        views = tuple(
            View(sight, *(self._put(column) for column in np.array(at, np.int64).T.copy()))
            for sight, at in seen.items()
        )
        known = {f.name: getattr(batch, f.name) for f in fields(Batch)}
        return SeeingBatch(**known, views=views), segments

    def through(self, layers: Sequence[DecoderLayer], pool: KVPool, batch: Batch) -> Tensor:
        """(n, 2 d): the output of the layers for all new symbols, and what the images add to it
        in `logits`; (n, d) if no symbol sees an image."""
        assert isinstance(batch, SeeingBatch)
        eyes = self.eyes
        x = self.embed(batch.ids)
        for i, (layer, plane) in enumerate(zip(layers, pool.planes, strict=False)):
            if batch.views and str(i) in eyes.blocks:
                x = self._seen(eyes.blocks[str(i)], i, batch.views, x)
            x = self.layer_output(layer, plane, batch, batch.all, x)
        if not batch.views:
            return x
        z = rms_norm(x, self.norm.shape, self.norm, self.eps)
        z = eyes.readout.norm(self._seen(eyes.readout.block, READOUT, batch.views, z))
        sees = torch.zeros((len(x), 1), dtype=x.dtype, device=x.device)
        for view in batch.views:
            sees[view.at] = eyes.readout.gate.tanh()
        return torch.cat((x, sees * z), dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """See Decoder.logits. x: (n, d) or (n, 2 d), as `through` gives it."""
        d = len(self.norm)
        logits = super().logits(x[:, :d].contiguous())
        if x.shape[1] == d:
            return logits
        return logits + linear(x[:, d:], self.eyes.readout.unembedding.weight)

    def _seen(self, block: Block, key: int, views: Sequence[View], x: Tensor) -> Tensor:
        """(n, d) x with a block's output where symbols see an image. key: the block's in a
        Sight."""
        for view in views:
            places = self.eyes.places(view.since)[None]
            y = block.seeing(x[view.at][None], *view.sight.parts[key], places)
            x = x.index_copy(0, view.at, y[0])
        return x

    def _new_sights(self, rows: Sequence[ForwardRow]) -> dict[int, Sight]:
        """The Sights of the images among rows' new symbols, by their ids. Those that a living
        segment has are taken from there."""
        sights: dict[int, Sight] = {}
        missing: dict[int, Attachment] = {}
        for i in (i for row in rows for i in row.tokens if i < 0):
            if not isinstance(i, Attachment):
                raise CallError("an image's id stands in this context without the image")
            known = self._sights.get(i)
            if known is None:
                missing[i] = i
            else:
                sights[i] = known
        for i, image in missing.items():
            sights[i] = self._sights[i] = self._sight(image)
        return sights

    def _sight(self, image: Attachment) -> Sight:
        began = time.perf_counter()
        pixels = torch.from_numpy(self._decoded(image))[None].to(self.device)
        latents = self.eyes.resampled(self.eyes.encoded(pixels))
        blocks = {int(i): block for i, block in self.eyes.blocks.items()}
        blocks[READOUT] = self.eyes.readout.block
        sight = Sight({i: b.attention.keys_values(latents) for i, b in blocks.items()})
        self.work.add(1, latents.shape[1], time.perf_counter() - began)
        return sight


def _sights_of(past: Past | None, length: int) -> tuple[tuple[int, Sight], ...]:
    """The images of a past, which has `length` symbols."""
    if past is None:
        return ()
    assert isinstance(past.segment, SeeingSegment)
    return tuple(s for s in past.segment.sights if s[0] < length)

"""What the encoder made of a source: the keys and values of the decoder's attention to it.

They are computed once, and every context with the source shares them. A context's segments hold
them, so they live for as long as the engine keeps the context; the last few are kept besides, for
the next run or island that reads the same source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import Past
from fkdsl.models.kv_pool import KVSegment

KEPT_BYTES = 64 << 20
"""Bytes of sources that are kept though no context holds them."""


class EncodedSource:
    """A source's keys and values. layers: for each layer of the decoder both, (1, heads, length,
    width). length: tokens of the source."""

    __slots__ = ("__weakref__", "attachment", "layers", "length", "nbytes")

    def __init__(self, attachment: Attachment, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.attachment, self.layers = attachment, tuple(layers)
        self.length = int(self.layers[0][0].shape[2])
        self.nbytes = sum(t.numel() * t.element_size() for pair in self.layers for t in pair)


class EncodedSources:
    """The sources that are encoded, by what they are."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept_bytes = kept_bytes
        self._held: WeakValueDictionary[int, EncodedSource] = WeakValueDictionary()
        self._kept: OrderedDict[int, EncodedSource] = OrderedDict()
        self._bytes = 0

    def get(self, attachment: Attachment) -> EncodedSource | None:
        source = self._held.get(attachment)
        if source is None or source.attachment.content != attachment.content:
            return None
        if attachment in self._kept:
            self._kept.move_to_end(attachment)
        return source

    def put(self, source: EncodedSource) -> None:
        """Keeps a source for as long as a context holds it, and beyond while there is room."""
        key = int(source.attachment)
        self._held[key] = source
        before = self._kept.pop(key, None)
        self._bytes += source.nbytes - (before.nbytes if before is not None else 0)
        self._kept[key] = source
        while self._bytes > self.kept_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes


class SourcedSegment:
    """A segment of a context with a source. inner: the keys and values of its tokens, None where it
    has the source alone. begins: whether the source itself is the first token of the run."""

    __slots__ = ("begins", "inner", "source")
    sliceable = True
    standalone = False

    def __init__(self, source: EncodedSource, inner: KVSegment | None, begins: bool) -> None:
        self.source, self.inner, self.begins = source, inner, begins

    @property
    def length(self) -> int:
        return (self.inner.length if self.inner is not None else 0) + self.begins

    @property
    def nbytes(self) -> int:
        own = self.inner.nbytes if self.inner is not None else 0
        return own + (self.source.nbytes if self.begins else 0)


def inner_past(past: Past | None) -> Past | None:
    """The past of a context's tokens without its source."""
    if past is None:
        return None
    segment = past.segment
    assert isinstance(segment, SourcedSegment)
    stop = past.stop - segment.begins
    return Past(segment.inner, stop) if segment.inner is not None and stop else None


def joined(sources: Sequence[EncodedSource]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """(the keys and values of a batch, (B, heads, longest, width), padded on the right; its mask
    (B, longest), 1 for a token). One source for all rows takes no further memory."""
    B, device = len(sources), sources[0].layers[0][0].device
    if all(source is sources[0] for source in sources):
        one = sources[0]
        layers = [tuple(t.expand(B, -1, -1, -1) for t in pair) for pair in one.layers]
        return layers, torch.ones((B, one.length), dtype=torch.long, device=device)
    longest = max(source.length for source in sources)
    lengths = torch.tensor([source.length for source in sources], device=device)
    mask = (torch.arange(longest, device=device)[None, :] < lengths[:, None]).long()
    layers = []
    for at in range(len(sources[0].layers)):
        pair = []
        for which in (0, 1):
            like = sources[0].layers[at][which]
            stacked = like.new_zeros((B, like.shape[1], longest, like.shape[3]))
            for row, source in enumerate(sources):
                stacked[row, :, : source.length] = source.layers[at][which][0]
            pair.append(stacked)
        layers.append((pair[0], pair[1]))
    return layers, mask

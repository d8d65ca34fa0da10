"""`tiny-vision`, and any model that `fkdsl train --images` made, as a LanguageModel that takes
images.

    ids = model.start_with((Attachment("image", png), "It reads: "))

The image stands where END stands before a text, so a prompt may begin with it; a prompt without
images is one of the frozen model, with the same rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment, Kind, Part
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.digest import digest_of
from fkdsl.models.linear import DTYPES, verify_precision
from fkdsl.models.tiny.header import made_facts
from fkdsl.models.tiny.model import byte_texts, decoder_shape, on_device
from fkdsl.models.tiny.transformer import END
from fkdsl.models.tiny.vision.decoder import SeeingDecoder
from fkdsl.models.tiny.vision.files import read_eyes
from fkdsl.models.tiny.vision.transformer import Eyes
from fkdsl.models.tokenized import ModelTexts


class SeeingModel(DecoderModel):
    """A byte-level model with eyes."""

    kinds: frozenset[Kind] = frozenset({"image"})
    decoder: SeeingDecoder

    def __init__(self, decoder: SeeingDecoder, texts: ModelTexts) -> None:
        super().__init__(decoder, texts)
        self.encoder_work = decoder.work

    def start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        """See TakesAttachments. END stands before a text, and an image in its place. An image
        is decoded here, so that one that is damaged is refused where the program names it."""
        ids: list[int] = []
        for part in parts:
            if isinstance(part, str):
                ids += self.encode(part)
            elif part.kind in self.kinds:
                self.decoder.pixels_of(part)  # raises CallError for one that cannot be read
                self.decoder.verify(part)
                ids.append(part)
            else:
                raise CallError(
                    f"{self.name} reads no {part.kind}: it is no encoder-decoder",
                    "put the text into the prompt",
                )
        return tuple(ids) if ids and isinstance(ids[0], Attachment) else (END, *ids)

    def chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        """See TakesAttachments."""
        return self.chat("", system)  # raises CallError: there is no template


def load_seeing(
    file: Path, *, dtype: str = "float32", device: str = "cpu", name: str = ""
) -> SeeingModel:
    """The model of a file that `fkdsl train --images` wrote. Raises CallError for a file that is
    damaged or not of the shape that it names, and for a dtype or device that cannot be used."""
    verify_precision(dtype, device)
    stored = read_eyes(file)
    trunk = on_device(stored.trunk, dtype, device)
    eyes = Eyes(stored.vision, stored.shape.layers).requires_grad_(False).eval()
    eyes.load_state_dict(on_device(stored.eyes, dtype, device))
    eyes = eyes.to(device, DTYPES[dtype])
    weights = trunk | {f"eyes.{n}": t for n, t in eyes.state_dict().items()}
    facts = {
        "family": "bytes with eyes",
        "parameters": sum(t.numel() for t in weights.values()),
        "dtype": dtype,
        "device": device,
        "digest": digest_of(weights),
        **made_facts(stored.facts),
    }
    decoder = SeeingDecoder(decoder_shape(stored.shape, device), trunk, dtype)
    high, wide = stored.vision.pixels_high, stored.vision.pixels_wide
    decoder.see_with(eyes, KeptPixels(high, wide))
    return SeeingModel(decoder, byte_texts(name or file.name, stored.shape.context, facts))


class KeptPixels:
    """The pixels of images by `pixels_of`, those of the last MOST_KEPT images kept."""

    MOST_KEPT = 16

    def __init__(self, high: int, wide: int) -> None:
        self._size = high, wide
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __call__(self, image: Attachment) -> NDArray[np.uint8]:
        if image not in self._kept:
            self._kept[image] = pixels_of(image, *self._size)
            if len(self._kept) > self.MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(image)
        return self._kept[image]


def pixels_of(image: Attachment, high: int, wide: int) -> NDArray[np.uint8]:
    """(high, wide, 3) uint8: the image as large as fits in, in the middle of the colour of its
    border. Raises CallError for an image that cannot be read."""
    from fkdsl.models.vision.images import read_image

    return fitted(read_image(image.content, image.origin), high, wide)


def fitted(image: Any, high: int, wide: int) -> NDArray[np.uint8]:
    """(high, wide, 3) uint8 of an RGB image of Pillow's; see `pixels_of`."""
    from PIL import Image

    scale = min(wide / image.width, high / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    inner = np.asarray(image.resize(size, Image.Resampling.BOX if scale < 1 else None), np.uint8)
    border = np.concatenate((inner[0], inner[-1], inner[:, 0], inner[:, -1]))
    pixels = np.empty((high, wide, 3), np.uint8)
    pixels[:] = np.median(border, axis=0)
    top, left = (high - size[1]) // 2, (wide - size[0]) // 2
    pixels[top : top + size[1], left : left + size[0]] = inner
    return pixels

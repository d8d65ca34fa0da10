"""Rendered images with captions, to train and to measure a model that sees: words, numbers, price
tags and shapes.

>>> from fkdsl.models.tiny.vision.fonts import find_fonts
>>> image = draw_image(np.random.default_rng(3), "price", find_fonts([]))
>>> image.pixels.shape, image.pixels.dtype
((48, 96, 3), dtype('uint8'))
>>> image.captions
('priced at $5.80', 'It reads: $5.80')

An image depends on its random stream and on the fonts alone. Which texts are trained on is decided
by a hash of the text (`is_held_out`), so that no held-out text was ever seen.
"""

from __future__ import annotations

import math
import string
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.vision.fonts import Fonts
from fkdsl.models.tiny.vision.words import WORDS

HIGH, WIDE = 48, 96
"""Pixels of an image."""
KINDS = ("price", "number", "word", "shape")
CURRENCIES = ("$", "$", "£", "€")
COLOURS = {
    "red": (205, 35, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 205),
    "yellow": (240, 215, 50),
    "orange": (240, 140, 30),
    "purple": (130, 50, 160),
    "pink": (245, 150, 185),
    "brown": (120, 75, 40),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
    "grey": (135, 135, 135),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "ring")
SIZES = ("small", "large")
LEAST_CONTRAST = 70.0
"""Between the colours of a text and of what it stands on: the distance of their pixels, 0..441."""
HELD_OUT_SHARE = 10
"""One text in so many is held out."""

Random = np.random.Generator
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class RenderedImage:
    """pixels: (48, 96, 3) uint8. captions: what may stand after it, the first says of what kind it
    is. spans: for each character of the text on it (the character, its left and right end in
    pixels); for a shape, so its size, if it stands alone, its colour and its name."""

    pixels: Pixels
    captions: tuple[str, ...]
    spans: tuple[tuple[str, float, float], ...]


def is_held_out(text: str) -> bool:
    """Whether a text is never on an image that is trained on."""
    return sha256(text.encode()).digest()[0] % HELD_OUT_SHARE == 0


def draw_image(
    rng: Random, kind: str, fonts: Fonts, *, held_out: bool = False, noise: float | None = None
) -> RenderedImage:
    """An image of a kind, with a text that is or is not held out. noise: 0 for a clean image, 1
    for the worst that is trained on; by default drawn between."""
    noise = float(rng.random()) if noise is None else noise
    if kind == "shape":
        return _shapes(rng, noise)
    while is_held_out(text := _text(rng, kind)) != held_out:
        pass
    return render_text(rng, text, kind, fonts, noise)


def _text(rng: Random, kind: str) -> str:
    if kind == "number":
        return "".join(map(str, rng.integers(0, 10, rng.integers(1, 7))))
    if kind == "price":
        whole = int(math.exp(rng.random() * math.log(1000)))
        return f"{rng.choice(CURRENCIES)}{whole}.{rng.integers(100):02d}"
    if rng.random() < 0.8:
        return str(rng.choice(WORDS))
    return "".join(rng.choice(list(string.ascii_lowercase), rng.integers(2, 8)))


READING = "It reads: "
CAPTIONS = {"price": "priced at ", "number": "a number: ", "word": "the word: "}
"""What stands before an image's text in a caption. All are ten bytes long, so that a character's
number in the text says where in the caption it stands."""


def render_text(rng: Random, text: str, kind: str, fonts: Fonts, noise: float) -> RenderedImage:
    """An image of a text, in a font, size, place, angle and colours that are drawn."""
    from PIL import Image, ImageDraw

    back = _colour(rng)
    plate = _colour(rng, light=True) if kind == "price" else back
    ink = _colour(rng)
    while _distance(ink, plate) < LEAST_CONTRAST:
        ink = _colour(rng)
    number = int(rng.integers(len(fonts)))
    size = int(rng.integers(16, 35))
    room = (WIDE - 22 if kind == "price" else WIDE - 8, HIGH - 10)
    while True:
        font = fonts.at(number, size)
        left, top, right, bottom = font.getbbox(text)
        if size <= 9 or (right - left <= room[0] and bottom - top <= room[1]):
            break
        size -= 1
    x = _between(rng, 12 if kind == "price" else 4, WIDE - (right - left) - 5)
    y = _between(rng, 4, HIGH - (bottom - top) - 5)
    angle = float(rng.normal() * 2.0 * noise)
    mask = Image.new("L", (WIDE, HIGH), 0)
    ImageDraw.Draw(mask).text((x - left, y - top), text, font=font, fill=255)
    pixels = np.empty((HIGH, WIDE, 3), np.float32)
    pixels[:] = back
    if kind == "price":
        pixels = _painted(pixels, _tag(x, y, x + right - left, y + bottom - top, angle), plate)
    pixels = _painted(pixels, _turned(mask, angle), ink)
    ends = [x - left + font.getlength(text[:i]) for i in range(len(text) + 1)]
    spans = tuple((c, ends[i], ends[i + 1]) for i, c in enumerate(text))
    return RenderedImage(_noisy(rng, pixels, noise), (CAPTIONS[kind] + text, READING + text), spans)


def _tag(x0: float, y0: float, x1: float, y1: float, angle: float) -> NDArray[np.float32]:
    """(48, 96) how much of each pixel a tag around a text covers, with a hole at its left."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (WIDE, HIGH), 0)
    draw = ImageDraw.Draw(mask)
    middle, half = (y0 + y1) / 2, (y1 - y0) / 2 + 4
    outline = [
        (x0 - 11, middle),
        (x0 - 5, middle - half),
        (x1 + 4, middle - half),
        (x1 + 4, middle + half),
        (x0 - 5, middle + half),
    ]
    draw.polygon(outline, fill=255)
    draw.ellipse((x0 - 7, middle - 1.5, x0 - 4, middle + 1.5), fill=0)
    return _turned(mask, angle)


def _shapes(rng: Random, noise: float) -> RenderedImage:
    """One shape and its size, or two side by side, named from left to right."""
    back = _colour(rng)
    pixels = np.empty((HIGH, WIDE, 3), np.float32)
    pixels[:] = back
    count = int(rng.integers(1, 3))
    names: list[str] = []
    spans: list[tuple[str, float, float]] = []
    for i in range(count):
        choices = [c for c, rgb in COLOURS.items() if _distance(np.array(rgb), back) > 90]
        colour, shape = str(rng.choice(choices)), str(rng.choice(SHAPES))
        size = SIZES[rng.random() < 0.5]
        radius = _between(rng, 14, 19) if size == "large" else _between(rng, 6, 9)
        left, right = (0, WIDE) if count == 1 else (i * WIDE / 2, (i + 1) * WIDE / 2)
        x = _between(rng, left + radius + 2, right - radius - 2)
        y = _between(rng, radius + 2, HIGH - radius - 2)
        paint = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 6, 3), 0, 255)
        pixels = _painted(pixels, _shape(shape, x, y, radius, rng), paint)
        words = (size, colour, shape) if count == 1 else (colour, shape)
        names.append(" ".join(("a", *words)))
        spans += [(word, x - radius, x + radius) for word in words]
    return RenderedImage(_noisy(rng, pixels, noise), (" and ".join(names),), tuple(spans))


def _shape(name: str, x: float, y: float, r: float, rng: Random) -> NDArray[np.float32]:
    """(48, 96) how much of each pixel a shape covers, around (x, y) and of a radius in pixels."""
    from PIL import Image, ImageDraw

    scale = 3
    mask = Image.new("L", (WIDE * scale, HIGH * scale), 0)
    draw = ImageDraw.Draw(mask)
    box = tuple(scale * v for v in (x - r, y - r, x + r, y + r))
    turned = rng.normal() * 0.1

    def corners(n: int, first: float, radii: tuple[float, ...]) -> list[tuple[float, float]]:
        angles = [first + turned + 2 * math.pi * i / n for i in range(n)]
        return [
            (scale * (x + q * math.sin(a)), scale * (y - q * math.cos(a)))
            for a, q in ((a, r * radii[i % len(radii)]) for i, a in enumerate(angles))
        ]

    if name in ("circle", "ring"):
        draw.ellipse(box, fill=255)
        if name == "ring":
            inner = tuple(scale * v for v in (x - r / 2, y - r / 2, x + r / 2, y + r / 2))
            draw.ellipse(inner, fill=0)
    elif name == "square":
        draw.polygon(corners(4, math.pi / 4, (1.2,)), fill=255)
    elif name == "diamond":
        draw.polygon(corners(4, 0.0, (1.1, 0.75)), fill=255)
    elif name == "triangle":
        draw.polygon(corners(3, 0.0, (1.15,)), fill=255)
    elif name == "star":
        draw.polygon(corners(10, 0.0, (1.2, 0.48)), fill=255)
    else:  # a cross
        t = r / 3
        for w, h in ((r, t), (t, r)):
            draw.rectangle(tuple(scale * v for v in (x - w, y - h, x + w, y + h)), fill=255)
    small = mask.resize((WIDE, HIGH), Image.Resampling.BOX)
    covered: NDArray[np.float32] = np.asarray(small, np.float32) / 255.0
    return covered


def _turned(mask: Any, angle: float) -> NDArray[np.float32]:
    """A mask turned by an angle in degrees around the middle, 0..1."""
    from PIL import Image

    if abs(angle) > 0.2:
        mask = mask.rotate(angle, resample=Image.Resampling.BILINEAR)
    turned: NDArray[np.float32] = np.asarray(mask, np.float32) / 255.0
    return turned


def _painted(pixels: NDArray[Any], mask: NDArray[Any], colour: NDArray[Any]) -> NDArray[Any]:
    """Pixels with a colour where a mask is 1."""
    painted: NDArray[Any] = pixels + mask[:, :, None] * (colour - pixels)
    return painted


def _noisy(rng: Random, pixels: NDArray[Any], noise: float) -> Pixels:
    """Pixels with a slope of light, blur, less contrast and a noise for each pixel."""
    from PIL import Image, ImageFilter

    slope = np.linspace(-1, 1, WIDE, dtype=np.float32)[None, :, None] * rng.normal() * 15 * noise
    pixels = np.clip(pixels + slope, 0, 255)
    if (blur := float(rng.random() * 1.1 * noise)) > 0.2:
        image = Image.fromarray(pixels.astype(np.uint8))
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    contrast = 1.0 - 0.5 * noise * rng.random()
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(28 * noise * rng.random())
    return np.clip(128 + (pixels - 128) * contrast + grain, 0, 255).astype(np.uint8)


def _colour(rng: Random, light: bool = False) -> NDArray[Any]:
    """A colour: light, dark, or any."""
    if light or rng.random() < 0.5:
        return rng.uniform(190, 255, 3)
    return rng.uniform(0, 80, 3) if rng.random() < 0.5 else rng.uniform(0, 255, 3)


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.linalg.norm(a - b))


def _between(rng: Random, low: float, high: float) -> float:
    """A number between two; `low` if there is none."""
    return float(rng.uniform(low, max(low, high)))

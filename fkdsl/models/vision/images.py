"""Reads images that come from strangers: bytes -> an upright RGB image, within bounds.

    image = read_image(Path("cat.png").read_bytes(), "cat.png")    # a PIL.Image.Image
    image.mode == "RGB"

The header says the size before anything is decoded, so a decompression bomb costs nothing. Only the
formats of FORMATS are tried. An image with several frames is refused, since a model would see the
first one alone. What the camera says of the orientation is applied, and what is transparent becomes
white. Pillow is imported inside the functions.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from fkdsl.base.errors import CallError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""The formats that are read, by Pillow's names."""
MOST_BYTES = 32 << 20
"""Most bytes of an image's file."""
MOST_PIXELS = 50_000_000
"""Most pixels of an image; in memory each takes three bytes."""
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, OverflowError)
"""What Pillow raises for damaged files."""
FORMATS_SHOWN = "PNG, JPEG, WebP, GIF or BMP"


def read_image(content: bytes, origin: str = "") -> Any:
    """The image of a file's bytes, as a PIL image in the mode RGB. origin: the file, for errors.

    Raises CallError for bytes that are no image of a known format, are damaged or cut short, or
    hold too many bytes, pixels or frames; and where Pillow is not installed.
    """
    shown = _shown(origin)
    image = _verified(content, shown)
    try:
        return _upright(image)
    except DAMAGE as error:
        raise _damaged(shown, error) from None


def verify_image(content: bytes, origin: str = "") -> None:
    """Raises CallError for what the header of a file's bytes tells: that they are no image, or
    too large, or animated. Decodes nothing."""
    _verified(content, _shown(origin))


def _shown(origin: str) -> str:
    return f"the image `{origin}`" if origin else "an image"


def _verified(content: bytes, shown: str) -> Any:
    """The image of some bytes, not yet decoded, within the bounds."""
    if len(content) > MOST_BYTES:
        raise CallError(
            f"{shown} has {len(content):,} bytes, and at most {MOST_BYTES:,} are read",
            "make it smaller",
        )
    image = _opened(content, shown)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise CallError(
            f"{shown} has {width:,} x {height:,} pixels, and at most {MOST_PIXELS:,} are read",
            "make it smaller",
        )
    try:
        animated = getattr(image, "is_animated", False)
    except DAMAGE as error:
        raise _damaged(shown, error) from None
    if animated:
        raise CallError(
            f"{shown} is animated, and a model would see its first frame alone",
            "save the frame that is meant",
        )
    return image


def _damaged(shown: str, error: Exception) -> CallError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return CallError(f"{shown} is damaged: {reason}", "save it again")


def png_bytes(image: Any) -> bytes:
    """The bytes of a PIL image as a PNG file, the same for the same pixels."""
    file = BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def pillow() -> Any:
    """The module PIL.Image. Raises CallError where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise CallError(
            "images are read by Pillow, which is not installed here",
            'pip install "fkdsl[images]"',
        ) from None
    return Image


def _opened(content: bytes, shown: str) -> Any:
    """The image of some bytes, of which only the header has been read."""
    images = pillow()
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of an image of many pixels; the caller refuses it.
            warnings.simplefilter("ignore")
            return images.open(BytesIO(content), formats=FORMATS)
    except images.DecompressionBombError:
        raise CallError(
            f"{shown} has more than {MOST_PIXELS:,} pixels, the most that are read",
            "make it smaller",
        ) from None
    except UnidentifiedImageError:
        found = _seems(content)
        raise CallError(
            f"{shown} is no image that can be read"
            + (f": it seems to be {found}" if found else ""),
            f"save it as {FORMATS_SHOWN}",
        ) from None
    except DAMAGE as error:
        raise _damaged(shown, error) from None


def _seems(content: bytes) -> str:
    """What some bytes are by their beginning, in words; "" if that is not known."""
    if not content:
        return "empty"
    for beginning, found in (
        (b"%PDF", "a PDF"),
        (b"<svg", "an SVG drawing"),
        (b"<?xml", "an SVG drawing or other XML"),
        (b"II*\0", "a TIFF file"),
        (b"MM\0*", "a TIFF file"),
    ):
        if content.lstrip().startswith(beginning):
            return found
    if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "an HEIC or AVIF file"
    return ""


def _upright(image: Any) -> Any:
    """The decoded image in RGB, turned as its EXIF data says, on white where it is
    transparent."""
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # sixteen bits, of which eight are kept
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        white.alpha_composite(over)
        image = white
    return image.convert("RGB")

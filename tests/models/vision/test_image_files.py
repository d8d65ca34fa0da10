"""Images from strangers: what is read of them, and what is refused before it costs anything."""

import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from PIL import Image

from fkdsl.base.errors import CallError
from fkdsl.models.vision import images
from fkdsl.models.vision.images import png_bytes, read_image, verify_image
from tests.models.image_table import animation
from tests.models.vision.families import noise


def saved(image, form, **options):
    file = BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height, rows=100):
    """A PNG file of a few bytes that says that it has so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * rows)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_each_format_is_read_as_it_was_saved(form):
    image = Image.new("RGB", (7, 5), (250, 10, 20))
    read = read_image(saved(image, form))
    assert (read.mode, read.size) == ("RGB", (7, 5))
    assert all(abs(a - b) <= 8 for a, b in zip(read.getpixel((3, 2)), (250, 10, 20), strict=True))


def test_transparent_is_white_sixteen_bits_are_eight_and_what_the_camera_turned_stands_upright():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert read_image(png_bytes(clear)).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert read_image(png_bytes(half)).getpixel((0, 0)) == (127, 127, 127)
    deep = Image.new("I;16", (2, 2), 0x8000)
    assert read_image(png_bytes(deep)).getpixel((0, 0)) == (128, 128, 128)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by a quarter
    assert read_image(saved(noise(0, (6, 4)), "JPEG", exif=exif)).size == (4, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it seems to be empty"),
        (b"# A text", "is no image that can be read"),
        (b"%PDF-1.7 ...", "it seems to be a PDF"),
        (b"<svg xmlns='...'/>", "it seems to be an SVG"),
        (saved(noise(), "TIFF"), "it seems to be a TIFF"),
        (saved(noise(0, (64, 64)), "PNG")[:900], "is damaged"),
        (saved(noise(0, (64, 64)), "JPEG")[:600], "is damaged"),
        (animation(), "is animated"),
        (bomb(8_000, 8_000), "8,000 x 8,000 pixels"),
        (bomb(60_000, 60_000), "more than 50,000,000 pixels"),
        (bomb(100, 100), "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cat.png"),
    ],
)
def test_what_is_no_image_is_refused_in_words(content, message):
    with pytest.raises(CallError, match=message) as caught:
        read_image(content, "cat.png")
    assert "`cat.png`" in caught.value.message
    assert caught.value.help


def test_an_image_has_a_bound_of_bytes(monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 100)
    with pytest.raises(CallError, match="at most 100 are read"):
        verify_image(png_bytes(noise(0, (64, 64))), "x.png")


@pytest.mark.slow
def test_random_damage_raises_no_other_error():
    import random

    rng = random.Random(0)
    files = [saved(noise(0, (24, 24)), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]
    for k in range(2_000):
        damaged = bytearray(files[k % len(files)])
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(CallError):
            assert read_image(bytes(damaged)).mode == "RGB"


def test_pillow_is_asked_for_by_name_and_imported_by_nothing_that_checks():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import fkdsl\n"
        "fkdsl.parse('program p(x: image) -> str:\\n    lm = prompt(x)\\n    return lm.text\\n')\n"
        "assert 'torch' not in sys.modules\n"
        "from fkdsl.models.vision.images import read_image\n"
        "try:\n    read_image(b'x')\n"
        "except fkdsl.CallError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Pillow, which is not installed" in run.stdout, run.stderr
    assert 'pip install "fkdsl[images]"' in run.stdout

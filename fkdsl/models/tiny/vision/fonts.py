"""The fonts that images are rendered in: TrueType files, or the scalable one inside Pillow.

fonts = find_fonts([])            # Debian's fonts-dejavu and fonts-liberation, and Pillow's own
font = fonts.at(3, 20)            # the fourth, 20 pixels high
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.vision.images import pillow

DEBIAN = Path("/usr/share/fonts/truetype")
USUAL = (
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSans-Bold.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSans-Bold.ttf",
)
"""Upright sans-serifs of Debian's fonts-dejavu and fonts-liberation."""
MOST_FONTS, MOST_FONT_BYTES = 500, 30 << 20
BUILT_IN = "Pillow's own"


@dataclass(frozen=True)
class Fonts:
    """Fonts by number. files: their paths, BUILT_IN for the one inside Pillow. digest: a hash of
    their bytes, since an image depends on them."""

    files: tuple[str, ...]
    digest: str
    _sized: dict[tuple[int, int], Any] = field(default_factory=dict, compare=False, repr=False)

    def at(self, number: int, size: int) -> Any:
        """Pillow's font of a number, `size` pixels high."""
        key = (number, size)
        if key not in self._sized:
            from PIL import ImageFont

            file = self.files[number]
            self._sized[key] = (
                ImageFont.load_default(size) if file == BUILT_IN else ImageFont.truetype(file, size)
            )
        return self._sized[key]

    def __len__(self) -> int:
        return len(self.files)


def find_fonts(paths: Sequence[str | Path] = ()) -> Fonts:
    """The TrueType fonts of files and folders; of no paths, those of USUAL that are on
    the machine, and Pillow's own. Raises CallError if
    there is none, and for files that are no fonts."""
    pillow()
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix.lower() in (".ttf", ".otf"))
        else:
            files.append(path)
    if not paths:
        files = [DEBIAN / name for name in USUAL if (DEBIAN / name).is_file()]
    digest = sha256()
    for path in files[:MOST_FONTS]:
        digest.update(_font_bytes(path))
    names = (*map(str, files[:MOST_FONTS]), *(() if paths else (BUILT_IN,)))
    if not names:
        raise CallError("there are no fonts to render with", "name TrueType files by --fonts")
    return Fonts(names, digest.hexdigest())


def _font_bytes(path: Path) -> bytes:
    from PIL import ImageFont

    try:
        raw = read_file(path, MOST_FONT_BYTES)
        ImageFont.truetype(str(path), 16)
    except OSError as error:
        why = error.strerror or "it is no font"
        raise CallError(f"`{path}` cannot be used as a font: {why}", "name .ttf files") from None
    return raw

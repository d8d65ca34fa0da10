"""Images that a program names: `image("cat.png")`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file, verify_regular
from fkdsl.base.folders import Folder, OutsideRoot
from fkdsl.models.attachments import Attachment
from fkdsl.models.vision.images import MOST_BYTES, verify_image
from fkdsl.values.images import Image
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import IMAGE, STR

KEPT_BYTES = 64 << 20
"""Most bytes of images that are kept, so that each particle of a population reads none anew."""
UNREADABLE = "FK417"

_LOCK = threading.Lock()
_KEPT: OrderedDict[tuple[str, str, int, int], Image] = OrderedDict()


@pure("image", [Parameter("path", STR)], IMAGE, needs_folder=True)
def image(path: str, *, folder: Path | Folder) -> Image:
    """An image, for a prompt or a chat of a model with eyes. path: a PNG, JPEG, WebP, GIF or BMP
    file in the program's folder."""
    found = image_file(path, folder)
    try:
        status = found.stat()
        key = (str(found), path, status.st_size, status.st_mtime_ns)
        with _LOCK:
            if key in _KEPT:
                _KEPT.move_to_end(key)
                return _KEPT[key]
        content = read_file(found, MOST_BYTES)
    except OSError as error:
        raise _unread(path, error) from None
    read = image_of(content, path)
    with _LOCK:
        _KEPT[key] = read
        while len(_KEPT) > 1 and _kept_bytes() > KEPT_BYTES:
            _KEPT.popitem(last=False)
    return read


def image_file(path: str, folder: Path | Folder) -> Path:
    """The file of an image. Raises BuiltinError (FK417) if there is none in the folder."""
    try:
        found = Folder.of(folder).find(path)
        verify_regular(found, MOST_BYTES)
    except OSError as error:
        raise _unread(path, error) from None
    return found


def _unread(path: str, error: OSError) -> BuiltinError:
    help = "name a file beside the program"
    if isinstance(error, OutsideRoot):
        help += ", or run with --allow-outside if you trust the program"
    return BuiltinError(
        f"cannot read the image {path!r}: {error.strerror or error}", help, UNREADABLE
    )


def image_of(content: bytes, origin: str) -> Image:
    """The image of a file's bytes. Raises BuiltinError (FK417) if they are no image."""
    try:
        verify_image(content, origin)
    except CallError as error:
        raise BuiltinError(error.message, error.help, UNREADABLE) from None
    return Image(Attachment("image", content, origin))


def _kept_bytes() -> int:
    return sum(len(kept.attachment.content) for kept in _KEPT.values())

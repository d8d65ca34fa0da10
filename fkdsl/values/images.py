"""An image as a value of a program: what `image("cat.png")` gives, for prompts.

>>> cat = Image(Attachment("image", b"...", "cat.png"))
>>> str(cat), cat == Image(Attachment("image", b"...", "copy.png"))
('image("cat.png")', True)
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from fkdsl.base.value_keys import Keyed
from fkdsl.models.attachments import Attachment


@dataclass(frozen=True)
class Image(Keyed):
    """An image by its content: two are the same if the bytes of their files are."""

    attachment: Attachment

    def key(self, token_ids: bool) -> Hashable:
        return int(self.attachment)

    def __repr__(self) -> str:
        """The path, by which a call in Python may give it; of an image without one, a mark."""
        origin = self.attachment.origin
        return repr(origin) if origin else f"<image of {len(self.attachment.content)} bytes>"

    def __str__(self) -> str:
        origin = self.attachment.origin
        return f'image("{origin}")' if origin else f"image of {len(self.attachment.content)} bytes"

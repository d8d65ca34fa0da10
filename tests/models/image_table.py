"""A table that looks at an image, by whether it is dark or light, as a model with eyes does: the
exact law by hand, without torch."""

from io import BytesIO

from fkdsl.models.attachments import Attachment
from fkdsl.models.vision.images import png_bytes, read_image
from tests.models.source_table import SourceTable


def shade(level, size=(4, 4)):
    """The bytes of a PNG file of one grey."""
    from PIL import Image

    return png_bytes(Image.new("L", size, level))


def animation():
    """The bytes of a GIF file with two frames."""
    from PIL import Image

    file = BytesIO()
    first, second = (Image.new("L", (4, 4), level) for level in (0, 255))
    first.save(file, format="GIF", save_all=True, append_images=[second])
    return file.getvalue()


class ImageTable(SourceTable):
    """rows: {"dark" or "light": a table's rows}, of the last image of a prompt; "blind": of a
    prompt without one."""

    kinds = frozenset({"image"})

    def start(self, text):
        return self.start_with((text,))

    def chat(self, user, system=""):
        return self.start_with((system, user))

    def chat_with(self, parts, system=""):
        return self.start_with((system, *parts))

    def start_with(self, parts):
        images = [p for p in parts if isinstance(p, Attachment)]
        seen = "blind"
        for image in images:
            pixels = read_image(image.content, image.origin).convert("L")
            seen = "dark" if pixels.getpixel((0, 0)) < 128 else "light"
        text = "".join(p for p in parts if isinstance(p, str))
        # Its first id stands for all of the images, as that of a model that reads them as one.
        begin = Attachment.prompt((seen, *images)) if images else Attachment.source(seen)
        return (begin, self.start_id, *self.encode(text))

    def _row(self, source, ids):
        seen = ids[0].parts[0] if ids[0].kind == "prompt" else ids[0].text
        return super()._row(seen, ids)

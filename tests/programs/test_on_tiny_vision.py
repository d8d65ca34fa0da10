"""The programs that look at an image, on the model with eyes that ships."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fkdsl
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import SHIPPED, load_model, model_info
from fkdsl.models.tiny.transformer import END
from fkdsl.models.tiny.vision.files import read_eyes
from fkdsl.models.tiny.vision.fonts import BUILT_IN, Fonts
from fkdsl.models.tiny.vision.training import held_out_images, read_exactly

pytest.importorskip("PIL.Image", reason="Pillow comes with the extra `images`")

IMAGES = Path("programs/images")
CAPTIONS = {
    "number.png": "a number: 43043",
    "word.png": "the word: back",
    "shapes.png": "a green star and a red ring",
}
"""What the images beside the programs show."""
PRICE = "£2.95"
FONTS = Fonts((BUILT_IN,), "built in")


@pytest.fixture(scope="module")
def seeing():
    return load_model("tiny-vision")


def greedy(model, photo, begin):
    """What greedy decoding writes after an image and a text."""
    tokens = model.start_with((Attachment("image", photo.read_bytes()), begin))
    written = []
    while len(written) < 40:
        row = ForwardRow(None, (*tokens, *written), (len(tokens) + len(written) - 1,))
        best = int(model.forward([row])[0].log_probs[0].argmax())
        if best == END:
            break
        written.append(best)
    return model.vocabulary.text(written)


@pytest.mark.parametrize("name", CAPTIONS)
def test_the_likeliest_caption_says_what_is_on_the_image(seeing, name):
    program = fkdsl.load("programs/caption.fk")
    result = program(photo=IMAGES / name).run(model=seeing, seed=1)
    best = max(result.posterior, key=lambda a: a.probability)
    assert best.value == CAPTIONS[name]
    assert all(len(a.value) <= 40 for a in result.posterior)


def test_what_a_shop_knows_reads_a_tag_that_greedy_decoding_does_not(seeing):
    photo = IMAGES / "price.png"
    assert greedy(seeing, photo, "priced at ") != PRICE
    result = fkdsl.load("programs/price_tag.fk")(photo=photo).run(model=seeing, seed=1)
    assert max(result.posterior, key=lambda a: a.probability).value == PRICE
    assert result.log_z < 0


def test_held_out_images_in_the_font_inside_pillow_are_read():
    """Those of texts that were never trained on; another machine may have no other font."""
    model = read_eyes(SHIPPED["tiny-vision"]).model()
    for kind, least in LEAST.items():
        assert read_exactly(model, held_out_images(kind, 24, FONTS)).mean() >= least


LEAST = {"price": 0.4, "number": 0.3, "shape": 0.7}


def test_text_alone_has_the_rows_of_tiny(seeing):
    rows = [ForwardRow(None, (END, *b"My lord, the sea"), (0, 9, 16))]
    a, b = (m.forward(rows)[0].log_probs for m in (load_model("tiny"), seeing))
    assert (np.asarray(a) == b).all()


def test_the_file_is_small_and_tells_what_made_it():
    assert SHIPPED["tiny-vision"].stat().st_size < 4_000_000
    info = model_info("tiny-vision")
    assert (info.here, info.kind, info.details["takes"]) == (True, "shipped", "images")
    assert info.details["command"].startswith("fkdsl train --images --model tiny")
    code = "from fkdsl.models.registry import model_info; model_info('tiny-vision'); import sys; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

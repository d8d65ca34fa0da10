"""Training eyes: the loss falls, the frozen model stays, a resumed run is the uninterrupted one,
files are read with care, and the images are what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import load_model, model_info
from fkdsl.models.tiny.files import write_model_file
from fkdsl.models.tiny.transformer import END, TinyShape, initialised
from fkdsl.models.tiny.vision.files import (
    SHIPPED_TRUNK,
    check_vision_settings,
    read_eyes,
    read_trunk,
    read_vision_run,
    save_eyes,
    save_vision_run,
    trunk_of,
)
from fkdsl.models.tiny.vision.fonts import BUILT_IN, Fonts, find_fonts
from fkdsl.models.tiny.vision.rendering import (
    CAPTIONS,
    KINDS,
    READING,
    draw_image,
    is_held_out,
    render_text,
)
from fkdsl.models.tiny.vision.training import (
    CHARACTERS,
    VisionRun,
    VisionSettings,
    batch_of,
    caption_loss,
    held_out_images,
    read_exactly,
    train_eyes,
    training_batch,
)
from fkdsl.models.tiny.vision.transformer import VisionShape
from fkdsl.models.vision.images import png_bytes

Image = pytest.importorskip("PIL.Image", reason="Pillow comes with the extra `images`")

FONTS = Fonts((BUILT_IN,), "built in")
SHAPE = TinyShape(width=32, layers=2, heads=2, hidden=48, ahead=1, context=64)
VISION = VisionShape(
    width=32, channels=8, encoder_layers=1, resampler_layers=1, latents=12, heads=2, hidden=32
)
SETTINGS = VisionSettings(steps=8, rows=4, warm_up=3, calm=4, captions=2, seed=5)


def begun(settings=SETTINGS, seed=1):
    return VisionRun.begun(initialised(SHAPE, seed), VISION, settings, FONTS.digest)


class Interrupted(Exception):
    pass


def trained(path, run, stop=None):
    def watch(step, bits):
        if step == stop:
            raise Interrupted

    try:
        return train_eyes(
            run,
            FONTS,
            save=lambda r: save_vision_run(r, path),
            every=4,
            held_out=2,
            observer=watch,
        )
    except Interrupted:
        return read_vision_run(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    return path, trained(path, begun())


def weights(run):
    return {n: p.detach() for n, p in run.trained().items()}


def test_the_loss_falls_and_only_the_eyes_are_trained(whole):
    _, run = whole
    first, last = run.curve[0], run.curve[-1]
    assert last.bits < first.bits
    assert last.spelling < first.spelling
    frozen = initialised(SHAPE, 1).state_dict()
    assert all((p == frozen[n]).all() for n, p in run.model.trunk.state_dict().items())
    fresh = weights(begun())
    assert all((p != fresh[n]).any() for n, p in weights(run).items())


def test_a_resumed_run_is_the_uninterrupted_one(whole, tmp_path):
    _, run = whole
    part = trained(tmp_path / "part", begun(), 6)
    assert part.step == 4
    (tmp_path / "other").write_bytes((tmp_path / "part").read_bytes())
    part = trained(tmp_path / "part", part)
    assert all((p == weights(run)[n]).all() for n, p in weights(part).items())
    assert [replace(p, seconds=0) for p in part.curve] == [replace(p, seconds=0) for p in run.curve]
    part = read_vision_run(tmp_path / "other")
    part.optimizer.state.clear()  # planted: the optimizer is forgotten
    part = trained(tmp_path / "other", part)
    assert any((p != weights(run)[n]).any() for n, p in weights(part).items())


def test_a_file_has_the_model_that_was_trained(whole, tmp_path):
    _, run = whole
    file = tmp_path / "model.safetensors"
    save_eyes(run, file, {"licence": "none"}, torch.float32)
    model = load_model(str(file))
    image = held_out_images("word", 1, FONTS)[0]
    batch = batch_of([image], [image.captions[0]], VISION.cells[1])
    with torch.inference_mode():
        latents = run.model.eyes.resampled(run.model.eyes.encoded(batch.images))
        plain = run.model(batch.symbols[:, :-1], latents)[0].log_softmax(-1).numpy()
    tokens = (png(image), *image.captions[0].encode())
    (result,) = model.forward([ForwardRow(None, tokens, tuple(range(len(tokens))))])
    assert np.abs(result.log_probs - plain).max() <= 1e-4
    info = model_info(str(file))
    assert info.here
    assert (info.licence, info.details["takes"], info.details["pixels"]) == (
        "none",
        "images",
        "96 x 48",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors"]
    with pytest.raises(CallError, match="no checkpoint"):
        read_vision_run(file)


def png(image):
    return Attachment("image", png_bytes(Image.fromarray(image.pixels)))


def test_eyes_of_the_shipped_model_leave_its_weights_out_and_its_texts_alone(tmp_path):
    """The law of the gates on the real model: text alone has the rows of `tiny`, bit for bit."""
    shape, tensors = read_trunk(SHIPPED_TRUNK)
    vision = replace(VISION, width=shape.width)
    run = VisionRun.begun(trunk_of(shape, tensors), vision, SETTINGS, FONTS.digest)
    with torch.no_grad():
        for name, p in run.model.eyes.named_parameters():
            if name.endswith("gate"):
                p.fill_(1.0)
    file = tmp_path / "eyes.safetensors"
    save_eyes(run, file, {})
    assert not any(n.startswith(("model.", "lm_head")) for n in load_file(file))
    rows = [ForwardRow(None, (END, *b"My lord, the "), (3, 13))]
    tiny, seeing = (load_model(name).forward(rows)[0] for name in ("tiny", str(file)))
    assert (tiny.log_probs == seeing.log_probs).all()
    image = png(held_out_images("word", 1, FONTS)[0])
    looked = load_model(str(file)).forward([rows[0]._replace(tokens=(image, *rows[0].tokens[1:]))])
    assert np.abs(looked[0].log_probs - tiny.log_probs).max() > 0.1


def changed(path, target, change):
    file = read_eyes(path)
    tensors = load_file(path)
    change(file.facts, tensors)
    write_model_file(target, tensors, file.facts)
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f, t: f["eyes"].update(latents=99), "of another shape"),
        (lambda f, t: f["eyes"].update(latents=10**9), "does not say of what shape its eyes"),
        (lambda f, t: f["eyes"].update(heads=0), "does not say of what shape its eyes"),
        (lambda f, t: f["eyes"].update(heads=5), "do not fit"),
        (lambda f, t: f["eyes"].update(pixels_wide=60_000, pixels_high=60_000), "no image"),
        (lambda f, t: f["eyes"].update(encoder_layers=60_000), "at most 64 layers"),
        (lambda f, t: f["eyes"].pop("every"), "does not say of what shape its eyes"),
        (lambda f, t: t.pop("eyes.latents"), "eyes.latents is not there"),
        (lambda f, t: t.pop("lm_head.weight"), "belong to another `tiny`"),
        (lambda f, t: f["shape"].update(layers=3), "of another shape"),
    ],
)
def test_a_file_of_another_shape_is_refused(whole, tmp_path, change, says):
    with pytest.raises(CallError, match=says):
        load_model(str(changed(whole[0], tmp_path / "changed.safetensors", change)))


def test_a_damaged_checkpoint_is_refused(whole, tmp_path):
    for change, says in (
        (lambda f, t: t.pop("exp_avg.eyes.latents"), "lacks the optimizer's state"),
        (lambda f, t: f.pop("step"), "no checkpoint"),
        (lambda f, t: f["settings"].update(steps=0), "--steps cannot be 0"),
        (lambda f, t: f["settings"].update(rate="high"), "no checkpoint"),
    ):
        with pytest.raises(CallError, match=says):
            read_vision_run(changed(whole[0], tmp_path / "c.safetensors", change))
    with pytest.raises(CallError, match="other fonts"):
        train_eyes(read_vision_run(whole[0]), Fonts((BUILT_IN,), "others"), save=lambda r: None)
    with pytest.raises(CallError, match="no training in `int8`"):
        check_vision_settings(replace(SETTINGS, precision="int8"))


# ------------------------------------------------------------------------- images


@pytest.mark.parametrize("kind", KINDS)
def test_images_depend_on_their_random_stream_alone(kind):
    first, again, other = (draw_image(np.random.default_rng(s), kind, FONTS) for s in (1, 1, 2))
    assert (first.pixels == again.pixels).all()
    assert first.captions == again.captions
    assert (first.pixels != other.pixels).any()
    assert first.pixels.shape == (48, 96, 3)


def test_no_held_out_text_is_trained_on():
    held_out = {p.captions[0] for kind in KINDS[:3] for p in held_out_images(kind, 40, FONTS)}
    texts = {caption.removeprefix(prefix) for caption in held_out for prefix in CAPTIONS.values()}
    assert all(is_held_out(c[10:]) for c in held_out)
    for step in range(6):
        batch = training_batch(SETTINGS, step, FONTS, VISION.cells[1])
        for row in batch.symbols.tolist():
            caption = bytes(s for s in row if 0 <= s < 256).decode()
            assert (
                not caption.startswith((READING, *CAPTIONS.values())) or caption[10:] not in texts
            )


def test_labels_stand_where_the_characters_do():
    """The columns of a text's labels are those whose pixels differ from an empty image's."""
    rng = np.random.default_rng(4)
    image = render_text(rng, "$7.50", "number", FONTS, 0.0)
    batch = batch_of([image], [image.captions[0]], VISION.cells[1])
    inked = (image.pixels != image.pixels[0, 0]).any((0, 2)).reshape(24, 4).sum(1) >= 3
    labelled = (batch.characters[0] > 0).numpy()
    assert (inked <= labelled).mean() > 0.9
    assert labelled.sum() <= inked.sum() + 3
    assert batch.text[0, :6].tolist() == [1 + ord(c) - 33 for c in "$7.50"] + [0]
    numbers = batch.numbers[0][batch.numbers[0] > 0].tolist()
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2, 3, 4, 5}
    assert batch.symbols[0].tolist() == [END, *b"a number: $7.50", END]


def test_labels_name_shapes_and_their_colours_where_they_stand():
    for seed in range(8):
        image = draw_image(np.random.default_rng(seed), "shape", FONTS, noise=0.0)
        batch = batch_of([image], [image.captions[0]], VISION.cells[1])
        inked = (image.pixels != image.pixels[0, 0]).any((0, 2)).reshape(24, 4).sum(1) >= 3
        said = {"characters": batch.characters[0], "colours": batch.colours[0]}
        words = [w for w in image.captions[0].split() if w not in ("a", "and")]
        for name, spot in (("characters", words[-1]), ("colours", words[-2])):
            labelled = (said[name] > 0).numpy()
            assert (inked <= labelled).mean() > 0.8
            assert labelled.sum() <= inked.sum() + 6
            assert CHARACTERS[said[name][labelled][-1] - 1] == spot
        assert [CHARACTERS[i - 1] for i in batch.text[0].tolist() if i] == words


def test_the_caption_loss_is_the_mean_over_symbols_however_they_are_grouped():
    run = begun()
    batch = training_batch(replace(SETTINGS, rows=9), 0, FONTS, VISION.cells[1])
    with torch.inference_mode():
        latents = run.model.eyes.resampled(run.model.eyes.encoded(batch.images))
        loss = caption_loss(run.model, batch.symbols, latents)
        log_p = run.model(batch.symbols[:, :-1].clamp(min=0), latents).log_softmax(-1)
    aims = batch.symbols[:, 1:]
    nats = -log_p.gather(-1, aims.clamp(min=0)[..., None])[..., 0][aims >= 0]
    assert abs(nats.mean() - loss) <= 1e-4


def test_reading_exactly_is_what_greedy_decoding_writes(whole):
    """A model whose readout always writes the same text reads the images with that text."""
    run = begun()
    images = held_out_images("word", 4, FONTS)
    assert not read_exactly(run.model, images).any()
    forced = run.model
    symbols = batch_of(images, [p.captions[-1] for p in images], 24).symbols

    class Oracle(torch.nn.Module):
        eyes = forced.eyes

        def forward(self, x, latents):
            aims = symbols[:, 1:].clamp(min=0).clone()
            aims[2, 11] += 1  # one wrong letter of the third
            aims[3, 2] += 1  # what the reader is given is not asked of it
            return torch.nn.functional.one_hot(aims, 257).float()

    assert read_exactly(Oracle(), images).tolist() == [True, True, False, True]


def test_fonts_are_found_or_told(tmp_path):
    assert BUILT_IN in find_fonts().files
    (tmp_path / "no.ttf").write_bytes(b"\0\1\0\0 no font")
    with pytest.raises(CallError, match="cannot be used as a font"):
        find_fonts([tmp_path])
    with pytest.raises(CallError, match="cannot be used as a font"):
        find_fonts([tmp_path / "absent.ttf"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CallError, match="no fonts to render with"):
        find_fonts([tmp_path / "empty"])

"""The byte-level model with eyes: its decoder against the plain transformer, the laws of cached
models, and gates that leave text as it was."""

import random
from functools import cache
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch

from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow, TakesAttachments
from fkdsl.models.tiny.model import byte_texts, decoder_shape
from fkdsl.models.tiny.transformer import END, TinyShape, initialised
from fkdsl.models.tiny.vision.decoder import SeeingDecoder
from fkdsl.models.tiny.vision.model import KeptPixels, SeeingModel, fitted, pixels_of
from fkdsl.models.tiny.vision.transformer import SeeingTransformer, VisionShape, initialised_eyes

Image = pytest.importorskip("PIL.Image", reason="Pillow comes with the extra `images`")

SHAPE = TinyShape(width=32, layers=3, heads=2, hidden=48, ahead=1, context=80)
VISION = VisionShape(
    width=32,
    pixels_high=16,
    pixels_wide=24,
    channels=8,
    encoder_layers=1,
    resampler_layers=1,
    latents=3,
    heads=2,
    hidden=40,
    every=2,
    places=6,
)


def image(seed):
    file = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG")
    return Attachment("image", file.getvalue(), f"{seed}.png")


A, B = image(1), image(2)


def drawn(gates=1.0, seed=3):
    """A transformer with eyes whose rows are far from uniform, and depend on the image."""
    trunk = initialised(SHAPE, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in trunk.parameters():
            p.mul_(3.0) if p.ndim == 2 else p.add_(torch.randn_like(p) * 0.3)
        trunk.lm_head.weight.mul_(10.0)
        model = initialised_eyes(SeeingTransformer(trunk, VISION), seed)
        for name, p in model.eyes.named_parameters():
            p.fill_(gates) if name.endswith("gate") else p.mul_(2.0)
    return model.eval()


def fast(model):
    decoder = SeeingDecoder(decoder_shape(SHAPE), model.trunk.state_dict(), "float32")
    decoder.see_with(model.eyes, KeptPixels(VISION.pixels_high, VISION.pixels_wide))
    return SeeingModel(decoder, byte_texts("seeing", SHAPE.context, {}))


PLAIN = drawn()


@pytest.fixture(scope="module")
def seeing():
    return fast(PLAIN)


@cache
def latents_of(image):
    with torch.inference_mode():
        pixels = torch.from_numpy(pixels_of(image, VISION.pixels_high, VISION.pixels_wide))
        return PLAIN.eyes.resampled(PLAIN.eyes.encoded(pixels[None]))


@torch.inference_mode()
def plain_logits(tokens):
    """(T, V) by the formulas and without a cache, for contexts with any number of images: a
    symbol sees the last image before it."""
    trunk, eyes = PLAIN.trunk, PLAIN.eyes
    x = trunk.model.embed_tokens(torch.tensor([END if i < 0 else i for i in tokens]))[None]
    at = [k for k, i in enumerate(tokens) if i < 0]
    parts = [*pairwise([*at, len(tokens)])]

    def through(block, x):
        x = x.clone()
        for a, b in parts:
            x[:, a:b] = block(x[:, a:b], latents_of(tokens[a]), eyes.places(torch.arange(b - a)))
        return x

    cos, sin = trunk.cos[: len(tokens)], trunk.sin[: len(tokens)]
    for i, layer in enumerate(trunk.model.layers):
        x = layer(through(eyes.blocks[str(i)], x) if i in (0, 2) else x, cos, sin)
    z = trunk.model.norm(x)
    logits = trunk.lm_head(z)
    y = through(eyes.readout.block, z)
    first = at[0] if at else len(tokens)
    logits[:, first:] += eyes.readout.gate.tanh() * eyes.readout.unembedding(
        eyes.readout.norm(y[:, first:])
    )
    return logits[0]


def test_the_training_module_is_the_formulas():
    tokens = [A, *b"hello sea"]
    pixels = torch.from_numpy(pixels_of(A, 16, 24))[None]
    with torch.inference_mode():
        logits = PLAIN(
            torch.tensor([[END, *tokens[1:]]]), PLAIN.eyes.resampled(PLAIN.eyes.encoded(pixels))
        )[0]
        expected = plain_logits(tokens)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_decoder_is_the_formulas_also_with_several_images(seeing):
    for tokens in (
        (A, *b"ab"),
        (END, *b"ab", A, *b"cdefghijk", B, *b"l"),
        (A, B, A, 99),
        (END, *b"abc"),
    ):
        (result,) = seeing.forward([ForwardRow(None, tokens, tuple(range(len(tokens))))])
        expected = plain_logits(tokens).log_softmax(-1).numpy()
        assert np.abs(np.exp(result.log_probs) - np.exp(expected)).max() <= 1e-5
        assert np.exp(expected).max() > 0.2


def test_rows_depend_on_the_image(seeing):
    rows = [seeing.forward([ForwardRow(None, (p, 97), (1,))])[0].log_probs for p in (A, B)]
    assert np.abs(np.exp(rows[0]) - np.exp(rows[1])).max() > 0.05


def test_cached_is_uncached_through_forks_deaths_and_evictions(seeing):
    """Contexts with and without images grow side by side, so batches mix them."""
    engine, rng = CachedTransformer(seeing), random.Random(2)
    held = [engine.extend(engine.root, t) for t in ((A, 97), (B,), (END, 98), (END, 99, A, 100))]
    for step in range(11):
        for context, row in zip(held, engine.log_probs(held), strict=True):
            expected = plain_logits(context.tokens)[-1].log_softmax(-1).numpy()
            assert np.abs(np.exp(row) - np.exp(expected)).max() <= 2e-5
        held = [engine.extend(c, rng.choices(range(256), k=rng.choice((1, 1, 3)))) for c in held]
        fork = rng.choice(held)
        held.append(engine.extend(fork, (rng.choice((A, B, 101)), rng.randrange(256))))
        held = rng.sample(held, 4)
        if step % 4 == 3:
            engine.cache.budget = 2_000
            engine.cache.shrink()
            engine.cache.budget = None
    del held, context, fork
    assert len(engine.tree) == 0


def test_an_image_is_encoded_once_for_a_population_and_again_when_evicted(seeing):
    engine = CachedTransformer(seeing)
    before = seeing.encoder_work.passes
    contexts = [engine.extend(engine.root, (A, *b"It is ", i)) for i in range(20)]
    first = engine.log_probs(contexts)
    engine.log_probs([engine.extend(c, (7,)) for c in contexts])
    assert seeing.encoder_work.passes == before + 1
    plain = CachedTransformer(seeing)
    plain.log_probs([plain.extend(plain.root, (END, *b"It is ", i)) for i in range(20)])
    assert engine.cache.nbytes > plain.cache.nbytes  # what is made of the image counts
    engine.cache.budget = 0
    engine.cache.shrink()
    engine.cache.budget = None
    assert np.allclose(engine.log_probs(contexts), first, atol=1e-5)
    assert seeing.encoder_work.passes == before + 2


def test_gates_of_zero_leave_the_model_as_it_was():
    """Also with an image, which the trunk reads as END; and text alone whatever the gates are."""
    closed = fast(drawn(gates=0.0))
    text = tuple(b"the sea")
    (seen,) = closed.forward([ForwardRow(None, (A, *text), (7,))])
    (unseen,) = closed.forward([ForwardRow(None, (END, *text), (7,))])
    assert (seen.log_probs == unseen.log_probs).all()
    (opened,) = fast(PLAIN).forward([ForwardRow(None, (END, *text), (7,))])
    assert (opened.log_probs == unseen.log_probs).all()
    (opened,) = fast(PLAIN).forward([ForwardRow(None, (A, *text), (7,))])
    assert np.abs(opened.log_probs - unseen.log_probs).max() > 0.1


def test_prompts_of_texts_and_images(seeing):
    assert isinstance(seeing, TakesAttachments)
    assert seeing.start_with((A, "ab")) == (A, 97, 98)
    assert seeing.start_with(("ab", A)) == (END, 97, 98, A)
    assert seeing.start_with(()) == seeing.start("") == (END,)
    with pytest.raises(CallError, match="reads no source"):
        seeing.start_with((Attachment.source("x"), ""))
    with pytest.raises(CallError, match=r"`cut\.png` is damaged"):
        seeing.start_with(("ab", Attachment("image", A.content[:200], "cut.png")))
    with pytest.raises(CallError, match="no chat template"):
        seeing.chat_with((A, "what is it?"))
    with pytest.raises(CallError, match="is damaged"):
        seeing.start_with((Attachment("image", A.content[:60], "cut.png"),))
    kept = KeptPixels(16, 24)
    assert all((kept(p) == pixels_of(p, 16, 24)).all() for p in map(image, (*range(20), 0, 19)))
    assert len(kept._kept) == 16
    with pytest.raises(CallError, match="without the image"):
        seeing.forward([ForwardRow(None, (int(A), 97), (1,))])


def test_an_image_is_fitted_whole_into_the_middle():
    """In the colour of its border, and without a change if it has the model's size."""
    same = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    assert (fitted(Image.fromarray(same), 48, 96) == same).all()
    tall = np.full((200, 100, 3), 9, np.uint8)
    tall[80:120, 40:60] = 200
    found = fitted(Image.fromarray(tall), 48, 96)
    assert found.shape == (48, 96, 3)
    assert (found[:, :30] == 9).all()
    assert found[24, 48].tolist() == [200] * 3
    assert fitted(Image.new("RGB", (3000, 1), "red"), 48, 96)[0, 0].tolist() == [255, 0, 0]
    assert fitted(Image.new("RGB", (2, 1), "red"), 48, 96).shape == (48, 96, 3)

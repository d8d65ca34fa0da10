"""Models with eyes: rows are those of the library's own `generate`, whatever a batch holds and
however a context is read, for tiny random models of each family; an image is encoded once."""

import numpy as np
import pytest
import torch

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.loading import texts_of
from fkdsl.models.vision.images import png_bytes
from fkdsl.models.vision.loading import KINDS, library_rows, rows_error, vision_model
from fkdsl.models.vision.model import VisionModel
from fkdsl.models.vision.processing import Prompts
from tests.models.vision.families import FAST, SLOW, family, noise, processor_of

TOLERANCE = 1e-6
"""Rounding in float32 of probabilities near 1 / 40. An image that is not seen is off by 1e-4 or
more."""
CAT, DOG = (Attachment("image", png_bytes(noise(k)), f"{k}.png") for k in (0, 1))


@pytest.fixture(scope="module")
def models():
    """A model of each family, made once."""
    made = {}

    def model(name):
        if name not in made:
            module, processor = family(name)
            kind = KINDS.get(name, VisionModel)
            texts = texts_of(module, processor.tokenizer, name, "float32")
            prompts = Prompts(processor, module, name)
            made[name] = kind(module, texts, prompts, None, whole=name == "paligemma")
        return made[name]

    return model


def close(p, q, tolerance=TOLERANCE):
    return np.abs(np.exp(p) - np.exp(q)).max() <= tolerance


def rows_of(model, ids, first=0):
    """The rows after each id from `first` on, at once and from nothing."""
    (result,) = model.forward([ForwardRow(None, tuple(ids), tuple(range(first, len(ids))))])
    return result.log_probs


def generated(model, parts, n=4):
    """(likeliest tokens, rows) after a prompt, by the library."""
    from transformers import GenerationConfig

    inputs = model.prompts.inputs(parts)
    settings = GenerationConfig(
        max_new_tokens=n + 1, min_new_tokens=n + 1, do_sample=False, output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=1,
    )  # fmt: skip
    with torch.inference_mode():
        ids = torch.tensor([inputs.ids])
        output = model.module.generate(input_ids=ids, generation_config=settings, **inputs.tensors)
    if getattr(model.module.model, "rope_deltas", None) is not None:
        model.module.model.rope_deltas = None
    new = output.sequences[0, len(inputs.ids) :].tolist()[:n]
    return new, [torch.log_softmax(x[0].double(), -1).numpy() for x in output.logits]


ONE, TWO = ("a ", CAT, "is"), (CAT, "b", DOG, "c")
QUICK = [*((name, ONE) for name in FAST), *((name, TWO) for name in ("mllama", "qwen2_vl"))]
SLOWER = [(name, parts) for name in (*FAST, *SLOW) for parts in (ONE, TWO)]


@pytest.mark.parametrize(
    ("name", "parts"),
    [*QUICK, *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOWER if c not in QUICK)],
    ids=lambda v: v if isinstance(v, str) else f"{sum(p in (CAT, DOG) for p in v)}",
)
def test_rows_are_the_librarys_at_once_and_one_by_one_in_any_batch(models, name, parts):
    model = models(name)
    new, expected = generated(model, parts)
    ids = model.start_with(parts)
    at_once = rows_of(model, (*ids, *new), len(ids) - 1)
    assert all(close(p, q) for p, q in zip(at_once, expected, strict=False))
    # One by one, beside a text and another image, whose pasts and new tokens differ in length.
    text, other = model.start("hello"), model.start_with((DOG, "x"))
    begun = model.forward([ForwardRow(None, c, (len(c) - 1,)) for c in (ids, text, other)])
    pasts = [Past(r.segment, len(c)) for r, c in zip(begun, (ids, text, other), strict=True)]
    assert close(begun[0].log_probs[0], expected[0])
    for k, token in enumerate(new):
        read = model.forward(
            [
                ForwardRow(pasts[1], (5, 6, 7)[: 1 + k % 3], (0,)),
                ForwardRow(pasts[0], (token,), (0,)),
                ForwardRow(pasts[2], (9,), (0,)),
            ]
        )
        assert close(read[1].log_probs[0], expected[k + 1])
        assert close(read[0].log_probs[0], rows_of(model, (*text, 5))[-1])
        assert close(read[2].log_probs[0], rows_of(model, (*other, 9))[-1])
        pasts[0] = Past(read[1].segment, 1)
    swapped = tuple(DOG if p is CAT else p for p in parts)
    assert not close(rows_of(model, model.start_with(swapped))[-1], expected[0], 1e-4)


@pytest.mark.parametrize("name", ["llava", "paligemma", "mllama", "qwen2_vl"])
def test_forks_deaths_and_eviction_change_no_row(models, name):
    model = models(name)
    begin, text = model.start_with((CAT, "a", DOG, "b")), model.start("no image")
    contexts = [(*begin, 4, 5), (*begin, 4, 6), begin, (*text, 4), (*begin, 7), (*text, 4, 4)]
    expected = [rows_of(model, c)[-1] for c in contexts]
    for budget, batch in ((None, None), (1, None), (20_000, 2)):
        engine = CachedTransformer(model, memory_budget=budget, max_batch=batch)
        for order in (range(6), (5, 0, 3, 1, 4, 2)):
            held = [engine.extend(engine.root, contexts[i]) for i in order]
            rows = engine.log_probs(held)
            assert all(close(row, expected[i]) for row, i in zip(rows, order, strict=True))
            del held, rows
        assert budget is None or engine.cache.nbytes <= budget
        assert len(engine.tree) == 0
    assert model.pool.used == 0


def test_an_image_is_encoded_once_for_all_prompts(models):
    model = models("llava")
    before = model.encoder_work.passes
    engine = CachedTransformer(model)
    new = [Attachment("image", png_bytes(noise(k))) for k in (7, 8)]
    for parts in ((new[0], "a"), ("b", new[0]), (new[0], "c", new[1]), (new[1], new[0], "d")):
        held = engine.extend(engine.root, model.start_with(parts))
        engine.log_probs([held, engine.extend(held, (4,)), engine.extend(held, (5,))])
    assert model.encoder_work.passes - before == 2


def test_a_population_reads_a_prompt_once_and_is_steered_away_from_what_no_image_gives(models):
    program = fkdsl.parse(
        'program p(photo: image) -> str:\n    lm = prompt("a", photo, "is")\n'
        '    blind = prompt("a is")\n    for i in range(3):\n'
        "        if not lm.done:\n            t ~ lm ** 1.5 * blind ** -0.5\n    return lm.text\n"
    )(photo=CAT.content)
    result = program.run("smc", particles=8, model=models("llava"), seed=1)
    assert result.model_calls <= 8


def test_a_byte_view_goes_on_after_an_image(models):
    for name in ("qwen2_vl", "paligemma"):
        model = models(name)
        view = ByteView(CachedTransformer(model), None)
        ids = view.start_with(("a photo", CAT, "is"))
        engine = CachedTransformer(view)
        by_bytes = engine.logprob_of(engine.extend(engine.root, ids), view.encode(" cat"))
        begun, text = model.start_with(("a photo", CAT, "is")), model.encode(" cat")
        rows = rows_of(model, (*begun, *text), len(begun) - 1)
        spelt = [i for i, raw in enumerate(model.vocabulary.tokens) if raw or i == 1]
        expected = sum(
            r[i] - np.logaddexp.reduce(r[spelt]) for r, i in zip(rows, text, strict=False)
        )
        assert by_bytes == pytest.approx(expected, abs=1e-5)


def test_a_chat_is_by_the_models_own_template():
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}:{% for c in m.content %}"
        "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}x:{% endif %}"
    )
    module, _ = family("llava")
    processor = processor_of("llava", template)
    texts = texts_of(module, processor.tokenizer, "llava", "float32")
    model = VisionModel(module, texts, Prompts(processor, module, "llava"))
    ids = model.chat_with(("what ", CAT, " is"), "be brief")
    inputs = model.prompts.inputs(("what ", CAT, " is"), "be brief", True)
    assert inputs.ids.count(0) == 1  # the template writes the first mark, and no second one comes
    spelt = processor.tokenizer.decode(inputs.ids)
    assert spelt.startswith("<s>system:be briefuser:what <image>")
    assert model.vocabulary.text(ids[1:]) == " isx:"
    blind = model.chat("what is", "be brief")
    assert processor.tokenizer.decode(blind) == "<s>system:be briefuser:what isx:"
    with pytest.raises(CallError, match="spells `<image>`"):
        model.chat_with(("an <image> ", CAT))
    for parts in (("<image>", CAT), ("<ima", "ge>", CAT), ("</s>", CAT)):
        with pytest.raises(CallError, match="spells"):
            model.start_with(parts)


def test_a_family_is_checked_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path))
    for name in ("llava", "paligemma"):
        module, processor = family(name)
        texts = texts_of(module, processor.tokenizer, name, "float32")
        for _ in range(2):  # found, then remembered
            key = {"family": name, "transformers": "here"}
            model = vision_model(module, processor, texts, None, "float32", key)
            assert model.whole == (name == "paligemma")
    model.whole = False  # a planted mistake: the prompt's attention is cut in two
    reference = library_rows(module, model.prompts)
    assert "differ by" in rows_error(model, reference, "float32")
    model.whole = True
    assert rows_error(model, reference, "float32") == ""

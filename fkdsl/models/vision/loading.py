"""An image-text-to-text module and its processor -> a LanguageModel whose rows are those of the
library.

The check, when a family is first loaded with these versions: a prompt with an image of noise, read
on token by token in a batch with another text, gives the rows that the library's own `generate`
gives; and texts without images give the same rows in parts as at once. Where only the whole
prompt may be read as one, as in families that attend both ways within it, that is found here.
fkdsl.models.check_memory remembers what came out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment, Part
from fkdsl.models.check_memory import remember_check, remembered_check
from fkdsl.models.checked import ALLOWED, cache_error, probes, total_variation
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vision.crossed import IdeficsVision, MllamaVision
from fkdsl.models.vision.images import pillow, png_bytes
from fkdsl.models.vision.model import PaliGemmaVision, VisionModel
from fkdsl.models.vision.processing import Prompts

KINDS: Mapping[str, type[VisionModel]] = {
    "idefics": IdeficsVision,
    "mllama": MllamaVision,
    "paligemma": PaliGemmaVision,
}
"""The families that need more than VisionModel does."""
IN_PARTS, WHOLE_PROMPTS = "images", "images, whole prompts"
"""How prompts are read, as check_memory remembers it."""
STEPS = 3
"""Tokens after the prompt that the check compares."""


def has_eyes(config: Any) -> bool:
    """Whether a configuration is of an image-text-to-text family of transformers that is no
    encoder-decoder."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as FAMILIES,
    )

    decodes = not getattr(config, "is_encoder_decoder", False)
    return decodes and getattr(config, "model_type", None) in FAMILIES


def vision_model(
    module: Any,
    processor: Any,
    texts: ModelTexts,
    precision: str | None,
    dtype: str,
    key: Mapping[str, str],
) -> VisionModel:
    """The model of a module and its processor, whose rows are correct. precision: the key of
    linear.DTYPES for which linear maps are packed, None for none. dtype: by which rounding is
    bounded. key: by which what the check finds is remembered.

    Raises CallError if its rows are not those of the library, and where Pillow is not installed.
    """
    pillow()
    kind = KINDS.get(module.config.model_type, VisionModel)
    prompts = Prompts(processor, module, texts.name)
    known = remembered_check(key)
    if known in (IN_PARTS, WHOLE_PROMPTS):
        return kind(module, texts, prompts, precision, whole=known == WHOLE_PROMPTS)
    reference = library_rows(module, prompts)
    model = kind(module, texts, prompts, precision)
    errors = []
    for way in (IN_PARTS, WHOLE_PROMPTS):
        model.whole = way == WHOLE_PROMPTS
        errors.append(rows_error(model, reference, dtype))
        if not errors[-1]:
            remember_check(key, way)
            return model
    raise CallError(
        f"images give other probabilities here than in transformers {key.get('transformers')} "
        f"for models of the family {module.config.model_type}: {errors[-1]}",
        "use a model of another family; docs/images.md lists those that were tried",
    )


def probe(other: bool = False) -> tuple[Part, ...]:
    """A prompt with an image of noise."""
    image = pillow().fromarray(
        np.random.default_rng(int(other)).integers(0, 256, (28, 40, 3), dtype=np.uint8)
    )
    return ("a", Attachment("image", png_bytes(image)), "b c")


def library_rows(module: Any, prompts: Prompts) -> tuple[tuple[int, ...], list[NDArray[Any]]]:
    """(the tokens that the library's `generate` finds likeliest after the probe, the (V,)
    log-probabilities after the probe and after each of them but the last)."""
    from transformers import GenerationConfig

    inputs = prompts.inputs(probe())
    settings = GenerationConfig(
        max_new_tokens=STEPS + 1,
        min_new_tokens=STEPS + 1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    given = {
        name: value.to(module.device, module.dtype if value.is_floating_point() else None)
        for name, value in inputs.tensors.items()
    }
    ids = torch.tensor([inputs.ids], device=module.device)
    with torch.inference_mode():
        output = module.generate(input_ids=ids, generation_config=settings, **given)
    model = getattr(module, "model", module)
    if getattr(model, "rope_deltas", None) is not None:
        model.rope_deltas = None
    tokens = output.sequences[0, len(inputs.ids) :].tolist()
    rows = [torch.log_softmax(x[0].double(), -1).cpu().numpy() for x in output.logits]
    return tuple(tokens), rows


def rows_error(
    model: VisionModel, reference: tuple[tuple[int, ...], Sequence[NDArray[Any]]], dtype: str
) -> str:
    """How a model's rows differ from the library's, in words; "" if only by rounding."""
    tokens, expected = reference
    if dtype == "float64":
        dtype = "float32"  # in which several families compute their norms, whatever the weights are
    try:
        rows, after_another = _read_on(model, tokens)
        text = _text_error(model, dtype)
    except CallError:
        raise
    except Exception as error:  # the library raises many kinds for inputs that it does not know
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        return f"{type(error).__name__}: {reason}"
    between = total_variation(rows[0], after_another)
    error_made = max(total_variation(p, q) for p, q in zip(expected, rows, strict=True))
    absolute, relative = ALLOWED[dtype]
    if error_made <= absolute + relative * between:
        return text
    return (
        f"next-token probabilities differ by {error_made:.2g} in total variation, where another "
        f"image makes {between:.2g}"
    )


def _read_on(model: VisionModel, tokens: Sequence[int]) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """(the model's rows after the probe and each further token but the last, read one by one in a
    batch with a text and another image; the row after the prompt with the other image)."""
    begin, other = model.start_with(probe()), model.start_with(probe(other=True))
    text = probes(model.vocabulary.size, model.max_length)[0]
    first = model.forward([ForwardRow(None, ids, (len(ids) - 1,)) for ids in (begin, text, other)])
    pasts = [Past(r.segment, len(ids)) for r, ids in zip(first, (begin, text, other), strict=True)]
    rows = [first[0].log_probs[0]]
    for k, token in enumerate(tokens[:-1]):
        read = model.forward(
            [
                ForwardRow(pasts[1], text[: 1 + k % 2], ()),
                ForwardRow(pasts[0], (token,), (0,)),
                ForwardRow(pasts[2], text[:1], ()),
            ]
        )
        rows.append(read[1].log_probs[0])
        pasts[0] = Past(read[1].segment, 1)
    return rows, first[2].log_probs[0]


def _text_error(model: VisionModel, dtype: str) -> str:
    """How rows of texts without images differ when they are read in parts; "" if they do not."""
    reference = {}
    for text in probes(model.vocabulary.size, model.max_length):
        (whole,) = model.forward([ForwardRow(None, text, tuple(range(len(text))))])
        reference[text] = whole.log_probs
    return cache_error(model, reference, dtype)

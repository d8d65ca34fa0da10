"""Whether a model's cached rows are the library's uncached ones, tried on a few tokens when the
model is loaded.

    law = reference_rows(module, 512)           # before the module's weights are packed
    error = cache_error(model, law, "float32")  # "" or what is wrong, in words

A renamed argument that a module swallows, positions off by one, or padding that is seen show here,
before any answer rests on them. It takes some eight forwards of a few tokens, so what came out is
remembered (fkdsl.models.check_memory) by family, versions, precision and device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.interface import ForwardRow, LanguageModel, Past
from fkdsl.models.tokenized import not_a_number

ReferenceRows = Mapping[tuple[int, ...], NDArray[Any]]
"""By a text, (length, V) the log-probabilities (nats) after each of its tokens."""

ALLOWED = {
    "float64": (1e-9, 1e-6),
    "float32": (1e-5, 1e-2),
    "int8": (1e-2, 0.1),
    "bfloat16": (1e-2, 0.1),
    "float16": (1e-2, 0.1),
}
"""For each precision the total variation that rounding may make: so much, and that part of what the
context makes."""


PROBE_TOKENS = 4
"""Tokens of a context that the probes need."""


def probes(vocabulary: int, longest: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two texts with a common beginning of half their length, other tokens behind it, and the same
    last one."""
    n = min(8, longest or 8)
    ids = [(7919 * k + 3) % vocabulary for k in range(2 * n)]
    shared = ids[: n // 2]
    return tuple(ids[:n]), (*shared, *ids[n : 2 * n - len(shared) - 1], ids[n - 1])


def reference_rows(module: Any, longest: int | None) -> ReferenceRows:
    """What a module of transformers gives of the probes, one text at a time and without a cache."""
    size = module.get_output_embeddings().weight.shape[0]
    law = {}
    for text in probes(size, longest):
        with torch.inference_mode():
            ids = torch.tensor([text], device=module.device)
            logits = module(input_ids=ids, use_cache=False).logits[0]
            rows = torch.log_softmax(logits.double(), dim=-1)
        if rows[:, 0].isnan().any():
            raise not_a_number(module.state_dict())
        law[text] = rows.cpu().numpy()
    return law


def cache_error(model: LanguageModel, law: ReferenceRows, precision: str) -> str:
    """How far a model's cached rows are from the law, in words; "" if only by rounding."""
    texts = tuple(law)
    one, two = texts[0], texts[-1]
    context = _distance(law[one][-1], law[two][-1])
    least, part = ALLOWED[precision]
    try:
        far = max(_distance(law[text][at], row) for text, at, row in _asked(model, one, two))
    except CallError:
        raise
    except Exception as error:  # whatever the library raises for a cache that it does not know
        return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:200]}"
    if far <= least + part * context:
        return ""
    return f"next-token probabilities differ by {far:.2g} in total variation, where another context makes {context:.2g}"


def _asked(
    model: LanguageModel, one: tuple[int, ...], two: tuple[int, ...]
) -> list[tuple[tuple[int, ...], int, NDArray[Any]]]:
    """(a text, a position, the model's row after it) for every position that a run with forks asks
    about."""
    n, shared = len(one), len(one) // 2
    rows: list[tuple[tuple[int, ...], int, NDArray[Any]]] = []
    # The common beginning once; then both texts from it in one batch, and the first anew, which
    # pads the others.
    (begun,) = model.forward([ForwardRow(None, one[:shared], (shared - 1,))])
    rows.append((one, shared - 1, begun.log_probs[0]))
    past = Past(begun.segment, shared)
    ends = [one[shared:-1], two[shared:-1]]
    forked = model.forward(
        [ForwardRow(past, end[: max(1, len(end) - k)], ()) for k, end in enumerate(ends)]
        + [ForwardRow(None, one, (n - 1,))]
    )
    rows.append((one, n - 1, forked[2].log_probs[0]))
    last = []
    for text, answer in zip((one, two), forked[:2], strict=True):
        stop = answer.segment.length
        tokens = text[shared + stop :]
        last.append(ForwardRow(Past(answer.segment, stop), tokens, (len(tokens) - 1,)))
    rows += [
        (text, n - 1, a.log_probs[0])
        for text, a in zip((one, two), model.forward(last), strict=True)
    ]
    if begun.segment.sliceable and shared > 1:
        (cut,) = model.forward([ForwardRow(Past(begun.segment, 1), one[1:], (n - 2,))])
        rows.append((one, n - 1, cut.log_probs[0]))
    return rows


def _distance(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """The total variation between two rows of log-probabilities."""
    return float(
        0.5 * np.abs(np.exp(log_p.astype(np.float64)) - np.exp(log_q.astype(np.float64))).sum()
    )

"""The check, when a model is loaded, that its cached rows equal the library's uncached ones, on a
few tokens.

    reference = reference_rows(module, 512)           # before the module's weights are packed
    error = cache_error(model, reference, "float32")  # "" or what is wrong, in words

It finds an argument that was renamed and that the module ignores, positions that are off by one,
and padding that is attended to, before any answer depends on them. It takes some eight forwards of
a few tokens; fkdsl.models.check_memory remembers the result by family, versions, precision,
device and processor.
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
"""By text, (length, V) the log-probabilities (nats) after each of its tokens."""

ALLOWED = {
    "float64": (1e-9, 1e-6),
    "float32": (1e-5, 1e-2),
    "int8": (1e-2, 0.1),
    "int4": (5e-2, 0.7),
    "bfloat16": (1e-2, 0.1),
    "float16": (1e-2, 0.1),
}
"""For each precision (a, b): rounding may move a row by a total variation of a + b times the total
variation between rows after different contexts."""


PROBE_TOKENS = 4
"""The check needs contexts of so many tokens."""


def probes(vocabulary: int, longest: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two texts that share the first half of their tokens and the last one, and differ between."""
    n = min(8, longest or 8)
    ids = [(7919 * k + 3) % vocabulary for k in range(2 * n)]
    shared = ids[: n // 2]
    return tuple(ids[:n]), (*shared, *ids[n : 2 * n - len(shared) - 1], ids[n - 1])


def reference_rows(module: Any, longest: int | None) -> ReferenceRows:
    """The rows of a module of transformers after the probes, one text at a time and without a
    cache. Raises CallError if they are NaN."""
    size = module.get_output_embeddings().weight.shape[0]
    reference = {}
    for text in probes(size, longest):
        with torch.inference_mode():
            ids = torch.tensor([text], device=module.device)
            logits = module(input_ids=ids, use_cache=False).logits[0]
            rows = torch.log_softmax(logits.double(), dim=-1)
        if rows[:, 0].isnan().any():
            raise not_a_number(module.state_dict())
        reference[text] = rows.cpu().numpy()
    return reference


def cache_error(model: LanguageModel, reference: ReferenceRows, precision: str) -> str:
    """How a model's cached rows differ from the reference, in words; "" if only by rounding. Texts
    of the reference beyond the two that `probes` gives go into one batch with the first."""
    one, two, *others = reference
    between_contexts = total_variation(reference[one][-1], reference[two][-1])
    absolute, relative = ALLOWED[precision]
    try:
        rows = _cached_rows(model, one, two)
        if others:
            whole = [ForwardRow(None, text, (len(text) - 1,)) for text in (one, *others)]
            rows += [
                (row.tokens, len(row.tokens) - 1, result.log_probs[0])
                for row, result in zip(whole, model.forward(whole), strict=True)
            ]
    except CallError:
        raise
    except Exception as error:  # the library raises many kinds for a cache that it does not know
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        return f"{type(error).__name__}: {reason}"
    error_made = max(total_variation(reference[text][at], row) for text, at, row in rows)
    if error_made <= absolute + relative * between_contexts:
        return ""
    return (
        f"next-token probabilities differ by {error_made:.2g} in total variation, where another "
        f"context makes {between_contexts:.2g}"
    )


def _cached_rows(
    model: LanguageModel, one: tuple[int, ...], two: tuple[int, ...]
) -> list[tuple[tuple[int, ...], int, NDArray[Any]]]:
    """(a text, a position in it, the model's row after that) from forwards like those of a run with
    forks."""
    n, shared = len(one), len(one) // 2
    rows: list[tuple[tuple[int, ...], int, NDArray[Any]]] = []
    # The shared beginning first. Then both texts from there in one batch, which the whole of the
    # first text, as a third row, makes pad the others.
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


def total_variation(log_p: NDArray[Any], log_q: NDArray[Any]) -> float:
    """The total variation between two rows of log-probabilities."""
    return float(
        0.5 * np.abs(np.exp(log_p.astype(np.float64)) - np.exp(log_q.astype(np.float64))).sum()
    )

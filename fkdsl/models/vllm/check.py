"""The check, when vLLM has loaded a model, that sessions and its prefix cache give the rows of
whole texts: vLLM's cache of recurrent and hybrid families is young, and differs between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.checked import ALLOWED, total_variation
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.vllm import VllmError
from fkdsl.models.vllm.model import VllmModel
from fkdsl.models.vllm.session import SessionEngine


def verify_rows(model: VllmModel, dtype: str) -> None:
    """Raises VllmError unless rows after forks in the middle and at the end of a block, and after a
    session that went on, are those of whole texts that are read without a cache, up to rounding."""
    block, V = model.engine.block_size, model.vocabulary.size
    longest = min(2 * block + 6, model.engine.max_length)
    one, other = ([(7919 * k + s) % V for k in range(longest)] for s in (3, 11))
    worst, between = 0.0, 0.0
    for shared in sorted({min(block, longest - 2), min(block + block // 2, longest - 2)}):
        texts = [one, one[:shared] + other[shared:]]
        whole = [whole_row(model.engine, text) for text in texts]
        (begun,) = model.forward([ForwardRow(None, tuple(one[:shared]), (shared - 1,))])
        past = Past(begun.segment, shared)
        forked = model.forward([ForwardRow(past, tuple(text[shared:-1]), ()) for text in texts])
        last = [
            ForwardRow(Past(f.segment, f.segment.length), (text[-1],), (0,))
            for f, text in zip(forked, texts, strict=True)
        ]
        for row, result in zip(whole, model.forward(last), strict=True):
            worst = max(worst, total_variation(row, result.log_probs[0]))
        between = max(between, total_variation(*whole))
    absolute, relative = ALLOWED[dtype]
    if not worst <= absolute + relative * between:
        raise VllmError(
            f"vLLM's cache gives {model.name} other probabilities than whole texts: they differ by "
            f"{worst:.2g} in total variation, where another text makes {between:.2g}",
            "leave the engine out: fkdsl runs it itself",
        )


def whole_row(engine: SessionEngine, text: list[int]) -> NDArray[np.float64]:
    """(V,) the log-probabilities after a text that vLLM reads from its first token on."""
    engine.feed("whole", text, new=True, from_cache=False)
    while "whole" not in engine.step().ready:
        pass
    logits = engine.logits(["whole"])[0].double().log_softmax(-1).cpu().numpy()
    engine.close(["whole"])
    row: NDArray[np.float64] = logits
    return row

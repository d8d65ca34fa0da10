"""A prompt is computed once for all islands of a run."""

import gc

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model


def test_further_islands_find_the_prompt_cached():
    program = fkdsl.parse(
        'model "tiny"\nprogram p() -> str:\n    lm = prompt("Enter the king, and all his men. ")\n'
        "    t ~ lm\n    return lm.text\n"
    )
    gc.disable()  # so that no chance decides how long contexts live
    try:
        one, three = (program.run("smc", islands=n, particles=2, seed=0) for n in (1, 3))
    finally:
        gc.enable()
    assert one.forwarded_tokens == three.forwarded_tokens == 34


def test_the_row_of_a_prompt_is_not_displaced_by_later_rows():
    """Computed again it would be rounded in another way, and the next island with it."""
    engine = CachedTransformer(load_model("tiny"))
    engine.cache.row_budget = 0
    context = engine.start("Enter the king")
    engine.keep_row(context)
    (row,) = engine.log_probs([context])
    for token in range(65, 70):
        last = engine.extend(context, (token,))
        engine.log_probs([last])
    assert engine.cached(context) is row
    assert engine.cached(last) is not None  # nor is the last row
    assert engine.cache.row_nbytes == 2 * row.nbytes
    del context, last
    gc.collect()
    assert engine.cache.row_nbytes == 0

"""A prompt is computed once for all islands of a run."""

import gc

import fkdsl


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

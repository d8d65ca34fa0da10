"""The engine against plain transformers, in one run: `python tests/benchmarks/engine.py`. Prints a table of ratios.

Each row: short_words, with a penalty for its condition, steered end to end; transformers' own `generate` sampling as
many texts of as many tokens at once; and the tokens that a system without a cache would forward. It asserts nothing.
"""

import statistics
import time

import fkdsl
from fkdsl.models.registry import load_model

REPEATS = 3
TOKENS = 24


def timed(run):
    """(median seconds, last result) of a few runs."""
    seconds = []
    for seed in range(REPEATS):
        began = time.perf_counter()
        result = run(seed)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def main():
    import torch

    model = load_model("smollm2")
    text = (
        'model "smollm2"\nprogram p() -> str:\n    lm = prompt("A short, plain sentence about the sea:")\n'
        f"    while lm.tokens < {TOKENS}:\n        t ~ lm\n        if t == EOS:\n            break\n"
        "        factor 0.0 if all(letters(w) <= 8 for w in words(lm.text)) else -1.0\n    return lm.text\n"
    )
    program = fkdsl.parse(text)
    ids = torch.tensor([model.start("A short, plain sentence about the sea:")])
    print(f"{'N':>4}  {'fkdsl tok/s':>12}  {'generate tok/s':>15}  {'ratio':>6}  {'forwarded':>9}  {'uncached':>9}")
    for n in (1, 8, 16, 32):
        ours, result = timed(lambda seed, n=n: program.run("smc", particles=n, model=model, seed=seed))

        def generate(seed, n=n):
            torch.manual_seed(seed)
            with torch.inference_mode():
                return model.module.generate(
                    ids.repeat(n, 1), do_sample=True, max_new_tokens=TOKENS, min_new_tokens=TOKENS, top_k=0,
                    attention_mask=torch.ones(n, ids.shape[1], dtype=torch.long),
                )  # fmt: skip

        theirs, _ = timed(generate)
        rate, base = n * TOKENS / ours, n * TOKENS / theirs
        uncached = sum(n * (ids.shape[1] + k) for k in range(TOKENS))
        print(f"{n:>4}  {rate:>12.0f}  {base:>15.0f}  {rate / base:>6.2f}  {result.forwarded_tokens:>9}  {uncached:>9}")


if __name__ == "__main__":
    main()

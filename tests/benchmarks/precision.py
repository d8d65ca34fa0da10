"""What a precision does to log-probabilities: `python tests/benchmarks/precision.py [--tokens 64]
[--texts 4]`.

Texts drawn from the float32 model of transformers, the reference; at each of their tokens the
Kullback-Leibler divergence (nats) of a precision's next-token distribution from the reference's,
and the greatest difference of a probability. The first row is the fast decoder in the reference's
own precision.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import machine, table

from fkdsl.base.random import KeyedRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.linear import packs
from fkdsl.models.registry import load_model

PROMPTS = (
    "A short, plain sentence about the sea:",
    "def fibonacci(n):\n",
    "The history of the city begins with",
    'Q: What is the capital of Peru?\nA: "',
)


def normalised(row: NDArray[Any]) -> NDArray[np.float64]:
    """A row of log-probabilities in float64. The sum over a row in float32 is off by some 1e-6,
    which the divergence would count."""
    wide = row.astype(np.float64)
    return wide - np.logaddexp.reduce(wide)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--texts", type=int, default=len(PROMPTS))
    args = parser.parse_args()
    reference = CachedTransformer(load_model("smollm2", fast=False))
    texts, truth = [], []
    for k, prompt in enumerate(PROMPTS[: args.texts]):
        rng, context = KeyedRng(k), reference.start(prompt)
        for _ in range(args.tokens):
            row = normalised(reference.log_probs([context])[0])
            truth.append(row)
            texts.append(context.tokens)
            context = reference.extend(context, (rng.choice(np.exp(row)),))
    rows = []
    for dtype in ("float32", "bfloat16", *filter(packs, ("int8", "int4"))):
        engine = CachedTransformer(load_model("smollm2", dtype=dtype))
        # Token by token, as decoding goes: what is cached is in the precision too.
        contexts = [engine.extend(engine.root, ids) for ids in texts]
        found = [normalised(engine.log_probs([context])[0]) for context in contexts]
        kl = [float((np.exp(p) * (p - q)).sum()) for p, q in zip(truth, found, strict=True)]
        apart = [
            float(np.abs(np.exp(p) - np.exp(q)).max()) for p, q in zip(truth, found, strict=True)
        ]
        same = np.mean([p.argmax() == q.argmax() for p, q in zip(truth, found, strict=True)])
        rows.append(
            [
                dtype,
                f"{np.mean(kl):.1e}",
                f"{max(kl):.1e}",
                f"{max(apart):.1e}",
                f"{100 * same:.0f} %",
            ]
        )
    print(f"{len(texts)} contexts\n")
    print(table(["precision", "mean KL", "max KL", "max |dp|", "same argmax"], rows))
    print(f"\n{machine(torch.get_num_threads())}")


if __name__ == "__main__":
    main()

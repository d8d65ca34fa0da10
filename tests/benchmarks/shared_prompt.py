"""What a decoding step costs behind a long prompt that the population shares, with the prompt read
once a step and with each row's whole context read apart: `python tests/benchmarks/shared_prompt.py
[--prompts 100,500,2000] [--particles 8,32,64] [--dtype float32]`.

Forwards of the decoder of smollm2 alone: N rows of one token each, after a prompt and 16 tokens of
their own. Both ways take turns within one run; the figures are medians of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from report import machine, table

from fkdsl.models import shared_attention
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.registry import load_model

OWN, STEPS = 16, 6
APART = 10**12
"""Readings that would have to be saved: more than any batch saves."""


def rows_after(model: Any, prompt: int, particles: int) -> list[Past]:
    """Contexts of a shared prompt and OWN tokens each."""
    ids = tuple(100 + i % 5000 for i in range(prompt))
    (shared,) = model.forward([ForwardRow(None, ids, ())])
    past = Past(shared.segment, prompt)
    rows = [
        ForwardRow(past, tuple(100 + (n * 37 + i) % 5000 for i in range(OWN)), ())
        for n in range(particles)
    ]
    return [Past(result.segment, OWN) for result in model.forward(rows)]


def seconds(model: Any, pasts: list[Past]) -> dict[str, float]:
    """Processor seconds of a step by each way."""
    found: dict[str, list[float]] = {"apart": [], "once": []}
    rows = [ForwardRow(past, (100 + n,), (0,)) for n, past in enumerate(pasts)]
    before = shared_attention.SAVED
    try:
        for step in range(STEPS):
            for way, saved in (("apart", APART), ("once", before)):
                shared_attention.SAVED = saved
                began = time.process_time()
                with torch.inference_mode():
                    model.decoder.forward(rows)
                if step:  # the first one warms up
                    found[way].append(time.process_time() - began)
    finally:
        shared_attention.SAVED = before
    return {way: statistics.median(times) for way, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", default="100,500,2000")
    parser.add_argument("--particles", default="8,32,64")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    model = load_model("smollm2", dtype=args.dtype)
    print(machine(torch.get_num_threads()))
    rows = []
    for prompt in map(int, args.prompts.split(",")):
        for particles in map(int, args.particles.split(",")):
            of = seconds(model, rows_after(model, prompt, particles))
            apart, once = 1000 * of["apart"], 1000 * of["once"]
            cells = [f"{apart:.0f}", f"{once:.0f}", f"{apart / once:.2f}"]
            rows.append([str(prompt), str(particles), *cells])
            print("  ".join(rows[-1]), flush=True)
    print(table(["prompt", "N", "apart ms", "once ms", "ratio"], rows, markdown=True))


if __name__ == "__main__":
    main()

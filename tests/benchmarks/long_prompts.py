"""What long prompts cost: `python tests/benchmarks/long_prompts.py [--prompts 500,2001,4000]
[--particles 1,8,32] [--dtype float32] [--repeats 5] [--parts prefill,steps]`.

    prefill  a prompt by fkdsl's forward, with the row after its last token, against the library's
             own module (its cache, the logits of the last token)
    steps    a decoding step of N particles behind the prompt and 16 tokens of their own, against
             what it cannot do without: the same step without the prompt (linear maps, and 16 tokens
             of attention), and attention of all queries to the prompt's keys, laid out as suits it

smollm2, processor time, in turns within one run; ratios are medians of each turn's. It asserts no
speed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from report import machine, table
from shared_prompt import OWN, rows_after

from fkdsl.models.compat import kernels
from fkdsl.models.conversion import quiet_transformers
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.registry import load_model, model_info

Turns = list[list[float]]


def in_turns(calls: list[Callable[[], object]], repeats: int) -> Turns:
    """For each call its processor seconds, without those of the first turn."""
    found: Turns = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for call, times in zip(calls, found, strict=True):
                began = time.process_time()
                call()
                times.append(time.process_time() - began)
    return [times[1:] for times in found]


def ratio(ours: list[float], *others: list[float]) -> str:
    """The median of our times over the sum of the others', turn by turn."""
    return f"{statistics.median(a / sum(b) for a, *b in zip(ours, *others, strict=True)):.2f}"


def prefill(model: Any, args: argparse.Namespace) -> None:
    from transformers import AutoModelForCausalLM

    with quiet_transformers():
        module = AutoModelForCausalLM.from_pretrained(
            model_info("smollm2").folder, dtype=getattr(torch, args.dtype)
        ).eval()
    rows = []
    for n in args.prompts:
        ids = tuple(100 + i % 5000 for i in range(n))
        theirs, ours = in_turns(
            [
                lambda ids=ids: module(torch.tensor([ids]), use_cache=True, logits_to_keep=1),
                lambda ids=ids: model.forward([ForwardRow(None, ids, (len(ids) - 1,))]),
            ],
            args.repeats,
        )
        seconds = [f"{statistics.median(times):.2f}" for times in (theirs, ours)]
        rows.append([str(n), *seconds, ratio(ours, theirs)])
    print(table(["prompt", "module, s", "fkdsl, s", "ratio"], rows, markdown=True), flush=True)


def steps(model: Any, args: argparse.Namespace) -> None:
    decoder, rows = model.decoder, []
    K, group = decoder.kv_heads, decoder.heads // decoder.kv_heads
    for n in args.prompts:
        keys = [
            torch.randn(1, 2 * K, n, decoder.width, dtype=decoder.dtype) for _ in decoder.layers
        ]
        for N in args.particles:
            own = model.forward([ForwardRow(None, tuple(range(100, 100 + OWN)), ())] * N)
            short = going_on([Past(result.segment, OWN) for result in own])
            long = going_on(rows_after(model, n, N))
            q = torch.randn(1, K, group * N, decoder.width, dtype=decoder.dtype)
            times = in_turns(
                [
                    lambda long=long: decoder.forward(long),
                    lambda short=short: decoder.forward(short),
                    lambda q=q, keys=keys: [
                        kernels.attention(q, kv[:, :K], kv[:, K:], None) for kv in keys
                    ],
                ],
                args.repeats,
            )
            cells = [f"{1000 * statistics.median(t):.0f}" for t in times]
            rows.append([str(n), str(N), *cells, ratio(*times)])
    names = ["prompt", "N", "step, ms", "without prompt", "attention", "ratio"]
    print(table(names, rows, markdown=True), flush=True)


def going_on(pasts: list[Past]) -> list[ForwardRow]:
    return [ForwardRow(past, (100 + n,), (0,)) for n, past in enumerate(pasts)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", default="500,2001,4000")
    parser.add_argument("--particles", default="1,8,32")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", default="prefill,steps")
    args = parser.parse_args()
    args.prompts, args.particles = (
        [int(n) for n in listed.split(",")] for listed in (args.prompts, args.particles)
    )
    model = load_model("smollm2", dtype=args.dtype)
    print(f"{machine(torch.get_num_threads())}; load {os.getloadavg()[0]:.0f}; {args.dtype}")
    for name, part in {"prefill": prefill, "steps": steps}.items():
        if name in args.parts.split(","):
            part(model, args)


if __name__ == "__main__":
    main()

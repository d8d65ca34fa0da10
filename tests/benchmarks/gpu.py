"""Decoding on a GPU: a program with a condition end to end, by models of random weights, against
transformers' generate and against the least that the memory's bandwidth allows.

    python tests/benchmarks/gpu.py [--device auto] [--models 135M,1B,8B]
        [--particles 16,64,256,1024] [--prompt 512] [--tokens 64] [--seconds 540]
        [--out FILE.json]

First the laws are checked on the device: rows of a small random Llama by our decode steps, alone,
forked and in batches, against those of transformers' module, in float32 and in bfloat16; steps that
are replayed as CUDA graphs against steps that are not, and Triton's kernels against torch's public
operators; and a run with rows that stay on the device against one whose rows all come to the host.
It says which operators are in use. Then, for each model and number of particles, in turn:

    floor       seconds a step to read the weights once and each live key and value once, at the
                bandwidth of a copy on this device
    bare        the decoder's steps of N rows, tokens given, nothing drawn
    no graphs   the same, each kernel started by itself
    fkdsl       PROGRAM: seconds a step, from the difference of a run of all tokens and one of one
    generate    transformers' own sampling of N sequences, likewise

Models share --seconds; numbers of particles that a model's share leaves no time for are left out,
and cells that do not fit in the device's memory say so. A figure that hangs ends the script a
minute after --seconds; what there was is printed and in --out by then. It runs on a CPU too
(`--device cpu --models small`), by the same steps, which says nothing of a GPU. vLLM is measured by
vllm_engine.py --shape 1b.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_laws import check_laws, rows_stay
from gpu_models import SIZES, Size, model_of, random_module, steered
from report import machine, table

from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.device import transfer
from fkdsl.models.interface import ForwardRow, Past


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def bandwidth(device: str) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    source = torch.empty(1 << (28 if device.startswith("cuda") else 25), dtype=torch.uint8)
    source = source.to(device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        synchronise(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return 2 * len(source) / min(seconds)


def floor(module: Any, size: Size, particles: int, prompt: int, tokens: int, rate: float) -> float:
    """Seconds a step, in the middle of the new tokens."""
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    live = prompt + particles * tokens / 2
    return (weights + live * size.slot_bytes) / rate


def bare(model: DecoderModel, particles: int, prompt: int, tokens: int, device: str) -> float:
    """Seconds a step of the decoder alone."""
    (first,) = model.forward([ForwardRow(None, tuple(i % 256 for i in range(prompt)), ())])
    pasts = [Past(first.segment, prompt)] * particles
    seconds = []
    assert model.step is not None
    with torch.inference_mode():
        for step in range(tokens):
            rows = [ForwardRow(past, (97 + (i + step) % 26,), (0,)) for i, past in enumerate(pasts)]
            synchronise(device)
            began = time.perf_counter()
            _, segments = model.step.forward(rows)
            synchronise(device)
            seconds.append(time.perf_counter() - began)
            pasts = [Past(segment, 1) for segment in segments]
    return statistics.median(seconds)


def without_graphs(model: DecoderModel, *args: Any) -> float:
    """`bare`, each kernel started by itself."""
    assert model.step is not None
    graphs, model.step.graphs = model.step.graphs, None
    try:
        return bare(model, *args)
    finally:
        model.step.graphs = graphs


def ours(model: DecoderModel, particles: int, prompt: int, tokens: int) -> tuple[float, float]:
    """(seconds a step, transfers a step) of PROGRAM."""
    text = ("the sea and a boat " * (prompt // 19 + 1))[:prompt]
    found = []
    for n in (1, 1, tokens + 1):  # the first one warms up
        transfer.TRANSFERS[0] = 0
        began = time.perf_counter()
        steered(model, particles, n, text)
        found.append((time.perf_counter() - began, transfer.TRANSFERS[0]))
    return (found[2][0] - found[1][0]) / tokens, (found[2][1] - found[1][1]) / tokens


def generated(module: Any, particles: int, prompt: int, tokens: int, device: str) -> float:
    """Seconds a step of transformers' own sampling."""
    ids = torch.arange(prompt, device=device).remainder(256).expand(particles, -1)

    def run(n: int) -> float:
        synchronise(device)
        began = time.perf_counter()
        with torch.inference_mode():
            module.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, top_p=1.0,
                max_new_tokens=n, min_new_tokens=n, pad_token_id=0,
            )  # fmt: skip
        synchronise(device)
        return time.perf_counter() - began

    run(1)
    return (run(tokens + 1) - run(1)) / tokens


def tried(figure: Callable[[], Any]) -> Any:
    """A figure; None where the device's memory does not hold it."""
    try:
        return figure()
    except (torch.cuda.OutOfMemoryError, MemoryError):
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def cells(args: argparse.Namespace, device: str, until: float) -> Iterator[dict[str, Any]]:
    """The figures of each model and number of particles."""
    rate = bandwidth(device)
    print(f"a copy: {rate / 1e9:.0f} GB/s", flush=True)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    precision = str(dtype).removeprefix("torch.")
    names = args.models.split(",")
    for i, name in enumerate(names):
        size, now = SIZES[name], time.monotonic()
        share = now + max(0.0, until - now) / (len(names) - i)
        module = random_module(size, device, dtype)
        model = model_of(module, size, precision)
        for j, n in enumerate(map(int, args.particles.split(","))):
            if j and time.monotonic() > share:
                break
            yield cell_of(name, model, module, n, args, device, rate)
        del module, model
        gc.collect()


def cell_of(
    name: str, model: DecoderModel, module: Any, n: int, args: Any, device: str, rate: float
) -> dict[str, Any]:
    """The figures of a model and a number of particles."""
    shape = (n, args.prompt, args.tokens)
    mine = tried(lambda: ours(model, *shape))
    return {
        "model": name,
        "N": n,
        "floor": floor(module, SIZES[name], *shape, rate),
        "bare": tried(lambda: bare(model, *shape, device)),
        "no graphs": tried(lambda: without_graphs(model, *shape, device)),
        "fkdsl": mine and mine[0],
        "transfers": mine and mine[1],
        "generate": tried(lambda: generated(module, *shape, device)),
    }


def row(cell: dict[str, Any]) -> list[str]:
    def ms(name: str) -> str:
        return "no memory" if cell[name] is None else f"{1000 * cell[name]:.2f}"

    def ratio(a: str, b: str) -> str:
        return "-" if None in (cell[a], cell[b]) else f"{cell[a] / cell[b]:.2f}"

    outside = "-"
    if None not in (cell["bare"], cell["fkdsl"]):
        outside = f"{100 * max(0.0, 1.0 - cell['bare'] / cell['fkdsl']):.0f} %"
    transfers = "-" if cell["transfers"] is None else f"{cell['transfers']:.1f}"
    figures = [ms(name) for name in ("floor", "bare", "no graphs", "fkdsl", "generate")]
    ratios = [ratio("fkdsl", "floor"), ratio("generate", "fkdsl")]
    return [cell["model"], str(cell["N"]), *figures, *ratios, outside, transfers]


HEAD = [
    "model", "N", "floor ms", "bare ms", "no graphs ms", "fkdsl ms", "generate ms", "fkdsl / floor",
    "generate / fkdsl", "outside the model", "transfers",
]  # fmt: skip


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", default="135M,1B,8B")
    parser.add_argument("--particles", default="16,64,256,1024")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--out", type=Path, help="a file for the figures as JSON")
    args = parser.parse_args(given)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    faulthandler.dump_traceback_later(args.seconds + 60.0, exit=True, file=sys.__stderr__)
    try:
        with rows_stay(True):
            measure(args, device)
    finally:
        faulthandler.cancel_dump_traceback_later()


def measure(args: argparse.Namespace, device: str) -> None:
    """Checks the laws and prints the figures."""
    until = time.monotonic() + args.seconds
    print(machine(torch.get_num_threads()))
    print(torch.cuda.get_device_name() if device.startswith("cuda") else "on the processor itself")
    print(f"laws hold on {device}: rows within {check_laws(device):.1e}", flush=True)
    found: list[dict[str, Any]] = []
    for cell in cells(args, device, until):
        found.append(cell)
        print("  ".join(row(cell)), flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps(found, indent=1), "utf-8")
    print(table(HEAD, [row(cell) for cell in found], markdown=True))


if __name__ == "__main__":
    main()

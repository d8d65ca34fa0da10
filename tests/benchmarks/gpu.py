"""Decoding on a GPU: a program with a condition end to end, by models of random weights, against
transformers' generate and against the least that the memory's bandwidth allows.

    python tests/benchmarks/gpu.py [--device auto] [--models 135M,1B,8B]
        [--particles 16,64,256,1024] [--prompt 512] [--tokens 64] [--seconds 540]
        [--out FILE.json]

First the laws are checked on the device: rows of a small random Llama by our decoder, alone, forked
and in batches, against those of transformers' module; and a run with rows that stay on the device
against one whose rows all come to the host, to the last digit. Then, for each model and number of
particles, in turn:

    floor       seconds a step to read the weights once and each live key and value once, at the
                bandwidth of a copy on this device
    bare        the decoder's forward of N rows of one token each, tokens given, nothing drawn
    fkdsl       PROGRAM: seconds a step, from the difference of a run of all tokens and one of one
    generate    transformers' own sampling of N sequences, likewise

Cells that do not fit in the device's memory say so, and what --seconds leaves no time for is left
out. It runs on a CPU too (`--device cpu --models small`), which says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import machine, table

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import tokenized
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.decoder_weights import DecoderShape
from fkdsl.models.device import transfer
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vocabulary import Vocabulary

PROGRAM = """\
model "smollm2"

program p(text: str, n: int) -> str:
    lm = prompt(text)
    while lm.tokens < n:
        t ~ lm
        condition t != EOS and all(letters(w) <= 9 for w in words(lm.text))
    return lm.text
"""
TOLERANCE = 2e-4
"""Most that a probability of the small model may differ from transformers', in float32."""


@dataclass(frozen=True)
class Size:
    """The shape of a Llama. tied: whether the embedding is its head too."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool

    @property
    def slot_bytes(self) -> int:
        """Bytes of a token's keys and values in bfloat16."""
        return 2 * self.kv_heads * self.head * self.layers * 2

    def config(self) -> Any:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head,
            tie_word_embeddings=self.tied,
            max_position_embeddings=8192,
            eos_token_id=self.vocabulary - 1,
        )


SIZES = {
    "small": Size(64, 128, 2, 4, 2, 16, 1000, True),
    "135M": Size(576, 1536, 30, 9, 3, 64, 49_152, True),
    "1B": Size(2048, 8192, 16, 32, 8, 64, 128_256, True),
    "8B": Size(4096, 14_336, 32, 32, 8, 128, 128_256, False),
}


def vocabulary_of(size: int) -> Vocabulary:
    """256 bytes, then words of one to twelve letters, then the end."""
    words = [b" " + b"abcdefghijkl"[: 1 + i % 12] for i in range(size - 257)]
    return Vocabulary((*(bytes([b]) for b in range(256)), *words, b""), ends=frozenset({size - 1}))


def random_module(size: Size, device: str, dtype: torch.dtype) -> Any:
    """transformers' module with random weights, made on the device."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(1)
    with torch.device(device):
        module = LlamaForCausalLM(size.config()).to(dtype)
    return module.eval()


def texts_of(size: Size) -> ModelTexts:
    return ModelTexts(
        vocabulary_of(size.vocabulary), lambda text: list(text.encode()), bos=0, max_length=8192
    )


def model_of(module: Any, size: Size, precision: str) -> DecoderModel:
    """Our decoder over a module's weights."""
    rotary = module.model.rotary_emb
    shape = DecoderShape.of(module.config, rotary.inv_freq, float(rotary.attention_scaling))
    return DecoderModel(Decoder(shape, module.state_dict(), precision), texts_of(size))


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


# --------------------------------------------------------------------- laws


def rows_of_walk(model: Any) -> np.ndarray:
    """Rows of contexts that share a prompt, are extended, forked and asked together."""
    engine, rng = CachedTransformer(model), np.random.default_rng(4)
    held = [engine.extend(engine.root, tuple(range(60)))] * 12
    found = []
    for _ in range(4):
        held = [
            engine.extend(held[i], (int(rng.integers(900)),)) for i in rng.integers(12, size=12)
        ]
        found += [np.array(row) for row in engine.log_probs(held)]
    return np.exp(np.stack(found))


def check_laws(device: str) -> float:
    """The largest difference of a probability from transformers' own. Raises AssertionError where a
    law does not hold on this device."""
    size = SIZES["small"]
    module = random_module(size, device, torch.float32)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.mul_(8.0)  # rows far from uniform
    ours = model_of(module, size, "float32")
    theirs = HuggingFaceModel(module, texts_of(size))
    found, expected = rows_of_walk(ours), rows_of_walk(theirs)
    difference = float(np.abs(found - expected).max())
    assert difference <= TOLERANCE, f"rows are off by {difference:.2g}"
    assert expected.max() > 0.05, "rows are nearly uniform"
    answers = []
    for left in (True, False):
        before, tokenized.stays = tokenized.stays, lambda _, left=left: left
        try:
            answers.append(steered(ours, 8, 6, "a" * 60))
        finally:
            tokenized.stays = before
    there, here = answers
    assert there.posterior == here.posterior, "rows left on the device give another answer"
    assert abs(there.log_z - here.log_z) <= 1e-6
    return difference


# ------------------------------------------------------------------ figures


def steered(model: Any, particles: int, tokens: int, prompt: str, seed: int = 1) -> Any:
    return fkdsl.parse(PROGRAM)(text=prompt, n=tokens).run(
        "smc", model=model, particles=particles, seed=seed, lookahead="none"
    )


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
    with torch.inference_mode():
        for step in range(tokens):
            rows = [ForwardRow(past, (97 + (i + step) % 26,), (0,)) for i, past in enumerate(pasts)]
            synchronise(device)
            began = time.perf_counter()
            _, segments = model.decoder.forward(rows)
            synchronise(device)
            seconds.append(time.perf_counter() - began)
            pasts = [Past(segment, 1) for segment in segments]
    return statistics.median(seconds)


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
    for name in args.models.split(","):
        size = SIZES[name]
        if time.monotonic() > until:
            return
        module = random_module(size, device, dtype)
        model = model_of(module, size, precision)
        for n in map(int, args.particles.split(",")):
            if time.monotonic() > until:
                break
            shape = (n, args.prompt, args.tokens)
            mine = tried(lambda shape=shape, model=model: ours(model, *shape))
            yield {
                "model": name,
                "N": n,
                "floor": floor(module, size, *shape, rate),
                "bare": tried(lambda shape=shape, model=model: bare(model, *shape, device)),
                "fkdsl": mine and mine[0],
                "transfers": mine and mine[1],
                "generate": tried(
                    lambda shape=shape, module=module: generated(module, *shape, device)
                ),
            }
        del module, model


def row(cell: dict[str, Any]) -> list[str]:
    def ms(name: str) -> str:
        return "no memory" if cell[name] is None else f"{1000 * cell[name]:.2f}"

    def ratio(a: str, b: str) -> str:
        return "-" if None in (cell[a], cell[b]) else f"{cell[a] / cell[b]:.2f}"

    outside = "-"
    if None not in (cell["bare"], cell["fkdsl"]):
        outside = f"{100 * max(0.0, 1.0 - cell['bare'] / cell['fkdsl']):.0f} %"
    transfers = "-" if cell["transfers"] is None else f"{cell['transfers']:.1f}"
    figures = [ms(name) for name in ("floor", "bare", "fkdsl", "generate")]
    ratios = [ratio("fkdsl", "floor"), ratio("generate", "fkdsl")]
    return [cell["model"], str(cell["N"]), *figures, *ratios, outside, transfers]


HEAD = [
    "model", "N", "floor ms", "bare ms", "fkdsl ms", "generate ms", "fkdsl / floor",
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

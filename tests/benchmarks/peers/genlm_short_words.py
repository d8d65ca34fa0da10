"""genlm-control: short words by AWRS, its sampler by adaptive weighted rejection, under its SMC.

The condition is a potential over the model's own tokens, as its users write one: 0 where every word
is short, else minus infinity. Reserved tokens break it, and the one that stands for the end is a
reserved token that the model hardly ever draws, so that every particle goes on to the end. What
counts is a draw of one particle, however many tokens AWRS tried for it: N x tokens if nobody dies.

The prompt's keys are cached, the batch is N, the wait for late queries 1 ms (20 by default), and
the end costs no forward: all in its favour.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import torch
from genlm.control import AWRS, Potential, PromptedLLM
from short_words import PROMPT, arguments, report, short

END = b"<empty_output>"
"""A reserved token of SmolLM2."""


class ShortWords(Potential):
    """log 1 for contexts whose words are short, log 0 for others."""

    def __init__(self, model: PromptedLLM, special: set[int]) -> None:
        super().__init__(model.vocab)
        self.special = special

    async def prefix(self, context: list[Any]) -> float:
        if any(token.token_id in self.special for token in context):
            return -np.inf
        text = b"".join(token.byte_string for token in context).decode("utf-8", "ignore")
        return 0.0 if short(text) else -np.inf

    async def complete(self, context: list[Any]) -> float:
        return await self.prefix(context)


class Counted(AWRS):
    """AWRS that counts its draws."""

    drawn = 0

    async def sample(self, context: list[Any], *args: Any, **options: Any) -> Any:
        self.drawn += 1
        return await super().sample(context, *args, **options)

    async def logw_eos(self, context: list[Any]) -> float:
        # Else the model is asked once more for every particle, and the condition of the whole
        # vocabulary.
        return 0.0


def run(
    llm: PromptedLLM, condition: ShortWords, particles: int, tokens: int, seed: int
) -> tuple[float, int]:
    """(seconds, tokens drawn) from an empty cache; the end that is appended to every text is no
    draw."""

    async def sample() -> int:
        llm.model.cache_kv(llm.prompt_ids)
        sampler = Counted(llm, condition, seed=seed)
        await sampler.smc(n_particles=particles, ess_threshold=0.5, max_tokens=tokens + 1)
        return sampler.drawn

    llm.model.clear_cache()
    np.random.seed(seed)
    began = time.perf_counter()
    drawn = asyncio.run(sample())
    return time.perf_counter() - began, drawn


def main() -> None:
    args = arguments(__doc__)
    torch.set_num_threads(args.threads)
    options = {
        "dtype": getattr(torch, args.dtype),
        "torch_dtype": getattr(torch, args.dtype),
        "device_map": "cpu",
    }
    llm = PromptedLLM.from_name(
        args.model,
        backend="hf",
        eos_byte_strings=[END],
        batch_size=args.particles,
        timeout=0.001,
        hf_opts=options,
    )
    assert llm.model.model.dtype == getattr(torch, args.dtype)
    llm.set_prompt_from_str(PROMPT)
    condition = ShortWords(llm, set(llm.model.tokenizer.all_special_ids))
    run(llm, condition, 2, 2, 0)
    seconds, drawn = run(llm, condition, args.particles, args.tokens, args.seed)
    report("genlm-control", drawn / seconds, drawn=drawn, seconds=seconds)


if __name__ == "__main__":
    main()

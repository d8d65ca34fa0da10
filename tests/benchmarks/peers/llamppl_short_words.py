"""llamppl: short words by its own SMC, one particle a coroutine, masks as in its examples.

A step observes that the next token is none of those that would make a word too long, and draws it.
Those sets are worked out beforehand, for each number of letters that the last word has, and are not
timed. EOS is among them, so that every particle goes on to the end. What counts is a draw of one
particle: N x tokens if nobody dies.

The prompt's keys are cached, the batch is N and the wait for late queries 1 ms (20 by default): all
in its favour.
"""

from __future__ import annotations

import asyncio
import re
import time

import numpy as np
import torch
from llamppl import CachedCausalLM, LMContext, Model, smc_standard
from short_words import MAX_LETTERS, PROMPT, WORD, arguments, report, short

LAST_WORD = re.compile(WORD.pattern + r"['\u2019-]?\Z")


class ShortWords(Model):
    """A particle: a context, and how many tokens it still has to draw."""

    drawn = 0

    def __init__(self, context: LMContext, masks: list[set[int]], tokens: int) -> None:
        super().__init__()
        self.context, self.masks, self.left, self.text = context, masks, tokens, ""

    def immutable_properties(self) -> set[str]:
        return {"masks"}

    async def step(self) -> None:
        await self.observe(self.context.mask_dist(self.masks[tail(self.text)]), False)
        token = await self.sample(self.context.next_token())
        ShortWords.drawn += 1
        self.text += self.context.lm.str_vocab[token.token_id]
        self.condition(short(self.text))
        self.left -= 1
        if not self.left:
            self.finish()


def tail(text: str) -> int:
    """How many letters the word has that the text ends with."""
    last = LAST_WORD.search(text)
    return sum(map(str.isalpha, last.group())) if last else 0


def run(
    lm: CachedCausalLM, masks: list[set[int]], particles: int, tokens: int, seed: int
) -> tuple[float, int]:
    """(seconds, tokens drawn) from an empty cache."""

    async def sample() -> None:
        lm.model.cache_kv(lm.tokenizer.encode(PROMPT))
        context = await LMContext.create(lm, PROMPT)
        await smc_standard(ShortWords(context, masks, tokens), particles)

    lm.clear_cache()
    np.random.seed(seed)
    ShortWords.drawn = 0
    began = time.perf_counter()
    asyncio.run(sample())
    return time.perf_counter() - began, ShortWords.drawn


def main() -> None:
    args = arguments(__doc__)
    torch.set_num_threads(args.threads)
    options = {
        "dtype": getattr(torch, args.dtype),
        "torch_dtype": getattr(torch, args.dtype),
        "device_map": "cpu",
    }
    lm = CachedCausalLM.from_pretrained(
        args.model, backend="hf", batch_size=args.particles, timeout=0.001, hf_opts=options
    )
    assert lm.model.model.dtype == getattr(torch, args.dtype)
    special = set(lm.tokenizer.all_special_ids)
    masks = [
        {
            i
            for i, piece in enumerate(lm.str_vocab)
            if i in special or not short("a" * letters + piece)
        }
        for letters in range(MAX_LETTERS + 1)
    ]
    run(lm, masks, 2, 2, 0)
    seconds, drawn = run(lm, masks, args.particles, args.tokens, args.seed)
    report("llamppl", drawn / seconds, drawn=drawn, seconds=seconds)


if __name__ == "__main__":
    main()

"""Draws texts from a model in batches, for fitting a surrogate (fkdsl.models.surrogate).

A batch is a function of the model, the seed and its number alone: a run that was killed draws the
batch that it was at again, and has the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import LanguageModel
from fkdsl.models.surrogate.head import TOKENS, features
from fkdsl.models.surrogate.prompts import INSTRUCTIONS, openings
from fkdsl.models.surrogate.sample import NONE, SKETCH, Sample

PROMPT = 32
"""Most tokens of a corpus's line that are a prompt."""
BLOCK = 256
"""Tokens whose probabilities are summed together before one is drawn."""
ROWS = 32
"""Prompts that are read together."""
MOST_PROMPTS = 1024
"""Prompts from whose rows a head's tokens are chosen."""
EMPTY = 0.2
"""Share of the texts that begin from the empty prompt, where there are others."""


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled. prompts: token ids, among which each text's prompt is drawn; the
    first is the empty prompt's. length: most tokens drawn of a text. rows: texts in a batch."""

    prompts: tuple[tuple[int, ...], ...]
    length: int
    rows: int
    seed: int


def neutral_prompts(model: LanguageModel) -> tuple[tuple[int, ...], ...]:
    """The empty prompt, and for a model that was trained on text beginnings of many kinds, and
    instructions if it has a chat template."""
    prompts = [model.start("")]
    if model.describe().get("family") == "table":
        return tuple(prompts)
    prompts += [model.start(text) for text in openings()]
    with suppress(CallError):  # it may have no chat template
        prompts += [model.chat(text) for text in INSTRUCTIONS]
    return tuple(prompts)


def corpus_prompts(model: LanguageModel, lines: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The empty prompt, and the first PROMPT tokens of each line."""
    return (model.start(""), *(model.start(line)[:PROMPT] for line in lines if line.strip()))


def sketches(size: int) -> NDArray[np.float32]:
    """(size, SKETCH) the random signs by which rows of a vocabulary are sketched."""
    signs = np.random.default_rng(size).integers(0, 2, (size, SKETCH), dtype=np.int8)
    return (2.0 * signs - 1.0).astype(np.float32)


def head_tokens(engine: CachedTransformer, sampling: Sampling) -> NDArray[np.int64]:
    """(K,) the tokens whose log-probabilities a head reads: those that are likeliest after the
    prompts, in this order."""
    engine = engine.fresh()
    total = np.zeros(engine.model.vocabulary.size)
    prompts = sampling.prompts[:MOST_PROMPTS]
    for i in range(0, len(prompts), ROWS):
        some = [engine.extend(engine.root, prompt) for prompt in prompts[i : i + ROWS]]
        for row in engine.log_probs(some):
            total += np.exp(row, dtype=np.float64)
    return np.argsort(-total, kind="stable")[:TOKENS].astype(np.int64)


def draw_batch(
    engine: CachedTransformer,
    sampling: Sampling,
    batch: int,
    of_head: NDArray[np.int64],
    observer: Callable[[int], None] = lambda drawn: None,
) -> Sample:
    """The texts of a batch. of_head: the tokens that a head reads. observer: is told after each
    step how many tokens it drew.

    Raises CallError if a prompt leaves no room for a token in the model's context.
    """
    model, V = engine.model, engine.model.vocabulary.size
    # Which prompts are cached decides how a forward is split, and so how it is rounded.
    engine = engine.fresh()
    rng = np.random.default_rng((sampling.seed, batch))
    prompts = [_prompt(sampling, rng) for _ in range(sampling.rows)]
    room = min(model.max_length or sampling.length + len(p) for p in prompts)
    if max(map(len, prompts)) >= room:
        raise CallError(
            f"a prompt of {max(map(len, prompts))} tokens leaves no room in the context of "
            f"{model.name}, {room} tokens",
            "take a corpus of shorter lines",
        )
    signs = sketches(V)
    contexts = [engine.extend(engine.root, prompt) for prompt in prompts]
    steps: list[_Step] = []
    total = np.zeros(V)
    going = list(range(len(prompts)))
    while going:
        rows = np.stack(engine.log_probs([contexts[i] for i in going]))
        p = np.exp(rows).astype(np.float32)
        total += p.sum(axis=0, dtype=np.float64)
        step = _Step.of(np.array(going), p, rng.random(len(going)), signs, rows[:, of_head])
        steps.append(step)
        observer(len(going))
        for i, token in zip(going, step.tokens.tolist(), strict=True):
            contexts[i] = engine.extend(contexts[i], (token,))
        going = [
            i
            for i, token in zip(going, step.tokens.tolist(), strict=True)
            if token not in model.vocabulary.ends
            and len(steps) < sampling.length
            and contexts[i].length < (model.max_length or np.inf)
        ]
    return _sample(prompts, steps, total)


def _prompt(sampling: Sampling, rng: np.random.Generator) -> tuple[int, ...]:
    others = len(sampling.prompts) - 1
    if not others or rng.random() < EMPTY:
        return sampling.prompts[0]
    return sampling.prompts[1 + int(rng.integers(others))]


@dataclass(frozen=True)
class _Step:
    """A token of each text that goes on. texts: (n,) which; tokens: (n,) what was drawn; sketch:
    (n, SKETCH) of the rows; features: (n, K) likewise."""

    texts: NDArray[np.intp]
    tokens: NDArray[np.intp]
    sketch: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        texts: NDArray[np.intp],
        p: NDArray[np.float32],
        uniforms: NDArray[np.float64],
        signs: NDArray[np.float32],
        of_head: NDArray[Any],
    ) -> _Step:
        """p: (n, V) the probabilities of each text's next token. of_head: (n, K) the
        log-probabilities of a head's tokens."""
        tokens = np.array([_drawn(row, u) for row, u in zip(p, uniforms, strict=True)])
        return cls(texts, tokens, np.sqrt(p) @ signs, features(of_head))


def _drawn(p: NDArray[np.float32], uniform: float) -> int:
    """The token at a place in [0, 1) of the sums of p (V,): first its block, then the token."""
    blocks = np.add.reduceat(p, np.arange(0, len(p), BLOCK), dtype=np.float64)
    sums = np.cumsum(blocks)
    # Rounding must not lead past the last token that has a probability.
    block = min(
        int(np.searchsorted(sums, uniform * sums[-1], side="right")), int(blocks.nonzero()[0][-1])
    )
    inside = p[block * BLOCK : (block + 1) * BLOCK].astype(np.float64)
    left = uniform * sums[-1] - (sums[block] - blocks[block])
    token = int(np.searchsorted(np.cumsum(inside), left, side="right"))
    return block * BLOCK + min(token, int(inside.nonzero()[0][-1]))


def _sample(
    prompts: Sequence[tuple[int, ...]], steps: Sequence[_Step], total: NDArray[np.float64]
) -> Sample:
    given = np.array([len(p) for p in prompts], dtype=np.int32)
    shape = len(prompts), int(given.max()) + len(steps)
    tokens = np.full(shape, NONE, dtype=np.int32)
    for i, prompt in enumerate(prompts):
        tokens[i, : len(prompt)] = prompt
    sketch = np.zeros((*shape, SKETCH), dtype=np.float16)
    read = np.zeros((*shape, steps[0].features.shape[1]), dtype=np.float16)
    for k, step in enumerate(steps):
        at = step.texts, given[step.texts] + k
        tokens[at], sketch[at], read[at] = step.tokens, step.sketch, step.features
    return Sample(tokens, given, sketch, read, total)

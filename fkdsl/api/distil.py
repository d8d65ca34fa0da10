"""From a language model to its surrogate: texts are drawn, a hidden Markov model is fitted to them,
and measured on texts that were held out.

    distilled = distil(engine, Distilling(tokens=50_000), work)
    distilled.surrogate, distilled.nats
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.version import VERSION
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.text_sampling import Sampling, corpus_prompts, draw_batch, neutral_prompts
from fkdsl.models.interface import LanguageModel
from fkdsl.models.surrogate.baselines import bigram_nats, unigram_nats
from fkdsl.models.surrogate.counts import Parameters, nats_per_token, unigram_of
from fkdsl.models.surrogate.files import MOST_EMISSIONS, MOST_STATES, MOST_TOKENS
from fkdsl.models.surrogate.fitting import KINDS, Fit, FitSettings, begun, fitted
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.surrogate.sample import Sample, joined
from fkdsl.models.surrogate.work import Work

ROWS = 128
"""Most texts that are drawn side by side."""
HELD_OUT = 0.1
"""Share of the texts that are not fitted to."""


@dataclass(frozen=True)
class Distilling:
    """How a surrogate is made. tokens: at least so many are drawn. length: most tokens of a text.
    corpus: lines that texts go on from, or None for fkdsl's own prompts."""

    tokens: int = 200_000
    length: int = 64
    corpus: tuple[str, ...] | None = None
    fit: FitSettings = field(default_factory=FitSettings)


@dataclass(frozen=True, eq=False)
class Distilled:
    """A surrogate with its figures. nats: a token of the held-out texts under the unigram, the
    bigram and the surrogate, by their names."""

    surrogate: Surrogate
    nats: Mapping[str, float]


class DistilObserver(Protocol):
    """Is told how far the work is."""

    def drew(self, done: int, total: int) -> None:
        """Tokens drawn, of those that are wanted."""
        ...

    def fitted(self, done: int, total: int, nats: float) -> None:
        """Batches of texts fitted to, and the last figure on the held-out texts."""
        ...


def check_distilling(settings: Distilling, model: LanguageModel) -> Distilling:
    """The settings. Raises CallError for those that make no surrogate of the model."""
    fit, V = settings.fit, model.vocabulary.size
    if fit.kind not in KINDS:
        raise CallError(f"there is no kind `{fit.kind}`", f"one of {', '.join(KINDS)}")
    most = min(MOST_STATES, MOST_EMISSIONS // max(V, 1))
    if not 1 <= fit.states <= most or V > MOST_TOKENS:
        raise CallError(
            f"a surrogate of {model.name}, with {V} tokens, cannot have {fit.states} states",
            f"between 1 and {most}",
        )
    for name in ("tokens", "length"):
        if getattr(settings, name) < 1:
            raise CallError(f"{name} {getattr(settings, name)} is too few", "at least 1")
    if fit.passes < 1:
        raise CallError(f"passes {fit.passes} is too few", "at least 1")
    return settings


def sampling_of(model: LanguageModel, settings: Distilling) -> Sampling:
    """Which texts are drawn."""
    prompts = (
        neutral_prompts(model)
        if settings.corpus is None
        else corpus_prompts(model, settings.corpus)
    )
    rows = min(ROWS, max(2, settings.tokens // settings.length))
    return Sampling(prompts, settings.length, rows, settings.fit.seed)


def facts_of(model: LanguageModel, sampling: Sampling) -> dict[str, Any]:
    """What a drawn batch depends on: what a `Work` has in each of its files."""
    described = model.describe()
    return {
        "model": str(described.get("digest", model.name)),
        "dtype": str(described.get("dtype", "")),
        "vocabulary": model.vocabulary.fingerprint,
        "length": sampling.length,
        "rows": sampling.rows,
        "seed": sampling.seed,
        "prompts": blake2b(repr(sampling.prompts).encode(), digest_size=16).hexdigest(),
    }


def distil(
    engine: CachedTransformer, settings: Distilling, work: Work, observer: DistilObserver
) -> Distilled:
    """The surrogate of an engine's model. What is in `work` already is not done again, and the end
    is the same. Raises CallError for settings that make none."""
    model = engine.model
    check_distilling(settings, model)
    sampling = sampling_of(model, settings)
    sample = _sample(engine, sampling, settings.tokens, work, observer)
    training, held_out = _split(sample, settings.fit.seed)
    unigram = unigram_of(sample.total)
    name = f"fit-{_key(settings, len(sample.tokens))}.safetensors"
    saved = work.read(name)
    fit = Fit.of(saved) if saved is not None else begun(training, held_out, settings.fit, unigram)
    fit = fitted(
        fit,
        training,
        held_out,
        settings.fit,
        unigram,
        save=lambda fit: work.save(name, fit.tensors()),
        observer=observer.fitted,
    )
    surrogate = fit.counts.parameters(unigram).surrogate(model.vocabulary.fingerprint)
    nats = {
        "unigram": unigram_nats(held_out, unigram),
        "bigram": bigram_nats(training, held_out, unigram),
        "surrogate": nats_per_token(Parameters.of(surrogate), held_out),
    }
    about = _about(model, settings, sampling, training, held_out, nats, fit)
    return Distilled(replace(surrogate, about=about), nats)


def _sample(
    engine: CachedTransformer,
    sampling: Sampling,
    tokens: int,
    work: Work,
    observer: DistilObserver,
) -> Sample:
    """All batches until `tokens` tokens are drawn: those in `work`, and then new ones."""
    batches: list[Sample] = []
    drawn = 0

    def drew(more: int) -> None:
        nonlocal drawn
        drawn += more
        observer.drew(min(drawn, tokens), tokens)

    while sum(b.drawn for b in batches) < tokens:
        name = f"sample-{len(batches):05}.safetensors"
        saved = work.read(name)
        if saved is not None:
            batch = Sample(**saved)
            drew(batch.drawn)
        else:
            batch = draw_batch(engine, sampling, len(batches), drew)
            work.save(name, batch.tensors())
        batches.append(batch)
    return joined(batches)


def _split(sample: Sample, seed: int) -> tuple[Sample, Sample]:
    """(training, held out): HELD_OUT of the texts, at least one, drawn at random."""
    n = len(sample.tokens)
    order = np.random.default_rng((seed, n)).permutation(n)
    share = max(1, round(HELD_OUT * n))
    return sample.part(np.sort(order[share:])), sample.part(np.sort(order[:share]))


def _key(settings: Distilling, texts: int) -> str:
    """A name for what a fit depends on besides the facts of the sample."""
    facts = asdict(settings.fit) | {"texts": texts}
    return blake2b(repr(sorted(facts.items())).encode(), digest_size=8).hexdigest()


def _about(
    model: LanguageModel,
    settings: Distilling,
    sampling: Sampling,
    training: Sample,
    held_out: Sample,
    nats: Mapping[str, float],
    fit: Fit,
) -> dict[str, Any]:
    described = model.describe()
    prompts = "fkdsl's own" if settings.corpus is None else "the lines of a corpus"
    return {
        "model": model.name,
        "digest": str(described.get("digest", "")),
        "dtype": str(described.get("dtype", "")),
        "fkdsl": VERSION,
        "kind": settings.fit.kind,
        "states": settings.fit.states,
        "passes": fit.passes,
        "seed": settings.fit.seed,
        "prompts": f"the empty one and {len(sampling.prompts) - 1} of {prompts}",
        "length": settings.length,
        "tokens": training.drawn,
        "held-out tokens": held_out.drawn,
        "nats a held-out token": {name: round(n, 4) for name, n in nats.items()},
    }

"""From a language model to its surrogate: texts are drawn, a hidden Markov model and then a head
are fitted to them, and measured on texts that were held out.

    distilled = distil(engine, Distilling(tokens=50_000), work)
    distilled.surrogate, distilled.nats
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.version import VERSION
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.text_sampling import (
    Sampling,
    corpus_prompts,
    draw_batch,
    head_tokens,
    neutral_prompts,
)
from fkdsl.models.interface import LanguageModel, TakesAttachments
from fkdsl.models.surrogate.ahead import AHEAD, nats_ahead
from fkdsl.models.surrogate.baselines import bigram_nats, unigram_nats
from fkdsl.models.surrogate.counts import Parameters, unigram_of
from fkdsl.models.surrogate.files import MOST_EMISSIONS, MOST_STATES, MOST_TOKENS
from fkdsl.models.surrogate.fitting import KINDS, Fit, FitSettings, begun, fitted
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.surrogate.sample import Sample, joined
from fkdsl.models.surrogate.work import Work

ROWS = 128
"""Most texts that are drawn side by side."""
HELD_OUT = 0.1
"""Share of the texts that are not fitted to."""
REFINE_PASSES, HEAD_PASSES = 4, 4
SAMPLE = 2
"""The form of a drawn batch: texts that were kept in another are not read."""


@dataclass(frozen=True)
class Distilling:
    """How a surrogate is made. tokens: at least so many are drawn. length: most tokens of a text.
    texts: folders of texts that other runs, of other seeds, have kept: these are fitted to as well.
    corpus: lines that texts go on from, or None for fkdsl's own prompts. begin: the surrogate whose
    hidden Markov model is taken, in the place of one by `fit`. refine: passes over the texts in
    which the hidden Markov model is fitted to the model's rows. head: passes in which a head is; 0
    for no head."""

    tokens: int = 200_000
    length: int = 64
    texts: tuple[Path, ...] = ()
    corpus: tuple[str, ...] | None = None
    fit: FitSettings = field(default_factory=FitSettings)
    begin: Surrogate | None = None
    refine: int = REFINE_PASSES
    head: int = HEAD_PASSES

    @property
    def states(self) -> int:
        """H of the surrogate that is made."""
        return self.fit.states if self.begin is None else self.begin.states


@dataclass(frozen=True, eq=False)
class Distilled:
    """A surrogate with its figures. nats: a token of the held-out texts under the unigram, the
    bigram, the surrogate and the surrogate with its head, by their names. ahead: each of the
    AHEAD - 1 after the next, under the surrogate and with its head."""

    surrogate: Surrogate
    nats: Mapping[str, float]
    ahead: Mapping[str, float]


class DistilObserver(Protocol):
    """Is told how far the work is."""

    def drew(self, done: int, total: int) -> None:
        """Tokens drawn, of those that are wanted."""
        ...

    def fitted(self, done: int, total: int, nats: float) -> None:
        """Batches of texts fitted to, and the last figure on the held-out texts."""
        ...

    def ascended(self, stage: str, done: int, total: int, nats: float) -> None:
        """Batches of a stage ("refine", "head"), and its last figure on the held-out texts."""
        ...


def check_distilling(settings: Distilling, model: LanguageModel) -> Distilling:
    """The settings. Raises CallError for those that make no surrogate of the model."""
    fit = settings.fit
    if fit.kind not in KINDS:
        raise CallError(f"there is no kind `{fit.kind}`", f"one of {', '.join(KINDS)}")
    V = model.vocabulary.size
    begin = settings.begin
    if begin is not None and (begin.fingerprint, begin.vocabulary_size) != (
        model.vocabulary.fingerprint,
        V,
    ):
        raise CallError(
            f"--from is a surrogate of another vocabulary than that of {model.name}",
            "leave it out: fkdsl distil fits one",
        )
    most = min(MOST_STATES, MOST_EMISSIONS // max(V, 1))
    if not 1 <= settings.states <= most or V > MOST_TOKENS:
        raise CallError(
            f"a surrogate of {model.name}, with {V} tokens, cannot have {settings.states} states",
            f"between 1 and {most}",
        )
    for name in ("tokens", "length"):
        if getattr(settings, name) < 1:
            raise CallError(f"{name} {getattr(settings, name)} is too few", "at least 1")
    if fit.passes < 1:
        raise CallError(f"passes {fit.passes} is too few", "at least 1")
    if min(settings.refine, settings.head) < 0:
        raise CallError(f"{min(settings.refine, settings.head)} passes are too few", "0, or more")
    return settings


def sampling_of(model: LanguageModel, settings: Distilling) -> Sampling:
    """Which texts are drawn."""
    if isinstance(model, TakesAttachments) and "source" in model.kinds:
        raise CallError(
            f"{model.name} writes about a source, and no surrogate is made of such texts",
            "run without one: conditions guide the draws by masks",
        )
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
        "sample": SAMPLE,
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
    of_head = _head_tokens(engine, sampling, work)
    others = [_kept(folder, work) for folder in settings.texts]
    sample = joined([_sample(engine, sampling, settings.tokens, of_head, work, observer), *others])
    training, held_out = _split(sample, settings.fit.seed)
    unigram = unigram_of(sample.total)
    if settings.begin is None:
        hmm = _fitted(training, held_out, unigram, settings, work, observer)
    else:
        hmm = Parameters.of(settings.begin)
    if settings.refine:
        hmm = _refined(hmm, training, held_out, unigram, settings, work, observer)
    head: Head | None = None
    if settings.head:
        head = _head(hmm, of_head, training, held_out, settings, work, observer)
    surrogate = replace(hmm.surrogate(model.vocabulary.fingerprint), head=head)
    nats = {
        "unigram": unigram_nats(held_out, unigram),
        "bigram": bigram_nats(training, held_out, unigram),
    }
    ahead: dict[str, float] = {}
    nats["surrogate"], ahead["surrogate"] = nats_ahead(hmm, held_out)
    if head is not None:
        nats["head"], ahead["head"] = nats_ahead(hmm, held_out, head)
    about = _about(model, settings, sampling, training, held_out) | {
        "nats a held-out token": {name: round(n, 4) for name, n in nats.items()},
        f"nats of each of the {AHEAD - 1} after it": {
            name: round(n, 4) for name, n in ahead.items()
        },
    }
    return Distilled(replace(surrogate, about=about), nats, ahead)


def _fitted(
    training: Sample,
    held_out: Sample,
    unigram: NDArray[np.float64],
    settings: Distilling,
    work: Work,
    observer: DistilObserver,
) -> Parameters:
    """A hidden Markov model of the texts, for a filter."""
    name = f"fit-{_key(asdict(settings.fit), training)}.safetensors"
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
    return fit.counts.parameters(unigram)


def _refined(
    model: Parameters,
    training: Sample,
    held_out: Sample,
    unigram: NDArray[np.float64],
    settings: Distilling,
    work: Work,
    observer: DistilObserver,
) -> Parameters:
    """The model, fitted to rows."""
    # They need torch, and a table's file without them does not.
    from fkdsl.models.surrogate.gradient import GradientFit
    from fkdsl.models.surrogate.refining import refined, refined_model, refinement_begun

    facts = {"refine": settings.refine, "seed": settings.fit.seed, "model": _digest(model)}
    name = f"refined-{_key(facts, training)}.safetensors"
    saved = work.read(name)
    fit = GradientFit.of(saved) if saved is not None else refinement_begun(model, training, unigram)
    fit = refined(
        fit,
        model.start,
        training,
        held_out,
        settings.refine,
        settings.fit.seed,
        save=lambda fit: work.save(name, fit.tensors()),
        observer=partial(observer.ascended, "refine"),
    )
    return refined_model(fit, model.start)


def _head(
    model: Parameters,
    of_head: NDArray[np.int64],
    training: Sample,
    held_out: Sample,
    settings: Distilling,
    work: Work,
    observer: DistilObserver,
) -> Head:
    """A head for the model."""
    from fkdsl.models.surrogate.gradient import GradientFit
    from fkdsl.models.surrogate.head_fitting import head_begun, head_fitted, head_of

    facts = {"head": settings.head, "seed": settings.fit.seed, "model": _digest(model)}
    name = f"head-{_key(facts, training)}.safetensors"
    saved = work.read(name)
    fit = GradientFit.of(saved) if saved is not None else head_begun(len(model.start), training)
    fit = head_fitted(
        fit,
        model,
        training,
        held_out,
        settings.head,
        settings.fit.seed,
        save=lambda fit: work.save(name, fit.tensors()),
        observer=partial(observer.ascended, "head"),
    )
    return head_of(fit, of_head)


def _head_tokens(engine: CachedTransformer, sampling: Sampling, work: Work) -> NDArray[np.int64]:
    """(K,) the tokens that a head reads."""
    name = "tokens-of-head.safetensors"
    saved = work.read(name)
    if saved is None:
        saved = {"tokens": head_tokens(engine, sampling)}
        work.save(name, saved)
    return saved["tokens"]


def _sample(
    engine: CachedTransformer,
    sampling: Sampling,
    tokens: int,
    of_head: NDArray[np.int64],
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
            batch = draw_batch(engine, sampling, len(batches), of_head, drew)
            work.save(name, batch.tensors())
        batches.append(batch)
    return joined(batches)


def _kept(folder: Path, own: Work) -> Sample:
    """The texts that another run has kept in a folder. Raises CallError if there are none, and if
    it is the run's own folder, or of another model or other prompts."""
    work = Work(folder, own.facts)
    if folder.resolve() == own.folder.resolve():
        raise CallError(
            f"the texts of `{folder}` are the run's own", "name those of a run of another --seed"
        )
    batches: list[Sample] = []
    while (saved := work.read(f"sample-{len(batches):05}.safetensors", ("seed",))) is not None:
        batches.append(Sample(**saved))
    if not batches:
        raise CallError(
            f"there are no texts in `{folder}`", "name the FILE.work of a run with --keep"
        )
    return joined(batches)


def _split(sample: Sample, seed: int) -> tuple[Sample, Sample]:
    """(training, held out): HELD_OUT of the texts, at least one, drawn at random."""
    n = len(sample.tokens)
    order = np.random.default_rng((seed, n)).permutation(n)
    share = max(1, round(HELD_OUT * n))
    return sample.part(np.sort(order[share:])), sample.part(np.sort(order[:share]))


def _key(facts: Mapping[str, Any], training: Sample) -> str:
    """A name for what a fit depends on besides the facts of the sample."""
    texts = blake2b(training.tokens.tobytes(), digest_size=8).hexdigest()
    all_facts = sorted((dict(facts) | {"texts": texts}).items())
    return blake2b(repr(all_facts).encode(), digest_size=8).hexdigest()


def _digest(model: Parameters) -> str:
    hashed = blake2b(digest_size=8)
    for array in (model.start, model.transition, model.columns):
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _about(
    model: LanguageModel,
    settings: Distilling,
    sampling: Sampling,
    training: Sample,
    held_out: Sample,
) -> dict[str, Any]:
    described = model.describe()
    begun_from = dict(settings.begin.about) if settings.begin is not None else {}
    prompts = "fkdsl's own" if settings.corpus is None else "the lines of a corpus"
    return {
        "model": model.name,
        "digest": str(described.get("digest", "")),
        "dtype": str(described.get("dtype", "")),
        "fkdsl": VERSION,
        "kind": begun_from.get("kind", settings.fit.kind),
        "states": settings.states,
        "passes": begun_from.get("passes", settings.fit.passes),
        "passes by gradient": settings.refine,
        "passes of the head": settings.head,
        "seed": settings.fit.seed,
        "prompts": f"the empty one and {len(sampling.prompts) - 1} of {prompts}",
        "length": settings.length,
        "tokens": training.drawn,
        "held-out tokens": held_out.drawn,
    }

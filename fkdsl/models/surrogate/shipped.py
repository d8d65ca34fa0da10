"""Which surrogate a model has: the one that its user made for it, else one that ships with
fkdsl."""

from __future__ import annotations

from pathlib import Path

from fkdsl.base.kept import kept
from fkdsl.models.cache import cache_root
from fkdsl.models.interface import LanguageModel
from fkdsl.models.surrogate.files import read
from fkdsl.models.surrogate.model import Surrogate

SUFFIX = ".surrogate"
SHIPPED = {"smollm2": "smollm2.surrogate", "tiny": "tiny.surrogate"}
"""The files beside this one by the names of their models."""
TRUSTED = frozenset({"tiny"})
"""The models whose shipped file imitates them so well that `auto` takes it without a pilot. That of
smollm2 is a rough one: a prompt may tell the model what the surrogate does not know, and then most
particles go where the surrogate points (docs/lookahead.md)."""
FINGERPRINT = 8
"""Digits of a vocabulary's fingerprint in the name of a cached file."""


def cached_file(model: LanguageModel) -> Path | None:
    """The user's file for a model, in the cache folder, which may not exist. It is named by the
    digest of the model's weights, and by its vocabulary, since a byte view has the weights of its
    model. None for a model without a digest."""
    digest = model.describe().get("digest")
    if not digest:
        return None
    name = f"{digest}-{model.vocabulary.fingerprint[:FINGERPRINT]}{SUFFIX}"
    return cache_root() / "surrogates" / name


def shipped_file(model: LanguageModel) -> Path | None:
    """The file for a model that ships with fkdsl; None if there is none."""
    name = SHIPPED.get(model.name)
    return Path(__file__).parent / name if name is not None else None


@kept(1 << 24, lambda surrogate: surrogate.states * surrogate.vocabulary_size, len(SHIPPED))
def _shipped(path: Path) -> Surrogate:
    """The surrogate of a file that ships, which does not change; read once in a process."""
    return read(path)


def surrogate_for(model: LanguageModel) -> Surrogate | None:
    """The surrogate of a model: the one that its user made of its very weights, else the shipped
    one of its name, else None. Raises CallError for a file that is damaged."""
    if has_own(model):
        path = cached_file(model)
        assert path is not None
        return read(path, model.vocabulary)
    shipped = shipped_file(model)
    if shipped is None:
        return None
    surrogate = _shipped(shipped)
    # A user may give the name to another model.
    fits = surrogate.fingerprint == model.vocabulary.fingerprint
    return surrogate if fits and surrogate.vocabulary_size == model.vocabulary.size else None


def has_own(model: LanguageModel) -> bool:
    """Whether a model's surrogate is one that its user made."""
    path = cached_file(model)
    return path is not None and path.is_file()


def is_trusted(model: LanguageModel) -> bool:
    """Whether a model's surrogate, which it has, needs no pilot."""
    return model.name in TRUSTED and not has_own(model)

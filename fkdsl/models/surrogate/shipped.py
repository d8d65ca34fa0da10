"""Which surrogate a model has: the one that its user made for it, else one that ships with
fkdsl."""

from __future__ import annotations

from pathlib import Path

from fkdsl.models.cache import cache_root
from fkdsl.models.interface import LanguageModel
from fkdsl.models.surrogate.files import read
from fkdsl.models.surrogate.model import Surrogate

SUFFIX = ".surrogate"
SHIPPED = {"208625aadc11f4363029ce87432db807": "tiny.surrogate"}
"""The files beside this one by the fingerprints of their vocabularies."""


def cached_file(model: LanguageModel) -> Path | None:
    """The user's file for a model, in the cache folder, which may not exist. It is named by the
    digest of the model's weights; None for a model without one."""
    digest = model.describe().get("digest")
    return cache_root() / "surrogates" / f"{digest}{SUFFIX}" if digest else None


def shipped_file(model: LanguageModel) -> Path | None:
    """The file for a model's vocabulary that ships with fkdsl; None if there is none."""
    name = SHIPPED.get(model.vocabulary.fingerprint)
    return Path(__file__).parent / name if name is not None else None


def surrogate_for(model: LanguageModel) -> Surrogate | None:
    """The surrogate of a model: the user's of its very weights, else the shipped one of its
    vocabulary, else None.

    A shipped one serves every model of the vocabulary: of other weights it is a worse guess, and no
    answer depends on how good it is. Raises CallError for a file that is damaged.
    """
    own = cached_file(model)
    for file in (own if own is not None and own.is_file() else None, shipped_file(model)):
        if file is not None:
            return read(file, model.vocabulary)
    return None

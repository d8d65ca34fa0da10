"""Families of transformers with layers for multi-token prediction (MTP), which draft by these
layers.

model = load("./folder")                       # an MtpTransformer, if its configuration speaks of
such layers ahead = model.with_heads()                  # the same module, with the layers read
from the folder's files answer, = ahead.forward([row]) ahead.draft_log_probs([(answer.head_outputs[0], (17, 4))])
# a draft's law of the token after 17 and 4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.compat.multi_token import read_layers
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.interface import CacheSegment, ForwardResult, ForwardRow, Past
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.linear import pack_modules
from fkdsl.models.mtp_layers import MtpLayers, RunPosition, TokenRun
from fkdsl.models.tokenized import TokenizedModel


def mtp_layer_count(config: Any) -> int:
    """How many MTP layers a configuration of transformers speaks of; its files need not hold
    them."""
    found = getattr(config.get_text_config(decoder=True), "num_mtp_layers", None)
    return found if isinstance(found, int) else 0


class MtpTransformer(HuggingFaceModel):
    """A HuggingFaceModel whose configuration speaks of MTP layers."""

    _ahead: MtpDraftModel | None = None

    def with_heads(self) -> MtpDraftModel:
        """See HasHeads. The layers are read once, when they are first asked for."""
        if self._ahead is None:
            self._ahead = MtpDraftModel(self, _read_layers(self))
        return self._ahead


@dataclass(frozen=True, eq=False)
class ReadSegment:
    """A segment of the trunk, and the run of tokens that it is of."""

    trunk: CacheSegment
    run: TokenRun
    standalone: bool = False

    @property
    def length(self) -> int:
        return self.trunk.length

    @property
    def sliceable(self) -> bool:
        return self.trunk.sliceable

    @property
    def nbytes(self) -> int:
        return self.trunk.nbytes + self.run.states.nbytes + int(self.run.ids.nbytes)


class MtpDraftModel(TokenizedModel):
    """LooksAhead: a trunk and its MTP layers. `ahead` is a Place."""

    def __init__(self, trunk: HuggingFaceModel, layers: MtpLayers) -> None:
        super().__init__(trunk._texts)
        self.trunk, self.layers = trunk, layers

    @property
    def pool(self) -> KVPool | None:
        return self.trunk.pool

    @property
    def reach(self) -> int:
        return self.layers.reach

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One forward of the trunk; the layers do not run. CallError for a past
        that this model has not read itself: keys and values from a file come without the hidden
        states that the layers read."""
        befores = [self._before(row.past) for row in rows]
        bare = [ForwardRow(_of_trunk(row.past), row.tokens, row.wanted) for row in rows]
        found = self.trunk.read(bare, hidden=True)
        with torch.inference_mode():
            runs = self.layers.keep(
                [
                    (row.tokens, before, hidden)
                    for row, before, (_, hidden) in zip(rows, befores, found, strict=True)
                ]
            )
        return [
            ForwardResult(
                answer.log_probs,
                ReadSegment(answer.segment, run),
                [RunPosition(run, w + 1) for w in row.wanted],
            )
            for row, run, (answer, _) in zip(rows, runs, found, strict=True)
        ]

    def _before(self, past: Past | None) -> RunPosition | None:
        if past is None:
            return None
        if not isinstance(past.segment, ReadSegment):
            raise CallError(
                f"a prefill from a file does not hold what the layers of {self.name} for further tokens read",
                "run without the prefill, or draft in another way",
            )
        return RunPosition(past.segment.run, past.stop)

    def draft_log_probs(self, asked: Sequence[tuple[Any, tuple[int, ...]]]) -> list[NDArray[Any]]:
        """See LooksAhead."""
        if any(not 1 <= len(tokens) <= self.reach for _, tokens in asked):
            raise InternalError(f"drafts go 1 to {self.reach} tokens beyond a position")
        with torch.inference_mode():
            return self.layers.draft_log_probs(asked)


def _of_trunk(past: Past | None) -> Past | None:
    if past is None:
        return None
    assert isinstance(past.segment, ReadSegment)
    return Past(past.segment.trunk, past.stop)


def _read_layers(model: HuggingFaceModel) -> MtpLayers:
    """The layers of a module, from the folder that it was loaded from. CallError where they cannot
    be had."""
    module, n = model.module, mtp_layer_count(model.module.config)
    subject = (
        f"{model.name} says that it has {n} layer{'s' * (n != 1)} for tokens beyond the next one"
    )
    help = "draft by `ngram`, or by a smaller model with the same vocabulary"
    if not Path(folder := module.config.name_or_path).is_dir():
        raise CallError(f"{subject}, and there is no folder to read them from: {folder!r}", help)
    try:
        found = read_layers(module, n)
        if model.precision is not None:
            pack_modules(found.layers, model.precision)
        return MtpLayers(found)
    except Exception as error:
        # The library raises what it meets: missing tensors, a configuration that says too little, a
        # cache of a kind that holds no keys and values.
        raise CallError(f"{subject}, and they cannot be read: {_reason(error)}", help) from error


def _reason(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    if "weights are missing" in said:
        return "the files lack some or all of their tensors"
    if "mismatched" in said:
        return "their tensors are of another shape than the configuration says"
    return said.splitlines()[0][:300]

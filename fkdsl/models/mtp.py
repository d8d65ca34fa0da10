"""Families of transformers with layers for multi-token prediction (MTP), which draft by these
layers.

    model = load_pretrained("./folder")      # an MtpTransformer, if its configuration names layers
    draft_model = model.with_heads()         # the same module, with the layers read from the folder
    result, = draft_model.forward([row])
    draft_model.draft_log_probs([(result.head_outputs[0], (17, 4))])    # the law after 17 and 4
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat.multi_token import read_layers
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.interface import CacheSegment, ForwardResult, ForwardRow, Past
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.linear import pack_modules
from fkdsl.models.mtp_layers import MtpLayers, RunPosition, TokenRun
from fkdsl.models.tokenized import TokenizedModel


def mtp_layer_count(config: Any) -> int:
    """How many MTP layers a configuration of transformers names. The files may lack them."""
    layers = getattr(config.get_text_config(decoder=True), "num_mtp_layers", None)
    return layers if isinstance(layers, int) else 0


class MtpTransformer(HuggingFaceModel):
    """A HuggingFaceModel whose configuration names MTP layers."""

    _draft_model: MtpDraftModel | None = None

    def with_heads(self) -> MtpDraftModel:
        """See HasHeads. The first call reads the layers."""
        if self._draft_model is None:
            self._draft_model = MtpDraftModel(self, _read_layers(self))
        return self._draft_model


@dataclass(frozen=True, eq=False)
class ReadSegment:
    """A segment of the trunk with the MTP layers' data for its tokens (mtp_layers.TokenRun)."""

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
    """A RunsHeads model: a trunk and its MTP layers. head_outputs: a RunPosition each."""

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
        """See LanguageModel. One forward of the trunk; the MTP layers do not run. Raises CallError
        for a past that this model has not read itself: keys and values from a file come without
        the hidden states that the layers read."""
        befores = [self._before(row.past) for row in rows]
        trunk_rows = [ForwardRow(_trunk_past(row.past), row.tokens, row.wanted) for row in rows]
        results = self.trunk.read(trunk_rows, hidden=True)
        with torch.inference_mode():
            runs = self.layers.keep(
                [
                    (row.tokens, before, hidden)
                    for row, before, (_, hidden) in zip(rows, befores, results, strict=True)
                ]
            )
        return [
            ForwardResult(
                result.log_probs,
                ReadSegment(result.segment, run),
                [RunPosition(run, w + 1) for w in row.wanted],
            )
            for row, run, (result, _) in zip(rows, runs, results, strict=True)
        ]

    def _before(self, past: Past | None) -> RunPosition | None:
        if past is None:
            return None
        if not isinstance(past.segment, ReadSegment):
            raise CallError(
                f"a prefill from a file does not hold what the layers of {self.name} for further "
                "tokens read",
                "run without the prefill, or draft in another way",
            )
        return RunPosition(past.segment.run, past.stop)

    def draft_log_probs(self, drafts: Sequence[tuple[Any, tuple[int, ...]]]) -> list[NDArray[Any]]:
        """See RunsHeads."""
        if any(not 1 <= len(tokens) <= self.reach for _, tokens in drafts):
            raise InternalError(f"drafts go 1 to {self.reach} tokens beyond a position")
        with torch.inference_mode():
            return self.layers.draft_log_probs(drafts)


def _trunk_past(past: Past | None) -> Past | None:
    if past is None:
        return None
    assert isinstance(past.segment, ReadSegment)
    return Past(past.segment.trunk, past.stop)


def _read_layers(model: HuggingFaceModel) -> MtpLayers:
    """The MTP layers of a module, from the folder that it was loaded from. Raises CallError if they
    cannot be read."""
    module, n = model.module, mtp_layer_count(model.module.config)
    subject = (
        f"{model.name} says that it has {n} layer{'s' * (n != 1)} for tokens beyond the next one"
    )
    help = "draft by `ngram`, or by a smaller model with the same vocabulary"
    if not Path(folder := module.config.name_or_path).is_dir():
        raise CallError(f"{subject}, and there is no folder to read them from: {folder!r}", help)
    try:
        library_model = read_layers(module, n)
        if model.precision is not None:
            pack_modules(library_model.layers, model.precision)
        return MtpLayers(library_model)
    except Exception as error:
        # The library raises many kinds: for missing tensors, an incomplete configuration, a cache
        # without keys and values.
        raise CallError(f"{subject}, and they cannot be read: {_reason(error)}", help) from error


def _reason(error: Exception) -> str:
    message = str(error).strip() or type(error).__name__
    if "weights are missing" in message:
        return "the files lack some or all of their tensors"
    if "mismatched" in message:
        return "their tensors are of another shape than the configuration says"
    return message.splitlines()[0][:300]

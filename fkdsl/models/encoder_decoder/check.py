"""What an encoder-decoder's rows are compared with when it is loaded (fkdsl.models.checked): the
library's own, one text at a time and without a cache."""

from __future__ import annotations

from typing import Any

import torch

from fkdsl.models.attachments import Attachment
from fkdsl.models.checked import ReferenceRows, probes
from fkdsl.models.encoder_decoder.texts import SourceTexts
from fkdsl.models.tokenized import not_a_number

SOURCES = ("a b", "a longer source than the other")
"""Sources of different lengths, so that a batch pads one of them."""


def sourced_reference_rows(
    module: Any, name: str, sources: SourceTexts, longest: int | None
) -> ReferenceRows:
    """The rows of a module after the probes with one source, and after the first with another; in
    the place of a row after a source alone, zeros. Raises CallError if they are NaN."""
    size = module.get_output_embeddings().weight.shape[0]
    one, two = probes(size, None if longest is None else longest - len(sources.begin) - 1)
    contexts = [(SOURCES[0], one), (SOURCES[0], two), (SOURCES[1], one)]
    reference = {}
    for text, tokens in contexts:
        source = Attachment.source(text)
        ids = (*sources.begin, *tokens)
        logits = whole_logits(module, sources.ids(source, name), [ids])[0]
        rows = torch.log_softmax(logits.double(), dim=-1)
        if rows[:, 0].isnan().any():
            raise not_a_number(module.state_dict())
        reference[(source, *ids)] = torch.cat((torch.zeros(1, size), rows.cpu())).numpy()
    return reference


def whole_logits(module: Any, source: list[int], texts: list[tuple[int, ...]]) -> torch.Tensor:
    """(B, L, V) the logits of decoder texts of one length after a source, by the library's module
    without a cache."""
    with torch.inference_mode():
        ids = torch.tensor([source] * len(texts), device=module.device)
        own = torch.tensor(texts, device=module.device)
        logits: torch.Tensor = module(
            input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=own,
            decoder_attention_mask=torch.ones_like(own), use_cache=False,
        ).logits  # fmt: skip
    return logits

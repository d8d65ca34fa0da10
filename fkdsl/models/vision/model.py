"""Image-text-to-text models of transformers as LanguageModels: any family that decodes token by
token with a cache of keys and values.

    ids = model.start_with(("A photo of ", cat, "is"))
    ids[0].kind == "prompt"        # the unit: the prompt up to its last image (unit.py)

A row's first id may be a unit. The module reads it in one forward, with the images that its own
processor made ready; further rows with the same unit find it in the cache. Everything after it is
text, and goes the way of every other model (fkdsl.models.huggingface), rows without images too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.attachments import Attachment, Kind, Part
from fkdsl.models.compat.caches import attention_cache
from fkdsl.models.huggingface import HuggingFaceModel
from fkdsl.models.interface import ForwardResult, ForwardRow, LogProbRows, Past
from fkdsl.models.kv_batch import store
from fkdsl.models.kv_pool import table_of
from fkdsl.models.tokenized import ModelTexts, row_log_probs
from fkdsl.models.vision.processing import Inputs, Prompts
from fkdsl.models.vision.tower import Encoder
from fkdsl.models.vision.unit import UnitFacts, UnitSegment, facts_of

FIRST_POSITIONS: Mapping[str, int] = {"paligemma": 1}
"""The position of the first token, of families that do not count from 0."""
ALONG_TOKENS = (
    "attention_mask",
    "token_type_ids",
    "mm_token_type_ids",
    "image_attention_mask",
    "cross_attention_mask",
)
"""The inputs that have an entry for each token."""

ReadUnit = tuple[UnitSegment, LogProbRows]
"""The segment of a unit, and (1, V) the log-probabilities after it."""


class VisionModel(HuggingFaceModel):
    """A LanguageModel over an image-text-to-text module. prompts: its processor. whole: whether the
    module attends both ways within a prompt, so that all of it is one unit."""

    kinds: frozenset[Kind] = frozenset({"image"})

    def __init__(
        self,
        module: Any,
        texts: ModelTexts,
        prompts: Prompts,
        precision: str | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(module, texts, precision)
        if not self.plain_attention:
            raise CallError(
                f"{self.name} keeps more than keys and values of its tokens, and such models are "
                "not run with images",
                "use a model whose layers are attention alone",
            )
        self.prompts, self.whole = prompts, whole
        self.encoder = Encoder(module)
        self.encoder_work = self.encoder.work
        self._first = FIRST_POSITIONS.get(module.config.model_type, 0)

    # ----------------------------------------------------------------- prompts

    def start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        """See TakesAttachments."""
        return self._begun([p for p in parts if p != ""], "", False)

    def chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        """See TakesAttachments."""
        return self._begun([p for p in parts if p != ""], system, True)

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """See LanguageModel. The template is the processor's, whose turns are lists of parts."""
        if not self.prompts.has_template:
            return super().chat(user, system)
        return tuple(self._in_range(self.prompts.chat(user, system)))

    def _begun(self, parts: list[Part], system: str, is_chat: bool) -> tuple[int, ...]:
        images = [i for i, p in enumerate(parts) if isinstance(p, Attachment)]
        for i in images:
            if parts[i].kind != "image":  # type: ignore[union-attr]
                raise CallError(f"{self.name} reads images, and no source", "use prompt(text)")
        if not images:
            text = "".join(map(str, parts))
            return self.chat(text, system) if is_chat else self.start(text)
        inputs = self.prompts.inputs(parts, system, is_chat)
        if not self.whole:
            before = parts[: images[-1] + 1]
            unit = self.prompts.inputs(before, system, is_chat)
            if unit.ids[: unit.end] == inputs.ids[: inputs.end]:
                begin = Attachment.prompt(before, system, is_chat)
                return (begin, *self._in_range(inputs.ids[inputs.end :]))
        return (Attachment.prompt(parts, system, is_chat),)

    def _in_range(self, ids: Sequence[int]) -> Sequence[int]:
        if any(i >= self.vocabulary.size for i in ids):
            raise CallError(
                f"the processor of {self.name} writes a token that the model does not have",
                "its processor and its weights are of different models",
            )
        return ids

    # ----------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. Each unit by itself, then one batch of what follows."""
        units: dict[int, ReadUnit] = {}
        following: list[ForwardRow] = []
        for row in rows:
            if any(i < 0 for i in row.tokens[1:]):
                raise InternalError("an image stands in the midst of a context")
            if row.tokens and row.tokens[0] < 0:
                begin = row.tokens[0]
                if row.past is not None or not isinstance(begin, Attachment) or not begin.parts:
                    raise CallError(
                        f"{self.name} is asked for an image that is not known here",
                        "begin the prompt anew",
                    )
                if begin not in units:
                    units[begin] = self._read_unit(begin)
                if len(row.tokens) == 1:
                    continue
                wanted = tuple(w - 1 for w in row.wanted if w > 0)
                past = Past(units[begin][0], 1)
                row = ForwardRow(past, row.tokens[1:], wanted)
            self._verify_length(len(table_of(row.past)) + len(row.tokens))
            following.append(row)
        read = iter(super().forward(following) if following else ())
        return [
            self._with_unit(row, units[row.tokens[0]], read)
            if row.tokens and row.tokens[0] < 0
            else next(read)
            for row in rows
        ]

    def _with_unit(self, row: ForwardRow, unit: ReadUnit, read: Any) -> ForwardResult:
        """The result of a row that begins with a unit. read: gives the result of what follows it,
        if anything does."""
        segment, log_probs = unit
        after = log_probs if 0 in row.wanted else log_probs[:0]
        if len(row.tokens) == 1:
            return ForwardResult(after, segment)
        result: ForwardResult = next(read)
        joined = UnitSegment.joined(segment, result.segment)  # type: ignore[arg-type]
        both: Any = np.concatenate([after, result.log_probs])
        return result._replace(log_probs=both, segment=joined, sums=None)

    def _read_unit(self, begin: Attachment) -> ReadUnit:
        """The unit's forward, by the module's own way of reading a prompt."""
        inputs = self.prompts.inputs(begin.parts, begin.system, begin.is_chat)
        all_of_it = self.whole or isinstance(begin.parts[-1], str)
        n = len(inputs.ids) if all_of_it else inputs.end
        self._verify_length(n)
        cache = attention_cache()
        with torch.inference_mode():
            ids = self._tensor([inputs.ids[:n]])
            output = self.module(
                input_ids=ids, use_cache=True, **{self._cache_name: cache}, **self._given(inputs, n)
            )
            row = ForwardRow(None, (0,), (0,))
            (log_probs,) = row_log_probs(output.logits[:, -1], [row])
            facts = self.unit_facts(output, cache, inputs, n)
            layout, pool = self._kept_in(cache)
            (kept,) = store(cache.layers, layout, pool, [None], 0, [n])
        segment = UnitSegment(pool, kept.hand_over(), facts)
        return segment, log_probs

    def _given(self, inputs: Inputs, n: int) -> dict[str, Any]:
        """What the module takes beside the first n ids."""
        length = len(inputs.ids)
        given = {}
        for name, value in inputs.tensors.items():
            if name in ALONG_TOKENS and value.shape[1] == length:
                value = value[:, :n]
            if value.is_floating_point():
                value = value.to(self.module.dtype)
            given[name] = value.to(self.device)
        return given

    def unit_facts(self, output: Any, cache: Any, inputs: Inputs, n: int) -> UnitFacts:
        """What later forwards need of a unit, from the output of its own."""
        model = getattr(self.module, "model", self.module)
        deltas = getattr(model, "rope_deltas", None)
        if deltas is None:
            return UnitFacts(self._first)
        # The module would use them for the next text that it is given, whichever that is.
        model.rope_deltas = None
        return UnitFacts(self._first + int(deltas.view(-1)[0]))

    def first_positions(self, pasts: Sequence[Past | None]) -> list[int]:
        """See HuggingFaceModel."""
        found = [facts_of(past) for past in pasts]
        return [
            len(table_of(past)) + (facts.positions if facts else self._first)
            for past, facts in zip(pasts, found, strict=True)
        ]

    def _verify_length(self, length: int) -> None:
        if self.max_length is not None and length > self.max_length:
            raise CallError(
                f"this context would have {length} tokens, those of its images among them; "
                f"{self.name} reads at most {self.max_length}",
                "give smaller or fewer images, or bound the text by max_tokens",
            )


class PaliGemmaVision(VisionModel):
    """PaliGemma: the whole prompt is one unit, and what is no prompt is the causal suffix."""

    def beside_tokens(self, rows: Sequence[ForwardRow], length: int) -> dict[str, Any]:
        """Marks tokens as the suffix. Without the marks, the library attends both ways within a
        text that has no image (transformers 5.24)."""
        ones = torch.ones((max(len(rows), 1), length), dtype=torch.long, device=self.module.device)
        return {"token_type_ids": ones}

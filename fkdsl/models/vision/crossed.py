"""Families whose text looks at images by cross-attention, as Flamingo's does (Alayrac et al.
2022): the images are not among the tokens, and every later forward needs them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers.models.idefics.modeling_idefics import IdeficsBaseModelOutputWithPast

from fkdsl.models.compat.caches import attention_layer, kept_by
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.kv_pool import table_of
from fkdsl.models.vision.model import VisionModel
from fkdsl.models.vision.processing import Inputs
from fkdsl.models.vision.unit import UnitFacts, facts_of

OLD_IDEFICS = "image_outputs" not in getattr(
    IdeficsBaseModelOutputWithPast, "__dataclass_fields__", {}
)
"""Whether this release of transformers (5.16 does) gives and takes Idefics' images with a dimension
for the rows of a batch."""


class IdeficsVision(VisionModel):
    """Idefics: gated cross-attention in between the layers, to what a Perceiver resampler makes of
    each image. A token sees the image before it."""

    def unit_facts(self, output: Any, cache: Any, inputs: Inputs, n: int) -> UnitFacts:
        if OLD_IDEFICS:
            states = output.image_hidden_states[0]  # (images, vectors, width), resampled
        else:
            states = output.image_outputs.last_hidden_state  # (images, patches, width)
            if self.module.config.use_resampler:
                states = self.module.model.perceiver_resampler(states)
        seen = inputs.tensors["image_attention_mask"][0, n - 1]  # (images,)
        return UnitFacts(self._first, {"states": states, "seen": seen.to(self.device)})

    def beside_tokens(self, rows: Sequence[ForwardRow], length: int) -> dict[str, Any]:
        """The images of each row, padded to as many as the row with the most has; a row without
        images sees none of its padding."""
        looks = [facts.looks if (facts := facts_of(row.past)) else {} for row in rows] or [{}]
        most = max(len(look["states"]) if look else 1 for look in looks)
        shape = self._shape()
        states = torch.zeros(
            (len(looks), most, *shape), dtype=self.module.dtype, device=self.module.device
        )
        seen = torch.zeros((len(looks), length, most), dtype=torch.long, device=self.module.device)
        for i, look in enumerate(looks):
            if look:
                states[i, : len(look["states"])] = look["states"]
                seen[i, :, : len(look["seen"])] = look["seen"]
        name = (
            "perceiver_embeddings"
            if self.module.config.use_resampler
            else "image_encoder_embeddings"
        )
        given = states if OLD_IDEFICS else states.flatten(0, 1)
        return {name: given, "image_attention_mask": seen}

    def _shape(self) -> tuple[int, int]:
        """(vectors of an image, their width)."""
        config = self.module.config
        width = config.vision_config.embed_dim
        if config.use_resampler:
            return config.perceiver_config.resampler_n_latents, width
        side = config.vision_config.image_size // config.vision_config.patch_size
        return side * side + 1, width


class MllamaVision(VisionModel):
    """Mllama: some layers attend to the images alone. Their keys and values are computed once for
    a unit, and are those of every row that begins with it."""

    @property
    def other_layers(self) -> Collection[int]:  # type: ignore[override]
        return tuple(self.module.config.get_text_config().cross_attention_layers)

    def unit_facts(self, output: Any, cache: Any, inputs: Inputs, n: int) -> UnitFacts:
        looks = {"mask": inputs.tensors["cross_attention_mask"][0, n - 1].to(self.device)}
        for number in self.other_layers:
            kept = kept_by(cache.layers[number])
            assert kept is not None
            looks[f"keys{number}"], looks[f"values{number}"] = kept
        return UnitFacts(self._first, looks)

    def _attention(
        self, rows: Sequence[ForwardRow], hidden: bool
    ) -> list[tuple[ForwardResult, torch.Tensor | None]]:
        """One batch for each number of images: the module leaves the layers out that have none to
        look at, for all rows of a batch or for none."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            facts = facts_of(row.past)
            groups[tuple(facts.looks["mask"].shape) if facts else ()].append(i)
        results: dict[int, tuple[ForwardResult, torch.Tensor | None]] = {}
        for members in groups.values():
            read = super()._attention([rows[i] for i in members], hidden)
            results.update(zip(members, read, strict=True))
        return [results[i] for i in range(len(rows))]

    def beside_tokens(self, rows: Sequence[ForwardRow], length: int) -> dict[str, Any]:
        looks = [facts.looks for row in rows if (facts := facts_of(row.past))]
        if not looks:
            return {}
        mask = torch.stack([look["mask"] for look in looks])  # (rows, images, tiles)
        # From the beginning of the context on: the module takes the part of the new tokens.
        whole = max(len(table_of(row.past)) for row in rows) + length
        return {"cross_attention_mask": mask[:, None].expand(-1, whole, -1, -1)}

    def fill_other_layers(self, cache: Any, rows: Sequence[ForwardRow]) -> None:
        looks = [facts.looks for row in rows if (facts := facts_of(row.past))]
        for number in self.other_layers if looks else ():
            both = [
                torch.cat([look[f"{part}{number}"] for look in looks])
                for part in ("keys", "values")
            ]
            cache.layers[number] = attention_layer((both[0], both[1]))

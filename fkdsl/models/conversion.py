"""The conversion of a gguf file into a folder of safetensors and tokenizer files, done once so that
later loads are fast.

Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path

from fkdsl.base.errors import ModelUnavailable
from fkdsl.models.compat.quiet import quiet_transformers
from fkdsl.models.progress import Progress


def convert_gguf(gguf: Path, content: Path, progress: Progress) -> None:
    """Writes config.json, model.safetensors in float32, and the tokenizer with its chat template
    into `content`.

    float32, though it is the largest: a de-quantised value is scale * level + offset with the scale
    and offset in float16, a product of more bits than float16 (41 % of SmolLM2's values change) or
    bfloat16 (79 %) can hold. The cached model is then exactly the one in the gguf file.
    """
    with progress(f"converting {gguf.name}, once", None):
        _convert(gguf, content)


def _convert(gguf: Path, content: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        if not tokenizer.chat_template:
            raise ModelUnavailable(f"{gguf.name} has no chat template")
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32
        )
        # save_pretrained refuses a model with these marks of quantisation, though its weights are
        # plain float32 by now.
        for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
            if hasattr(owner, name):
                delattr(owner, name)
        model.save_pretrained(str(content), max_shard_size="20GB")
        tokenizer.save_pretrained(str(content))

"""Model folders that were damaged: configuration, tokenizer, chat template and weights of a tiny
random Llama."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.fuzzing.traces import damaged_value

PROGRAM = """
model "./model"

program main() -> str:
    lm = {prompt}
    s ~ text(lm, max_tokens=3)
    return s
"""
TEMPLATES = (
    "{{ messages }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ 'x' * 10**10 }}",
    "{{ ''.__class__.__mro__ }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(99) %}{% endfor "
    "%}{% endfor %}{% endfor %}",
    "{{ nosuch.name }}",
    "{% if %}",
    "{{ raise_exception('\x1b[31mno') }}",
    "{% include '/etc/passwd' %}",
    "",
)


@cache
def whole() -> Path:
    """A folder with the model, written as anyone would write one."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = Path(tempfile.mkdtemp()) / "model"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", bos_token="<begin>"
    )
    fast.chat_template = "{% for m in messages %}<begin>{{ m['content'] }}<end>{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    ends = {"bos_token_id": fast.bos_token_id, "eos_token_id": fast.eos_token_id}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(fast), num_key_value_heads=1, **shape, **ends)
    ).save_pretrained(folder)
    return folder


def damage(rng: random.Random, path: Path) -> None:
    """One change to one file of the model."""
    data = path.read_bytes()
    match rng.randrange(6):
        case 0 | 1 | 2 if path.suffix == ".json":
            path.write_text(json.dumps(damaged_value(rng, json.loads(data))), "utf-8")
        case 0 | 3:
            at = rng.randrange(min(len(data), 4000) + 1)
            path.write_bytes(data[:at] + rng.randbytes(rng.choice((1, 4, 30))) + data[at + 1 :])
        case 4:
            path.write_bytes(
                rng.choice((b"", b"[" * 100_000, data[: len(data) // 2], b'{"a":' * 100_000))
            )
        case _:
            path.unlink()


def case(rng: random.Random, folder: Path) -> list[str]:
    """A damaged model and a run on it."""
    shutil.copytree(whole(), folder / "model", dirs_exist_ok=True)
    if rng.random() < 0.2:
        (folder / "model" / "chat_template.jinja").write_text(rng.choice(TEMPLATES), "utf-8")
    else:
        damage(rng, rng.choice(sorted(p for p in (folder / "model").iterdir() if p.is_file())))
    prompt = rng.choice(('prompt("ab")', 'chat(user="hi")'))
    (folder / "case.fk").write_text(PROGRAM.format(prompt=prompt), "utf-8")
    return ["run", "case.fk", "--particles", "3", "--timeout", "2"]

"""The ids of an encoder-decoder's sources and prompts, by its own tokenizer.

A source is encoded with the special tokens that its tokenizer puts around it, such as T5's `</s>`.
Its text becomes no special token, but for gaps to be filled in: a tokenizer's mask token and T5's
`<extra_id_0>`, which stand in sources as these models were trained on them. A context begins with
the token that the decoder starts with, and the one that it must write first, where the model's
configuration says so (the language of a translation, BART's `<s>`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment, Part
from fkdsl.models.chat import templated
from fkdsl.models.plain_text import PlainText
from fkdsl.models.tokenized import ModelTexts

MOST_SOURCE = 4096
"""Tokens of a source at most, where the model's positions are no bound: an encoder's attention
takes memory by their square."""
_GAP = re.compile(r"<extra_id_\d+>")


@dataclass(frozen=True)
class SourceTexts:
    """How a model's sources and prompts become ids. source: of a source's text; chat: of a source
    that is a chat, (user, system); begin: the ids before a prompt's text; longest: tokens of a
    source at most."""

    source: Callable[[str], Sequence[int]]
    chat: Callable[[str, str], Sequence[int]] | None
    begin: tuple[int, ...]
    longest: int

    def ids(self, attachment: Attachment, name: str) -> list[int]:
        """The ids that the encoder reads. Raises CallError for more than `longest`, or none."""
        if attachment.kind == "prompt":
            if self.chat is None:
                raise CallError(f"{name} has no chat template", "use prompt(..., source=...)")
            ids = list(self.chat("".join(map(str, attachment.parts)), attachment.system))
        else:
            ids = list(self.source(attachment.text))
        if len(ids) > self.longest:
            raise CallError(
                f"this source has {len(ids):,} tokens; {name} reads at most {self.longest:,}",
                "shorten it, or give its parts to contexts of their own",
            )
        if not ids:
            raise CallError(f"{name} cannot read an empty source", "give the source some text")
        return ids


def reads_source(config: Any) -> bool:
    """Whether a configuration is of a model that reads a source text and writes another."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    return (
        bool(getattr(config, "is_encoder_decoder", False))
        and type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    )


def sourced_texts(module: Any, tokenizer: Any, texts: ModelTexts) -> tuple[ModelTexts, SourceTexts]:
    """The texts of an encoder-decoder, and how its sources and prompts become ids. texts: as its
    configuration and tokenizer give them for any model."""
    encode = texts.encode
    assert isinstance(encode, PlainText)
    longest = None if relative_positions(module.config) else texts.max_length
    sources = _source_texts(module, tokenizer, texts.name, encode)
    facts = texts.facts | {"reads": f"a source of at most {sources.longest:,} tokens"}
    # The source is one more in a context's length.
    longest = longest if longest is None else longest + 1
    return replace(texts, max_length=longest, prefix=(), chat=None, facts=facts), sources


def relative_positions(config: Any) -> bool:
    """Whether a decoder's attention uses differences of positions alone, as T5's does."""
    return hasattr(config, "relative_attention_num_buckets")


def _source_texts(module: Any, tokenizer: Any, name: str, encode: PlainText) -> SourceTexts:
    before, after = _frame(tokenizer)
    gaps = _gaps(tokenizer)

    def source(text: str) -> list[int]:
        parts = re.split(f"({'|'.join(map(re.escape, gaps))})", text) if gaps else [text]
        ids = [*before]
        for part in parts:
            if part in gaps:
                ids.append(gaps[part])
            elif part:
                # A source is read alone, so it may hold characters that T5's vocabulary lacks: `{`.
                read = encode.start if len(ids) == len(before) else encode
                ids += read(part, unknown=True)
        return [*ids, *after]

    return SourceTexts(
        source,
        (lambda user, system: templated(tokenizer, name, user, system, encode))
        if getattr(tokenizer, "chat_template", None)
        else None,
        decoder_start(module, tokenizer),
        _longest_source(module.config),
    )


def decoder_start(module: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids before a decoder's text: its start token, and the one that it must write first."""

    def configured(name: str) -> int | None:
        for config in (module.generation_config, module.config, module.config.get_text_config()):
            value = getattr(config, name, None)
            if isinstance(value, int):
                return value
        return None

    start = configured("decoder_start_token_id")
    if start is None:
        start = configured("bos_token_id")
    if start is None:
        raise CallError(
            "its configuration names no token that the decoder starts with",
            "set decoder_start_token_id in its config.json",
        )
    first = configured("forced_bos_token_id")
    return (start,) if first is None else (start, first)


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a source."""
    plain, framed = (
        list(tokenizer("a", add_special_tokens=flag)["input_ids"]) for flag in (False, True)
    )
    for at in range(len(framed) - len(plain) + 1):
        if framed[at : at + len(plain)] == plain:
            return framed[:at], framed[at + len(plain) :]
    return [], []


def _gaps(tokenizer: Any) -> dict[str, int]:
    """The tokens that stand for what is left out of a source, by their spelling."""
    gaps = {
        str(token.content): i
        for i, token in tokenizer.added_tokens_decoder.items()
        if _GAP.fullmatch(str(token.content))
    }
    if isinstance(mask := getattr(tokenizer, "mask_token", None), str):
        gaps[mask] = int(tokenizer.mask_token_id)
    return gaps


def _longest_source(config: Any) -> int:
    """Tokens of a source at most."""
    encoder = getattr(config, "encoder", config)
    for name in ("max_encoder_position_embeddings", "max_position_embeddings"):
        longest = getattr(encoder, name, None)
        if isinstance(longest, int) and longest > 0:
            return min(longest, MOST_SOURCE)
    return MOST_SOURCE


def is_source(attachment: Attachment) -> bool:
    """Whether an encoder-decoder can read it: a source text, or a chat of texts alone."""
    return attachment.kind == "source" or (
        attachment.is_chat and all(isinstance(part, str) for part in attachment.parts)
    )


def split_parts(parts: Sequence[Part], name: str) -> tuple[Attachment, str]:
    """The source and the text of a prompt's parts. Raises CallError unless there is one source, and
    it is the first part."""
    first, *rest = parts or ("",)
    if not isinstance(first, Attachment) or not is_source(first):
        raise CallError(f"{name} reads a source, and is given none", "write source=...")
    if any(isinstance(part, Attachment) for part in rest):
        raise CallError(f"{name} reads one source", "make one text of them")
    return first, "".join(map(str, rest))

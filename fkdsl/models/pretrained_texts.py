"""The texts of a tokenizer of transformers: its vocabulary, and how prompts and chats are read."""

from __future__ import annotations

from typing import Any

from fkdsl.models.chat import templated
from fkdsl.models.plain_text import PlainText
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.tokenizer import vocabulary_of


def texts_of_tokenizer(
    tokenizer: Any, config: Any, ends: set[int], size: int, name: str, facts: dict[str, Any]
) -> ModelTexts:
    """The ModelTexts of a tokenizer and a configuration. ends: tokens that end a text, besides
    those of the two; size: of the vocabulary."""
    ends = ends | token_ids(config.eos_token_id)
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    plain, framed = (tokenizer("a", add_special_tokens=flag)["input_ids"] for flag in (False, True))
    longest = getattr(config, "max_position_embeddings", None)
    vocabulary = vocabulary_of(tokenizer, size, ends)
    encode = PlainText(tokenizer.backend_tokenizer, vocabulary, name)
    return ModelTexts(
        vocabulary,
        encode,
        name,
        begin=encode.start,
        bos=tokenizer.bos_token_id
        if tokenizer.bos_token_id is not None
        else next(iter(sorted(ends)), None),
        prefix=framed[: len(framed) - len(plain)] if framed[-len(plain) :] == plain else [],
        chat=lambda user, system: templated(tokenizer, name, user, system, encode),
        max_length=longest if isinstance(longest, int) and longest > 0 else None,
        facts=facts,
    )


def token_ids(value: Any) -> set[int]:
    """The ids that a configuration gives as a number, as a list, or not at all."""
    return (
        set() if value is None else set(value) if isinstance(value, list | tuple) else {int(value)}
    )

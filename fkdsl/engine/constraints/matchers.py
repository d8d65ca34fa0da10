"""llguidance's matchers: a vocabulary as llguidance asks for it, a grammar compiled, and why one is
refused.

Everything that fkdsl asks of the library's compiler passes here.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from fkdsl.models.vocabulary import Vocabulary

UNFORCED = '%llguidance {"no_forcing": true}\n'
"""Else llguidance allows a forced text in one tokenisation only, the tokenizer's own; the model may
write it in any."""
LONGEST_TOKEN = 1_000
"""Bytes of a token that llguidance's tree of tokens can hold (it has ten bits for the depth);
longer ones are fed to it byte by byte."""
BYTE_VOCABULARY = Vocabulary(tuple(bytes([b]) for b in range(256)), frozenset())


class _Tokens:
    """A vocabulary as llguidance asks for it. Tokens without text, and those too long for it, are
    marked special; behind them stand an end of our own, so that ours are decided here, and every
    byte, so that a matcher can be fed a part of a token, or one that is too long."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        unseen = {i for i, raw in enumerate(vocabulary.tokens) if not 0 < len(raw) <= LONGEST_TOKEN}
        self.tokens = [
            b"<|%d|>" % i if i in unseen else raw for i, raw in enumerate(vocabulary.tokens)
        ]
        self.tokens += [b"<|end|>", *(bytes([b]) for b in range(256))]
        self.eos_token_id = vocabulary.size
        self.special_token_ids = [*sorted(unseen), vocabulary.size]
        self.first_byte = vocabulary.size + 1

    def __call__(self, text: bytes | str) -> list[int]:
        return [self.first_byte + b for b in (text.encode() if isinstance(text, str) else text)]


@lru_cache(maxsize=8)
def tokenizer(vocabulary: Vocabulary) -> Any:
    """llguidance's tokenizer of a vocabulary."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Tokens(vocabulary)), eos_token=[vocabulary.size])


def json_grammar(schema: Any) -> str:
    """The grammar of the JSON texts of a schema, as llguidance reads it."""
    return f"start: %json {json.dumps(schema)}\n{UNFORCED}"


def new_matcher(grammar: str, vocabulary: Vocabulary) -> Any:
    """A matcher at the beginning of a text. Raises ValueError where llguidance cannot read the
    grammar; where it cannot compile it, the matcher says why (`compile_error`)."""
    from llguidance import LLMatcher

    return LLMatcher(tokenizer(vocabulary), LLMatcher.grammar_from_lark(grammar), log_level=0)


def compile_error(grammar: str) -> str:
    """Why llguidance cannot follow a grammar, in its own words; "" if it can."""
    return examined(grammar)[0]


def examined(grammar: str) -> tuple[str, tuple[str, ...]]:
    """(why llguidance cannot follow a grammar or "", what it warns of)."""
    try:
        made = new_matcher(grammar, BYTE_VOCABULARY)
    except ValueError as error:
        return str(error) or "not read", ()
    first = str(made.get_error()).strip().partition("\n")[0]
    return first.rpartition("failed to compile JSON schema: ")[2], tuple(
        map(str, made.get_grammar_warnings())
    )

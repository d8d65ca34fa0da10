"""llguidance's matchers: the library's tokenizer of a vocabulary, its compiled grammars, and its
reasons to refuse one.

Every use of the library's compiler goes through this module.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from fkdsl.base.deadline import check
from fkdsl.models.vocabulary import Vocabulary

UNFORCED = '%llguidance {"no_forcing": true}\n'
"""Without this line llguidance allows a text that is forced in one tokenisation only, its own; a
model may write it in any."""
LONGEST_TOKEN = 1_000
"""Most bytes of a token in llguidance's tree of tokens, which has ten bits for the depth; longer
tokens are fed to a matcher byte by byte."""
BYTE_VOCABULARY = Vocabulary(tuple(bytes([b]) for b in range(256)), frozenset())


class _Tokens:
    """A vocabulary in the form that llguidance takes. Tokens without text and tokens that are too
    long for it are marked as special. After the vocabulary's tokens come an end of our own, since
    this package decides about the vocabulary's ends, and all single bytes, by which a matcher can
    be fed a part of a token or one that is too long."""

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
    """The grammar of the JSON texts of a schema, in llguidance's dialect."""
    return f"start: %json {json.dumps(schema)}\n{UNFORCED}"


def new_matcher(grammar: str, vocabulary: Vocabulary) -> Any:
    """A matcher at the beginning of a text. Raises ValueError if llguidance cannot read the
    grammar; if it cannot compile it, the matcher holds the reason (`compile_error`)."""
    from llguidance import LLMatcher

    check()  # one compilation is one call of the library, which its own limits bound
    return LLMatcher(tokenizer(vocabulary), LLMatcher.grammar_from_lark(grammar), log_level=0)


def compile_error(grammar: str) -> str:
    """Why llguidance cannot follow a grammar, in its own words; "" if it can."""
    return compile_report(grammar)[0]


def compile_report(grammar: str) -> tuple[str, tuple[str, ...]]:
    """(why llguidance cannot follow a grammar, "" if it can; its warnings)."""
    try:
        matcher = new_matcher(grammar, BYTE_VOCABULARY)
    except ValueError as error:
        return str(error) or "not read", ()
    reason = str(matcher.get_error()).strip().partition("\n")[0]
    warnings = tuple(map(str, matcher.get_grammar_warnings()))
    return reason.rpartition("failed to compile JSON schema: ")[2], warnings

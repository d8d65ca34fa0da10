"""Schemas and grammars by llguidance: matchers that follow a text token by token, and their masks.

llguidance matches a grammar's terminals by longest match and keeps a schema's properties in their
order. `valid_json` and `parses` also ask `accepts_text`, so a mask refuses no text that they allow.
"""

from __future__ import annotations

import codecs
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import Budget, check
from fkdsl.base.locks import locked
from fkdsl.base.probability_blocks import Mask
from fkdsl.engine.constraints.charsets import REPLACEMENT
from fkdsl.engine.constraints.completion_bounds import completion_bounds
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.languages import GrammarText, JsonText, Language
from fkdsl.engine.constraints.matchers import BYTE_VOCABULARY, LONGEST_TOKEN, new_matcher, tokenizer
from fkdsl.engine.constraints.stops import Until, stops_of
from fkdsl.engine.constraints.tokens_left import TokensLeft
from fkdsl.models.vocabulary import Vocabulary

LAST_TOKENS_TRIED = 512
"""If at most so many tokens may be the last one, each is tried; more are all allowed, and the
condition decides."""
FOLLOWING_SECONDS = 10.0
"""CPU time that following one text may take."""
MATCHERS_KEPT = 4_096
"""Most matchers, and most masks, that a constraint keeps."""


def mistake(language: Language) -> str:
    """Why llguidance can follow nothing of a schema or grammar, in its own words; "" if it can
    follow some of it."""
    return followed(language).mistake


@lru_cache(maxsize=128)
def _fresh(language: Language, vocabulary: Vocabulary) -> Any:
    """A matcher at the beginning of a text. Callers copy it and never feed it a token."""
    return new_matcher(followed(language).grammar, vocabulary)


def accepts_text(language: Language, text: str) -> bool:
    """Whether the whole text is in the language. False if llguidance cannot follow the language, or
    if the text has U+FFFD, which stands for bytes. Raises OutOfTime if it takes more than
    FOLLOWING_SECONDS of CPU time."""
    if chr(REPLACEMENT) in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return False
    matcher, budget = _fresh(language, BYTE_VOCABULARY).deep_copy(), Budget(FOLLOWING_SECONDS)
    for byte in text.encode():
        budget.check()  # a byte may take a tenth of a second where a grammar is ambiguous
        if not matcher.consume_token(byte):
            return False
    return bool(matcher.is_accepting())


class GrammarMasks:
    """The masks of one schema or grammar over one vocabulary, for texts that end before a stop.

    Where the last tokens may be part of a stop, every token is allowed and the condition decides.
    Likewise a token whose last bytes begin a character is allowed if the text is complete before
    that character: where the budget of tokens ends, an unfinished character is held back.

    outlined: languages that have all of its texts, of the first of which that can be followed the
    outline is made; its own if there are none.
    """

    def __init__(
        self,
        language: Language,
        until: Until,
        vocabulary: Vocabulary,
        outlined: tuple[Language, ...] = (),
    ) -> None:
        self.lock = threading.RLock()
        self.language, self.vocabulary = language, vocabulary
        self.outlined = outlined or (language,)
        self.until = until
        stops = stops_of(until)
        self.stops = [stop.encode() for stop in stops]
        self.longest = max(map(len, self.stops), default=0)
        # A stop with U+FFFD may be any bytes that are no text, so then nothing is followed.
        unknown = any(chr(REPLACEMENT) in stop for stop in stops)
        first = None if unknown else _fresh(language, vocabulary).deep_copy()
        if isinstance(language, JsonText | GrammarText) and language.before and first is not None:
            first = self._after_bytes(first, language.before.encode())
        self._matchers: dict[tuple[int, ...], Any] = {(): first}
        # In bits, eight tokens a byte: a mask is as long as the vocabulary.
        self._masks: dict[tuple[int, ...], NDArray[np.uint8]] = {}
        # Tokens that are allowed only since the budget may hold their last bytes back.
        self._waiting: dict[tuple[int, ...], list[int]] = {}
        # A token without text may follow an unfinished character any number of times.
        self._stays_unfinished = any(
            not raw and i not in vocabulary.ends for i, raw in enumerate(vocabulary.tokens)
        )
        self._silent = np.array([not raw for raw in vocabulary.tokens], dtype=np.bool_)
        self._broken = [i for i, raw in enumerate(vocabulary.tokens) if not _is_text(raw)]
        self._pieces = np.zeros(vocabulary.size, dtype=np.bool_)
        self._pieces[self._broken] = True
        self._long = [i for i, raw in enumerate(vocabulary.tokens) if len(raw) > LONGEST_TOKEN]
        self._held_back_after: dict[bytes, dict[str, list[int]]] = {}
        # llguidance knows one token for each text, so tokens of the same text share its verdict.
        same: dict[bytes, list[int]] = {}
        for i, raw in enumerate(vocabulary.tokens):
            same.setdefault(raw, []).append(i)
        self._same = [ids for raw, ids in same.items() if raw and len(ids) > 1]
        # Tokens with a whole stop, by their bytes before it; tokens that end in part of a stop.
        self._with_stop: dict[bytes, list[int]] = {}
        self._may_begin_stop = np.zeros(vocabulary.size, dtype=np.bool_)
        for i, raw in enumerate(vocabulary.tokens if stops else ()):
            at = min((raw.index(stop) for stop in self.stops if stop in raw), default=-1)
            if at >= 0:
                self._with_stop.setdefault(raw[:at], []).append(i)
            elif self._ends_in_stop(raw):
                self._may_begin_stop[i] = True

    def _ends_in_stop(self, raw: bytes) -> bool:
        """Whether the bytes end with a proper prefix of a stop."""
        return any(raw.endswith(stop[:k]) for stop in self.stops for k in range(1, len(stop)))

    @property
    def is_empty(self) -> bool:
        """Whether no token may begin a text."""
        return not self.mask((), None).any()

    # ----------------------------------------------------------------- matchers

    @locked
    def matcher(self, ids: tuple[int, ...]) -> Any:
        """The matcher after these tokens, never to be changed; None if the text cannot be
        followed."""
        if ids not in self._matchers:
            known = len(ids) - 1
            while ids[:known] not in self._matchers:
                known -= 1
            matcher = self._matchers[ids[:known]]
            if len(self._matchers) > MATCHERS_KEPT:
                self._matchers = {(): self._matchers[()]}
            for token in ids[known:]:
                matcher = self._after(matcher, token)
            self._matchers[ids] = matcher
        return self._matchers[ids]

    def _before_pending(self, ids: tuple[int, ...]) -> tuple[Any, bytes]:
        """(the matcher after the whole characters of a text, the bytes of an unfinished character
        at its end)."""
        pending = _pending(self.vocabulary.raw(ids))
        if not pending:
            return self.matcher(ids), pending
        first = len(ids)
        while len(self.vocabulary.raw(ids[first:])) < len(pending):
            first -= 1
        before, rest = self.matcher(ids[:first]), self.vocabulary.raw(ids[first:])[: -len(pending)]
        return None if before is None else self._after_bytes(before, rest), pending

    def _after(self, matcher: Any, token: int) -> Any:
        check()
        raw = self.vocabulary.tokens[token]
        if matcher is None or not raw:
            return matcher
        if len(raw) > LONGEST_TOKEN:
            return self._after_bytes(matcher, raw)
        forked = matcher.deep_copy()
        return forked if forked.consume_token(token) else None

    def _after_bytes(self, matcher: Any, raw: bytes) -> Any:
        ids = [self.vocabulary.size + 1 + b for b in raw]
        if matcher.validate_tokens(ids) < len(
            ids
        ):  # cheap, where a refusal of `consume_tokens` is not
            return None
        forked = matcher.deep_copy()
        return forked if not ids or forked.consume_tokens(ids) else None

    # -------------------------------------------------------------------- masks

    @locked
    def prepare(self, texts: Sequence[tuple[int, ...]]) -> None:
        """Computes the masks after many texts, in one parallel call of the library."""
        from llguidance import LLExecutor
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

        check()
        missing = [ids for ids in dict.fromkeys(texts) if ids not in self._masks]
        matchers = [(ids, self.matcher(ids)) for ids in missing]
        known = [(ids, m) for ids, m in matchers if m is not None]
        if not known:
            return
        # Two texts that differ by a token without text share a matcher; the library takes each
        # matcher only once.
        distinct = {id(m): m for _, m in known}
        rows = {key: k for k, key in enumerate(distinct)}
        bits = allocate_token_bitmask(len(distinct), tokenizer(self.vocabulary).vocab_size)
        fill_next_token_bitmask_par(
            _executor(LLExecutor), [(m, rows[key]) for key, m in distinct.items()], bits
        )
        for ids, matcher in known:
            row = bits[rows[id(matcher)]]
            allowed = np.unpackbits(row.view(np.uint8), bitorder="little")[
                : self.vocabulary.size
            ].astype(np.bool_)
            if len(self._masks) > MATCHERS_KEPT:
                self._masks, self._waiting = {}, {}
            self._masks[ids] = np.packbits(self._with_ends(ids, matcher, allowed))

    @locked
    def mask(self, ids: tuple[int, ...], left: TokensLeft) -> Mask:
        """(V,) the tokens after which the text can still be completed. The fewest that complete a
        text are known from an outline of the language, so more of them may be needed in truth; at 0
        each token is tried."""
        if self.matcher(ids) is None:
            return self._unfollowed(ids)
        if ids not in self._masks:
            self.prepare([ids])
        allowed = np.unpackbits(self._masks[ids], count=self.vocabulary.size).astype(np.bool_)
        if left is None:
            return allowed
        if not self._stays_unfinished:
            pending = _pending(self.vocabulary.raw(ids))
            for token in self._waiting.get(ids, ()):
                allowed[token] = left <= _bytes_left(pending + self.vocabulary.tokens[token])
        bounds = completion_bounds(self.outlined, self.until, self.vocabulary)
        enough = bounds.mask(ids, left) if bounds is not None else None
        if enough is not None:
            allowed &= enough
        return self._last(ids, allowed) if left == 0 else allowed

    def _unfollowed(self, ids: tuple[int, ...]) -> Mask:
        """(V,) all tokens, behind a text that cannot be followed. But where the text is complete
        before an unfinished character that the library has refused, that has to stay unfinished."""
        raw = self.vocabulary.raw(ids)
        pending = _pending(raw)
        if not pending or (self.longest > 1 and self._ends_in_stop(raw)):
            return np.ones(self.vocabulary.size, dtype=np.bool_)
        if not _accepts(self._before_pending(ids)[0]):
            return np.ones(self.vocabulary.size, dtype=np.bool_)
        allowed = self._silent.copy()
        allowed[list(self.vocabulary.ends)] = False
        allowed[self._held_back(pending).get("", [])] = True
        return allowed

    def _with_ends(self, ids: tuple[int, ...], matcher: Any, allowed: Mask) -> Mask:
        """The library's mask, completed by the tokens that the library does not know or judges
        otherwise: those without text, those too long for it, those of the same text as another,
        those that end in an unfinished character, the ends, and those with a stop or its beginning.
        """
        allowed = allowed | self._silent
        for token in self._long:
            allowed[token] = self._after(matcher, token) is not None
        for same in self._same:
            allowed[same] = allowed[same].any()
        whole, pending = self._before_pending(ids)
        for text, tokens in self._held_back(pending).items():
            if not allowed[tokens].all() and _accepts(self._after_bytes(whole, text.encode())):
                self._waiting.setdefault(ids, []).extend(i for i in tokens if not allowed[i])
                allowed[tokens] = True
        allowed[list(self.vocabulary.ends)] = not pending and _accepts(matcher)
        for before, tokens in self._with_stop.items():
            allowed[tokens] = _accepts(self._after_bytes(matcher, before))
        if self.longest > 1:
            raw = self.vocabulary.raw(ids)[-self.longest :]
            allowed |= np.True_ if self._ends_in_stop(raw) else self._may_begin_stop
        return allowed

    def _held_back(self, pending: bytes) -> dict[str, list[int]]:
        """The tokens that end in an unfinished character after some pending bytes, by the text
        before that character."""
        if pending not in self._held_back_after:
            groups: dict[str, list[int]] = {}
            for i in self._broken:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                text = decoder.decode(pending + self.vocabulary.tokens[i])
                if decoder.getstate()[0] and chr(REPLACEMENT) not in text:
                    groups.setdefault(text, []).append(i)
            self._held_back_after[pending] = groups
        return self._held_back_after[pending]

    def _last(self, ids: tuple[int, ...], allowed: Mask) -> Mask:
        """The allowed tokens that may be the last of a text."""
        tried = allowed & ~self._silent & ~self._pieces & ~self._may_begin_stop
        for tokens in (list(self.vocabulary.ends), *self._with_stop.values()):
            tried[tokens] = False
        if np.count_nonzero(tried) > LAST_TOKENS_TRIED or (
            self.longest > 1 and self._ends_in_stop(self.vocabulary.raw(ids))
        ):
            return allowed
        matcher, kept = self.matcher(ids), allowed.copy()
        for token in np.flatnonzero(tried).tolist():
            check()
            kept[token] = _accepts(self._after(matcher, token))
        kept[self._silent] = _accepts(self._before_pending(ids)[0])
        kept[list(self.vocabulary.ends)] = allowed[list(self.vocabulary.ends)]
        return kept


def _accepts(matcher: Any) -> bool:
    return matcher is not None and bool(matcher.is_accepting())


@lru_cache(maxsize=1)
def _executor(make: Any) -> Any:
    return make()


def _pending(raw: bytes) -> bytes:
    """The bytes of an unfinished character at the end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(raw)
    return decoder.getstate()[0]


def _bytes_left(raw: bytes) -> int:
    """How many bytes may follow while the character at the end stays unfinished."""
    pending = _pending(raw)
    return (2 if pending[0] < 0xE0 else 3 if pending[0] < 0xF0 else 4) - len(pending) - 1


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

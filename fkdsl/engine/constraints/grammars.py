"""Schemas and grammars, by llguidance: matchers that follow a text token by token, and their masks.

llguidance lexes a grammar's terminals by longest match and keeps a schema's properties in their
order; `accepts_text` is what `valid_json` and `parses` ask too, so that a mask never refuses what they
would allow.
"""

from __future__ import annotations

import codecs
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.blocks import Mask
from fkdsl.base.deadline import Budget, check
from fkdsl.base.locks import locked
from fkdsl.engine.constraints.charsets import REPLACEMENT
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.languages import Language
from fkdsl.engine.constraints.matchers import BYTE_VOCABULARY, LONGEST_TOKEN, new_matcher, tokenizer
from fkdsl.engine.constraints.stops import Until, stops_of
from fkdsl.models.vocabulary import Vocabulary

LAST_TOKENS_TRIED = 512
"""Tokens that are each tried as a last one; more are all allowed, and the condition decides."""
FOLLOWING_SECONDS = 10.0
"""CPU time for following one text."""
MATCHERS_KEPT = 4_096
"""Matchers kept for each constraint."""


def mistake(language: Language) -> str:
    """Why llguidance can follow nothing of a schema or grammar, in its own words; "" if it can."""
    return followed(language).mistake


@lru_cache(maxsize=128)
def _fresh(language: Language, vocabulary: Vocabulary) -> Any:
    """A matcher at the beginning of a text; to be copied, never fed."""
    return new_matcher(followed(language).grammar, vocabulary)


def accepts_text(language: Language, text: str) -> bool:
    """Whether the whole text is in the language. False if llguidance cannot follow it, or if bytes
    were no text. Raises OutOfTime where it takes more than FOLLOWING_SECONDS of CPU time."""
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

    After tokens that may belong to a stop nothing is masked: the condition decides. So it does
    after a token that is refused but for its last bytes: those of an unfinished character are held
    back where a budget ends.
    """

    def __init__(self, language: Language, until: Until, vocabulary: Vocabulary) -> None:
        self.lock = threading.RLock()
        self.language, self.vocabulary = language, vocabulary
        stops = stops_of(until)
        self.stops = [stop.encode() for stop in stops]
        self.longest = max(map(len, self.stops), default=0)
        unknown = any(chr(REPLACEMENT) in stop for stop in stops)  # broken bytes may be it
        self._matchers: dict[tuple[int, ...], Any] = {
            (): None if unknown else _fresh(language, vocabulary).deep_copy()
        }
        self._masks: dict[
            tuple[int, ...], NDArray[np.uint8]
        ] = {}  # in bits: a mask is as long as the vocabulary
        self._silent = np.array([not raw for raw in vocabulary.tokens], dtype=np.bool_)
        self._broken = [i for i, raw in enumerate(vocabulary.tokens) if not _is_text(raw)]
        self._pieces = np.zeros(vocabulary.size, dtype=np.bool_)
        self._pieces[self._broken] = True
        self._long = [i for i, raw in enumerate(vocabulary.tokens) if len(raw) > LONGEST_TOKEN]
        self._held: dict[bytes, dict[str, list[int]]] = {}
        # llguidance knows one token for each text: the others of the same text go by it.
        same: dict[bytes, list[int]] = {}
        for i, raw in enumerate(vocabulary.tokens):
            same.setdefault(raw, []).append(i)
        self._same = [ids for raw, ids in same.items() if raw and len(ids) > 1]
        self._ending: dict[bytes, list[int]] = {}
        self._toward = np.zeros(vocabulary.size, dtype=np.bool_)
        for i, raw in enumerate(vocabulary.tokens if stops else ()):
            at = min((raw.index(stop) for stop in self.stops if stop in raw), default=-1)
            if at >= 0:
                self._ending.setdefault(raw[:at], []).append(i)
            elif self._hangs(raw):
                self._toward[i] = True

    def _hangs(self, raw: bytes) -> bool:
        """Whether the end of the bytes may be the beginning of a stop."""
        return any(raw.endswith(stop[:k]) for stop in self.stops for k in range(1, len(stop)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all can be drawn from the start."""
        return not self.mask((), None).any()

    # ----------------------------------------------------------------- matchers

    @locked
    def matcher(self, ids: tuple[int, ...]) -> Any:
        """The matcher after these tokens, never to be changed; None where nothing is known."""
        if ids not in self._matchers:
            known = len(ids) - 1
            while ids[:known] not in self._matchers:
                known -= 1
            found = self._matchers[ids[:known]]
            if len(self._matchers) > MATCHERS_KEPT:
                self._matchers = {(): self._matchers[()]}
            for token in ids[known:]:
                found = self._after(found, token)
            self._matchers[ids] = found
        return self._matchers[ids]

    def _before_pending(self, ids: tuple[int, ...]) -> tuple[Any, bytes]:
        """The matcher after the whole characters of a text, and the bytes of an unfinished one."""
        matcher, pending = self.matcher(ids), _pending(self.vocabulary.raw(ids))
        if matcher is None or not pending:
            return matcher, pending
        first = len(ids)
        while len(self.vocabulary.raw(ids[first:])) < len(pending):
            first -= 1
        return self._after_bytes(
            self.matcher(ids[:first]), self.vocabulary.raw(ids[first:])[: -len(pending)]
        ), pending

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
        """The library's masks of many texts in one parallel call."""
        from llguidance import LLExecutor
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

        check()
        missing = [ids for ids in dict.fromkeys(texts) if ids not in self._masks]
        matchers = [(ids, self.matcher(ids)) for ids in missing]
        known = [(ids, m) for ids, m in matchers if m is not None]
        if not known:
            return
        # Two texts may share a matcher, where one has a token without text more; it may be asked
        # only once.
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
                self._masks = {}
            self._masks[ids] = np.packbits(self._with_ends(ids, matcher, allowed))

    @locked
    def mask(self, ids: tuple[int, ...], left: int | None) -> Mask:
        """(V,) the tokens after which the text may still be completed. left: how many may follow
        the next one; only the last one is looked at."""
        if self.matcher(ids) is None:
            return np.ones(self.vocabulary.size, dtype=np.bool_)
        if ids not in self._masks:
            self.prepare([ids])
        allowed = np.unpackbits(self._masks[ids], count=self.vocabulary.size).astype(np.bool_)
        return self._last(ids, allowed) if left == 0 else allowed

    def _with_ends(self, ids: tuple[int, ...], matcher: Any, allowed: Mask) -> Mask:
        allowed = allowed | self._silent
        for token in self._long:
            allowed[token] = self._after(matcher, token) is not None
        for same in self._same:
            allowed[same] = allowed[same].any()
        whole, pending = self._before_pending(ids)
        for text, tokens in self._held_back(pending).items():
            if not allowed[tokens].all() and _accepts(self._after_bytes(whole, text.encode())):
                allowed[tokens] = True
        allowed[list(self.vocabulary.ends)] = not pending and _accepts(matcher)
        for before, tokens in self._ending.items():
            allowed[tokens] = _accepts(self._after_bytes(matcher, before))
        if self.longest > 1:
            raw = self.vocabulary.raw(ids)[-self.longest :]
            allowed |= np.True_ if self._hangs(raw) else self._toward
        return allowed

    def _held_back(self, pending: bytes) -> dict[str, list[int]]:
        """The tokens that leave a character unfinished after some pending bytes, by the text before
        it."""
        if pending not in self._held:
            groups: dict[str, list[int]] = {}
            for i in self._broken:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                text = decoder.decode(pending + self.vocabulary.tokens[i])
                if decoder.getstate()[0] and chr(REPLACEMENT) not in text:
                    groups.setdefault(text, []).append(i)
            self._held[pending] = groups
        return self._held[pending]

    def _last(self, ids: tuple[int, ...], allowed: Mask) -> Mask:
        """Of the allowed tokens, those that may be the last one."""
        tried = allowed & ~self._silent & ~self._pieces & ~self._toward
        for tokens in (list(self.vocabulary.ends), *self._ending.values()):
            tried[tokens] = False
        if np.count_nonzero(tried) > LAST_TOKENS_TRIED or (
            self.longest > 1 and self._hangs(self.vocabulary.raw(ids))
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


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

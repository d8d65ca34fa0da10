"""The texts that draws from a small vocabulary end in, by definition: what the masks of constraints
are held to.

Tokens are drawn one by one. A text is finished by an end token, by `until`, or by the end of its
budget. Membership of a language is asked of `regex`, `str` and `len`.
"""

import codecs
from functools import lru_cache

import regex
from hypothesis import strategies as st

from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    Either,
    EndsWith,
    Length,
    Matches,
    PartOf,
    StartsWith,
    Texts,
)

REPLACED = "\ufffd"


def member(language, s):
    """Whether a text is in a regular language."""
    match language:
        case Matches(pattern):
            return REPLACED not in s and regex.fullmatch(pattern, s) is not None
        case Texts(texts):
            return s in texts
        case Contains(part):
            return part in s
        case PartOf(whole):
            return s in whole
        case StartsWith(part):
            return s.startswith(part)
        case EndsWith(part):
            return s.endswith(part)
        case Length(least, most):
            return least <= len(s) and (most == -1 or len(s) <= most)
        case Both(parts):
            return all(member(p, s) for p in parts)
        case Either(parts):
            return any(member(p, s) for p in parts)
        case Complement(part):
            return not member(part, s)
    raise AssertionError(language)


def decoded(raw):
    """The text of some bytes, an unfinished last character held back."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(raw)


def stopped(raw, until):
    """The text if a stop has ended it, else None. until: one, "" for none, or a tuple of them."""
    return cut(decoded(raw), until)


def cut(text, until):
    """What stands before the first place at which a stop begins; None if there is none."""
    stops = [until] * bool(until) if isinstance(until, str) else until
    return next((text[:i] for i in range(len(text)) if text[i:].startswith(tuple(stops))), None)


def finished(vocabulary, ids, until, last):
    """The texts that these tokens have finished: one, or none if more must be drawn. last: whether
    the budget is used up. An unfinished character is U+FFFD where an end token cuts it short, and
    held back where a budget ends."""
    before = vocabulary.raw(ids[:-1])
    text = stopped(before + vocabulary.tokens[ids[-1]], until)
    if text is not None:
        return frozenset({text})
    if ids[-1] in vocabulary.ends:
        return frozenset({before.decode("utf-8", "replace")})
    return frozenset({decoded(vocabulary.raw(ids))} if last else ())


@lru_cache(maxsize=100_000)
def completions(vocabulary, ids, until, left, budget=True):
    """Every text that `ids`, its last token just drawn, may be finished to with at most `left` more
    tokens; the budget ends behind them if there is one."""
    found = finished(vocabulary, ids, until, budget and left == 0)
    if found or left == 0:
        return found
    more = [
        completions(vocabulary, (*ids, x), until, left - 1, budget) for x in range(vocabulary.size)
    ]
    return frozenset().union(*more)


def unfinished(vocabulary, ids, until):
    """The tokens after which a text still goes on."""
    going = (x for x in range(vocabulary.size) if x not in vocabulary.ends)
    return [x for x in going if stopped(vocabulary.raw((*ids, x)), until) is None]


def walk(data, masks, until):
    """Texts that go on, along allowed tokens for the most part."""
    ids = ()
    yield ids
    for _ in range(data.draw(st.integers(0, 4))):
        going = unfinished(masks.vocabulary, ids, until)
        liked = [x for x in going if masks.mask(ids, None)[x] and masks.vocabulary.tokens[x]]
        going = liked if liked and data.draw(st.integers(0, 3)) else going
        if not going:
            return
        ids = (*ids, data.draw(st.sampled_from(going)))
        yield ids

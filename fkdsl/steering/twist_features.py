"""What a learned twist sees of a particle at the end of a step: numbers by name.

    context = drawn_context(particle)       the context that its next draw is from, None if none is
    cheap_features(particle, context)       where it stands, its variables, its text so far
    row_features(row, tokens)               log-probabilities of some tokens after the context

A model's log-probabilities are a linear function of its last hidden state, up to the normaliser. So
the log-probabilities of a few hundred tokens hold what a linear function of the hidden state could
say, for every kind of model, and with nothing asked of it but the row that the next draw is made
from. Features are a function of the particle's state alone, so equal states have equal guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ContextState
from fkdsl.values.faults import Fault, NeedRows
from fkdsl.values.token_distributions import ChoiceOf, Continues, gives_tokens, leaves
from fkdsl.values.values import ContextRef

__all__ = ["OWNER", "cheap_features", "drawn_context", "row_features"]

OWNER = "learned"
"""Whose guesses a learned twist's are, in states and traces."""
LEAST_LOG_PROB = -20.0
"""Log-probabilities below it are taken for it: a table has tokens of probability zero."""
LARGEST = 1e6
"""Numbers of variables beyond it are taken for it."""
VOWELS = re.compile(rb"[aeiouyAEIOUY]+")
WORDS = re.compile(rb"[^\s]+")
LETTERS = re.compile(rb"[A-Za-z]+$")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
ENDINGS = {"letter": rb"[A-Za-z\x80-\xff]$", "space": rb"[ \t]$", "line": rb"\n$",
           "stop": rb"[.!?]$", "digit": rb"[0-9]$"}  # fmt: skip
ENDS = {name: re.compile(pattern) for name, pattern in ENDINGS.items()}


def drawn_context(particle: RunningParticle) -> ContextState | None:
    """The context that the particle's next draw is from, the first one where it is a product or a
    mixture; None for a draw from anything else, from a finished context, and where the program has
    to ask a model first to know what it draws from."""
    op = particle.op
    if not isinstance(op, DrawOp):
        return None
    fork = particle.fork()
    try:
        d = op.distribution(fork.frames[-1])
    except (NeedRows, Fault, MemoryError):  # the draw itself will meet it, and say so
        return None
    finally:
        fork.release()
    if isinstance(d, ChoiceOf | Continues):
        d = d.context
    ref = d if isinstance(d, ContextRef) else leaves(d)[0] if gives_tokens(d) else None
    if ref is None or ref.index >= len(particle.contexts):
        return None
    c = particle.contexts[ref.index]
    return None if c.done else c


def drawn_rows(
    particle: RunningParticle, tokens: Mapping[str, Sequence[int]]
) -> tuple[tuple[str, Context], ...]:
    """(model, context) of the row that the next draw is made from; none where it is of no context,
    or of a model that `tokens` does not name."""
    context = drawn_context(particle)
    if context is None or context.model not in tokens:
        return ()
    return ((context.model, context.node),)


def cheap_features(particle: RunningParticle, context: ContextState | None) -> dict[str, float]:
    """Numbers by name: of each function in progress where it stands ("at FUNCTION PC") and its
    variables ("slot FUNCTION NUMBER", a number or a length); of the text of the context, or of the
    first one where none is drawn from, its lengths, those of its last line, and how often it has
    each letter; what the program's own twist holds, and what other guesses do (nats)."""
    features: dict[str, float] = {}
    for frame in particle.frames:
        features[f"at {frame.function} {frame.pc}"] = 1.0
        for i, value in enumerate(frame.slots):
            number = _number(value)
            if number is not None:
                features[f"slot {frame.function} {i}"] = number
    if particle.twist is not None:
        features["twist"] = particle.twist.log_weight
    for owner, log_weight in particle.guesses.items():
        if owner != OWNER:
            features[f"guess {owner}"] = log_weight
    if context is None and particle.contexts:
        context = particle.contexts[0]
    if context is not None:
        raw = particle.engines[context.model].raw(context.node)[context.skip :]
        features["tokens"] = float(context.node.length - context.start)
        features.update(_text_features(raw))
    return features


def _number(value: object) -> float | None:
    """A variable's number, or the length of a text or a list."""
    if isinstance(value, int | float):
        return float(min(max(value, -LARGEST), LARGEST)) if value == value else 0.0
    return float(len(value)) if isinstance(value, str | tuple) else None


def _text_features(raw: bytes) -> dict[str, float]:
    line = raw[raw.rfind(b"\n") + 1 :]
    features = {}
    for name, part in (("text", raw), ("line", line)):
        features[f"{name} bytes"] = float(len(part))
        features[f"{name} words"] = float(len(WORDS.findall(part)))
        features[f"{name} vowels"] = float(len(VOWELS.findall(part)))
    last = LETTERS.search(raw)
    features["last word"] = float(len(last.group())) if last is not None else 0.0
    counts = np.bincount(np.frombuffer(raw.lower(), dtype=np.uint8), minlength=256)
    for letter, count in zip(ALPHABET, counts[ord("a") : ord("z") + 1].tolist(), strict=True):
        features[f"letter {letter}"] = float(count)
    for name, pattern in ENDS.items():
        if pattern.search(raw) is not None:
            features[f"ends {name}"] = 1.0
    return features


def row_features(row: Floats, tokens: Sequence[int]) -> Floats:
    """The log-probabilities (len(tokens),) of these tokens in a row (V,), nats, float64."""
    return np.maximum(row[list(tokens)].astype(np.float64), LEAST_LOG_PROB)

"""The texts of the heaviest particles token by token: how probable each was, and what else was
likely there.

The model's own probabilities p(token | text so far), before any condition: so a token that the
conditions forced shows as an improbable one. The rows are asked of the engines of the run that has
just ended, whose cache holds most of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fkdsl.api.trace.replay import Event, Member, Replay
from fkdsl.base.shown import shown
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.machine.state import ContextState
from fkdsl.values.values import Token

MOST_PARTICLES = 24
MOST_ROWS = 4096
"""Rows of log-probabilities that are asked for in all."""
ALTERNATIVES = 5


def particle_texts(
    replay: Replay, engines: Mapping[str, CachedTransformer]
) -> list[dict[str, Any]]:
    """For each of the heaviest distinct particles its contexts' tokens: {"island", "index",
    "weight", "model", "tokens": [{"text", "p", "alternatives": [[text, p]]}]}."""
    found: list[dict[str, Any]] = []
    seen: set[tuple[str, tuple[int, ...]]] = set()
    rows = 0
    for member in _heaviest(replay):
        for context, ids in _contexts(replay, member):
            key = (context.model, ids)
            new = len(ids) - context.start
            if key in seen or new <= 0 or rows + new > MOST_ROWS:
                continue
            seen.add(key)
            rows += new
            found.append(
                {
                    "island": member.island,
                    "index": member.index,
                    "weight": member.weight,
                    "model": context.model,
                    "tokens": _tokens(engines[context.model], ids, context.start),
                }
            )
    return found


def _heaviest(replay: Replay) -> list[Member]:
    if not replay.steps_by_island:
        return []
    return [m for m in replay.members() if m.weight > 0.0][:MOST_PARTICLES]


def _contexts(replay: Replay, member: Member) -> list[tuple[ContextState, tuple[int, ...]]]:
    """The contexts that a particle last had, and their tokens, those of its last step included
    where only one context can have them."""
    path = replay.path(member.island, member.index)
    after: list[Event] = []
    for event in reversed(path):
        contexts = event.state.contexts
        if contexts:
            drawn = [d.value for e in reversed(after) for d in e.drawn]
            ids = tuple(v.id for v in drawn if isinstance(v, Token))
            more = ids if len(contexts) == 1 and len(ids) == len(drawn) else ()
            return [(c, (*c.node.tokens, *more)) for c in contexts]
        after.append(event)
    return []


def _tokens(engine: CachedTransformer, ids: Sequence[int], start: int) -> list[dict[str, Any]]:
    nodes = [engine.extend(engine.root, ids[:k]) for k in range(start, len(ids))]
    found = []
    for token, row in zip(ids[start:], engine.log_probs(nodes), strict=True):
        few = min(ALTERNATIVES, len(row))
        likely = sorted(np.argpartition(row, -few)[-few:].tolist(), key=lambda i: -row[i])
        found.append(
            {
                "text": _text(engine, token),
                "p": float(np.exp(row[token])),
                "alternatives": [
                    [_text(engine, i), float(np.exp(row[i]))] for i in likely if row[i] > -np.inf
                ],
            }
        )
    return found


def _text(engine: CachedTransformer, token: int) -> str:
    vocabulary = engine.model.vocabulary
    return "EOS" if token in vocabulary.ends else shown(vocabulary.text((token,)))

"""What a particle's contexts say of values: the probability of a text, of each option, of going on
with a word.

Observing a value appends it to its contexts; asking for its log-probability leaves them as they
are. Each function asks for all the rows that it needs at once (NeedRows): the rows of a text are
one forward, by teacher forcing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.machine.state import ContextState
from fkdsl.values.distributions import Distribution
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import (
    ChoiceOf,
    Continues,
    Mixture,
    Power,
    Product,
    TokenDistribution,
    continuing,
    is_token_distribution,
    leaves,
)
from fkdsl.values.values import ContextRef, Token, show

if TYPE_CHECKING:
    from fkdsl.machine.interpreter import Running


def is_finished(d: Any, contexts: Sequence[ContextState]) -> bool:
    """Whether d is a distribution of tokens that gives none, since the contexts that it needs are
    finished."""
    match d:
        case ContextRef(index):
            return contexts[index].done
        case Product(left, right):
            return is_finished(left, contexts) or is_finished(right, contexts)
        case Power(base):
            return is_finished(base, contexts)
        case Mixture(parts):
            return all(is_finished(part, contexts) for part in parts)
    return False


def observe(particle: Running, value: Any, d: Any) -> float:
    """log d(value), in nats; a token distribution's contexts append the value."""
    if is_token_distribution(d):
        return _observe_text(particle, value, d)
    match d:
        case ChoiceOf(context, options):
            if value not in options:
                return -math.inf
            each = scores(particle, d)
            particle.extend(context, particle.ids_of(context, value))
            total = log_sum_exp(each)
            same = log_sum_exp([s for s, o in zip(each, options, strict=True) if o == value])
            return -math.inf if total == -math.inf else same - total
        case Continues(context):
            p = continues(particle, context)
            settle(particle, context, value)
            chosen = p if value else 1.0 - p
            return math.log(chosen) if chosen > 0.0 else -math.inf
        case Distribution():
            return d.log_prob(value)
    raise Fault(
        "FK408",
        f"{show(d)!r} is no distribution",
        "`observe x ~ d` needs a distribution or a context",
    )


def _observe_text(particle: Running, value: Any, d: TokenDistribution) -> float:
    if isinstance(value, Token) and value.end:
        refs, row = particle.next_rows(d)
        ends = sorted(particle.vocabulary(refs[0]).ends)
        for ref in refs:
            particle.extend(ref, (ends[0],))
        return log_sum_exp(row[ends])
    ids = particle.ids_of(leaves(d)[0], value)
    particle.need(
        [
            (c.model, particle.engines[c.model].extend(c.node, ids[:k]))
            for c in (particle.contexts[r.index] for r in leaves(d))
            if not c.done
            for k in range(len(ids))
        ]
    )
    total = 0.0
    for i in ids:
        refs, row = particle.next_rows(d)
        total += float(row[i])
        for ref in refs:
            particle.extend(ref, (i,))
    return total


def scores(particle: Running, d: ChoiceOf) -> Floats:
    """log-probability (nats) of each option as the context's next text, (options,) float64."""
    particle.next_rows(d.context)
    c = particle.contexts[d.context.index]
    if c.done:
        return np.full(len(d.options), -np.inf)
    engine = particle.engines[c.model]
    paths = [particle.ids_of(d.context, o) for o in d.options]
    particle.need(
        [(c.model, engine.extend(c.node, ids[:k])) for ids in paths for k in range(len(ids))]
    )
    return np.array([_along(particle, c, ids) for ids in paths])


def logprob(particle: Running, ref: ContextRef, value: Any) -> float:
    """log-probability (nats) of a text or token as the context's next; the context is left as it
    was."""
    particle.next_rows(ref)
    if isinstance(value, Token) and value.end:
        return log_sum_exp(particle.next_rows(ref)[1][sorted(particle.vocabulary(ref).ends)])
    return _along(particle, particle.contexts[ref.index], particle.ids_of(ref, value))


def _along(particle: Running, c: ContextState, ids: tuple[int, ...]) -> float:
    return float(sum(row[i] for row, i in zip(particle.path(c, ids), ids, strict=True)))


def continues(particle: Running, ref: ContextRef) -> float:
    """The probability that the next token goes on with the current word; 0 or 1 once that is
    settled."""
    _, row = particle.next_rows(ref)
    c = particle.contexts[ref.index]
    if c.done:
        return 0.0
    if c.pending is not None:
        return float(c.pending)
    return min(1.0, float(np.exp(row[continuing(particle.vocabulary(ref))]).sum(dtype=np.float64)))


def settle(particle: Running, ref: ContextRef, goes_on: bool) -> None:
    """What is drawn or observed of going on with the word holds of the context's next token."""
    c = particle.contexts[ref.index]
    if c.pending is not None and c.pending != goes_on:
        raise InternalError("a settled continuation was drawn again with the other outcome")
    particle.contexts[ref.index] = c._replace(pending=goes_on)

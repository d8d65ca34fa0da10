"""What a particle's contexts say of values: the probability of a text, of each option, of going on
with a word.

Observing a value appends it to its contexts; asking for its log-probability leaves them as they
are. Each function asks for all the rows that it needs at once (NeedRows): the rows of a text are
one forward, by teacher forcing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.probability_blocks import Sums
from fkdsl.machine.contexts import ContextTable
from fkdsl.machine.state import ContextState
from fkdsl.values.beginnings import log_probs_of_longest_beginning
from fkdsl.values.distributions import Distribution
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import (
    ChoiceOf,
    Continues,
    Mixture,
    Power,
    Product,
    TokenDistribution,
    gives_tokens,
    leaves,
    mask_following,
)
from fkdsl.values.values import ContextRef, Token, show


def is_finished(d: Any, contexts: Sequence[ContextState]) -> bool:
    """Whether d is a distribution of tokens that gives none, since the contexts that it needs are
    finished."""
    if type(d) is ContextRef:
        return contexts[d.index].done
    match d:
        case Product(left, right):
            return is_finished(left, contexts) or is_finished(right, contexts)
        case Power(base):
            return is_finished(base, contexts)
        case Mixture(parts):
            return all(is_finished(part, contexts) for part in parts)
    return False


def observe(particle: ContextTable, value: Any, d: Any) -> float:
    """log d(value), in nats; a token distribution's contexts append the value."""
    if gives_tokens(d):
        return _observe_text(particle, value, d)
    match d:
        case ChoiceOf(context, values=values):
            if value not in values:
                return -math.inf
            each = choice_log_probs(particle, d)
            if value != d.other:
                particle.extend(context, particle.ids_of(context, value))
            return float(each[values.index(value)])
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


def _observe_text(particle: ContextTable, value: Any, d: TokenDistribution) -> float:
    if isinstance(value, Token) and value.end:
        refs, row = particle.next_rows(d)
        ends = sorted(particle.vocabulary(refs[0]).ends)
        for ref in refs:
            particle.extend(ref, (ends[0],))
        return log_sum_exp(row[ends])
    ids = particle.ids_of(leaves(d)[0], value)
    particle.need(
        [
            (c.model, particle.extended(c, ids[:k]))
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


def choice_log_probs(particle: ContextTable, d: ChoiceOf) -> Floats:
    """log-probability (nats) of each of the values that a choice may give, (values,) float64;
    every one -inf where no option has positive probability and there is no `other`."""
    particle.next_rows(d.context)
    c = particle.contexts[d.context.index]
    paths = [] if c.done else [particle.ids_of(d.context, o) for o in d.options]
    particle.need(
        [(c.model, particle.extended(c, ids[:k])) for ids in paths for k in range(len(ids))]
    )
    if d.other is not None:
        if c.done:  # it goes on with nothing, which is none of the options
            return np.array([-np.inf] * len(d.options) + [0.0])
        _verify_told_apart(paths, d.options)
        rows = {ids[:k]: row for ids in paths for k, row in enumerate(particle.rows_along(c, ids))}
        return log_probs_of_longest_beginning(paths, rows)
    each = np.array([_along(particle, c, ids) for ids in paths])
    total = log_sum_exp(each)
    return np.full(len(d.options), -np.inf) if total == -np.inf else each - total


def _verify_told_apart(paths: list[tuple[int, ...]], options: tuple[str, ...]) -> None:
    first: dict[tuple[int, ...], str] = {}
    for ids, option in zip(paths, options, strict=True):
        if ids in first:
            raise Fault(
                "FK402",
                f"{show(first[ids])} and {show(option)} are the same tokens to this model",
                "leave one of the options out",
            )
        first[ids] = option


def logprob(particle: ContextTable, d: Any, value: Any) -> float:
    """log-probability (nats) of a text or token as a context's next, or of what a distribution may
    give; log-density of a continuous one. All contexts are left as they were."""
    if type(d) is ContextRef and not (isinstance(value, Token) and value.end):
        particle.next_rows(d)
        return _along(particle, particle.contexts[d.index], particle.ids_of(d, value))
    if gives_tokens(d):
        refs, row = particle.next_rows(d)
        if isinstance(value, Token) and value.end:
            return log_sum_exp(row[sorted(particle.vocabulary(refs[0]).ends)])
        ids = particle.ids_of(refs[0], value)
        if len(ids) != 1:
            raise Fault(
                "FK402",
                f"{show(value)!r} is {len(ids)} tokens, and a product, power or mixture gives one",
                "ask for it a token at a time: each is followed by another distribution",
            )
        return float(row[ids[0]])
    match d:
        case ChoiceOf(values=values):
            each = choice_log_probs(particle, d)
            return float(each[values.index(value)]) if value in values else -math.inf
        case Continues(context):
            p = continues(particle, context)
            chosen = p if value else 1.0 - p
            return math.log(chosen) if chosen > 0.0 else -math.inf
        case Distribution():
            return float(d.log_prob(value))
    raise Fault(
        "FK408", f"{show(d)!r} is no distribution", "`logprob(d, x)` needs one, or a context"
    )


def _along(particle: ContextTable, c: ContextState, ids: tuple[int, ...]) -> float:
    return float(sum(row[i] for row, i in zip(particle.rows_along(c, ids), ids, strict=True)))


def continues(particle: ContextTable, ref: ContextRef, sums: Sums | None = None) -> float:
    """The probability that the next token goes on with the current word; 0 or 1 once that is
    settled. sums: of the row's blocks, of the tokens that do, where they are known."""
    _, row = particle.next_rows(ref)
    c = particle.contexts[ref.index]
    if c.done:
        return 0.0
    if c.pending is not None:
        return float(c.pending)
    if sums is not None:
        return min(1.0, float(sums.sum()))
    going_on = mask_following(particle.vocabulary(ref), True)
    return min(1.0, float(np.exp(row[going_on]).sum(dtype=np.float64)))


def settle(particle: ContextTable, ref: ContextRef, goes_on: bool) -> None:
    """What is drawn or observed of going on with the word holds of the context's next token."""
    c = particle.contexts[ref.index]
    if c.pending is not None and c.pending != goes_on:
        raise InternalError("a settled continuation was drawn again with the other outcome")
    particle.set_context(ref, c._replace(pending=goes_on))

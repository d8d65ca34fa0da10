"""Distributions over the next token of one or more contexts, and over the next text of a context.

A context is itself such a distribution. Products, powers and mixtures combine the rows of their
contexts and renormalise: (a * b)(t) = a(t) b(t) / sum_v a(v) b(v). Rows are (V,), log-probabilities
in nats: of a single context as the model gave them, float32 or float64, else float64.

`Continues` and `ChoiceOf` are distributions over a truth value and over texts, computed from the
same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fkdsl.base.arrays import NDArray, np
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.values.values import ContextRef, Record, Token

if TYPE_CHECKING:
    from fkdsl.models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Product:
    left: TokenDistribution
    right: TokenDistribution


@dataclass(frozen=True)
class Power:
    base: TokenDistribution
    exponent: float


@dataclass(frozen=True)
class Mixture:
    """sum_i weights[i] parts[i](t); the weights sum to 1. If a part gives no token positive
    probability, its weight is lost, and the total mass is that of the others."""

    parts: tuple[TokenDistribution, ...]
    weights: tuple[float, ...]


TokenDistribution = ContextRef | Product | Power | Mixture


@dataclass(frozen=True)
class ChoiceOf:
    """One of the options, by the model's probability of each as the next text, renormalised. The
    drawn option is appended.

    other: the value if the next text begins with no option; then nothing is appended. If it is
    given, nothing is renormalised: the value is the longest option with which the next tokens
    begin.
    """

    context: ContextRef
    options: tuple[str, ...]
    other: str | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """The values that may be drawn."""
        return self.options if self.other is None else (*self.options, self.other)


@dataclass(frozen=True)
class Continues:
    """Whether the next token continues the current word. A draw decides this much about the next
    token: the next draw is from the tokens of the drawn class, renormalised, so that the law of the
    text stays the model's."""

    context: ContextRef


def gives_tokens(value: Any) -> bool:
    return type(value) is ContextRef or isinstance(value, Product | Power | Mixture)


def leaves(d: TokenDistribution) -> tuple[ContextRef, ...]:
    """The distinct contexts of an expression, in order of first mention. A drawn token is appended
    to each of them."""
    if type(d) is ContextRef:
        return (d,)
    match d:
        case ContextRef():
            return (d,)
        case Product(left, right):
            contexts = leaves(left) + leaves(right)
        case Power(base):
            contexts = leaves(base)
        case Mixture(parts):
            contexts = tuple(leaf for part in parts for leaf in leaves(part))
    return tuple(dict.fromkeys(contexts))


def combine(d: TokenDistribution, rows: Mapping[ContextRef, Floats]) -> Floats:
    """The row (V,) of an expression. rows: of its contexts. Every entry is -inf if no token has
    positive probability."""
    match d:
        case ContextRef():
            return rows[d]
        case Product(left, right):
            return renormalise(np.add(combine(left, rows), combine(right, rows), dtype=np.float64))
        case Power(base, exponent):
            row = combine(base, rows).astype(np.float64)
            return renormalise(np.where(row == -np.inf, -np.inf, row * exponent))
        case Mixture(parts, weights):
            with np.errstate(divide="ignore"):
                stacked = (
                    np.stack([combine(p, rows) for p in parts]).astype(np.float64)
                    + np.log(np.array(weights))[:, None]
                )
            mixed: Floats = np.logaddexp.reduce(stacked, axis=0)
            return mixed


def nothing(vocabulary: Vocabulary) -> Floats:
    """The row (V,) of a finished context: no token can follow the end."""
    return np.full(vocabulary.size, -np.inf)


def renormalise(row: Floats) -> Floats:
    """The row minus its log-sum-exp; unchanged if no token has positive probability."""
    total = log_sum_exp(row)
    return row if total == -np.inf else row - total


def following(row: Floats, pending: bool | None, vocabulary: Vocabulary) -> Floats:
    """A context's row, restricted to the tokens that continue the current word or to the others.
    pending: which of these `Continues` drew (ContextState.pending), None if neither."""
    if pending is None:
        return row
    following = mask_following(vocabulary, pending)
    return renormalise(np.where(following, row, -np.inf).astype(np.float64))


@lru_cache(maxsize=16)
def mask_following(vocabulary: Vocabulary, goes_on: bool) -> NDArray[np.bool_]:
    """(V,) the tokens that continue a word, or the others; always the same array."""
    whole = continuing(vocabulary)
    return whole if goes_on else ~whole


@lru_cache(maxsize=16)
def continuing(vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """(V,) whether each token continues a word: it begins with a letter, a digit, an apostrophe, a
    hyphen, an underscore, or in the middle of a character."""

    def goes_on(raw: bytes) -> bool:
        if not raw:
            return False
        first = raw.decode("utf-8", "replace")[0]
        return first.isalnum() or first in "'\u2019-_\ufffd"

    return np.array([goes_on(raw) for raw in vocabulary.tokens], dtype=np.bool_)


def map_contexts(value: Any, move: Mapping[int, int]) -> Any:
    """The value with every context's index replaced by `move[index]`."""
    match value:
        case ContextRef(i):
            return ContextRef(move[i])
        case Product(left, right):
            return Product(map_contexts(left, move), map_contexts(right, move))
        case Power(base, exponent):
            return Power(map_contexts(base, move), exponent)
        case Mixture(parts, weights):
            return Mixture(tuple(map_contexts(p, move) for p in parts), weights)
        case ChoiceOf(context, options, other):
            return ChoiceOf(map_contexts(context, move), options, other)
        case Continues(context):
            return Continues(map_contexts(context, move))
        case tuple() if any(isinstance(v, _MAY_HOLD) for v in value):
            return tuple(map_contexts(v, move) for v in value)
        case Record() if any(isinstance(v, _MAY_HOLD) for v in value.values()):
            return Record({k: map_contexts(v, move) for k, v in value.items()})
    return value


def contexts_in(value: Any) -> tuple[int, ...]:
    """The indices of the contexts in a value, in order."""
    if type(value) is ContextRef:
        return (value.index,)
    match value:
        case ContextRef(i):
            return (i,)
        case Product() | Power() | Mixture():
            return tuple(leaf.index for leaf in leaves(value))
        case ChoiceOf(ContextRef(i)) | Continues(ContextRef(i)):
            return (i,)
        case tuple():
            return tuple(i for v in value if isinstance(v, _MAY_HOLD) for i in contexts_in(v))
        case Record():
            return tuple(
                i for v in value.values() if isinstance(v, _MAY_HOLD) for i in contexts_in(v)
            )
    return ()


CONTEXT_FREE = frozenset({bool, int, float, str, type(None), Token})
"""The types of most values, which have no context in them."""
_MAY_HOLD = (ContextRef, Product, Power, Mixture, ChoiceOf, Continues, tuple, Record)

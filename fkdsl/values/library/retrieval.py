"""Documents of an index: the best for a query, and the distribution over them.

    p(d | query) = exp(s(d) / temperature) / sum over the k best d' of exp(s(d') / temperature)

s(d) is the document's score (Lewis et al. 2020, arXiv 2005.11401, section 2.2: there an inner
product of vectors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fkdsl.retrieval.errors import RetrievalError
from fkdsl.values.distributions import Weighted
from fkdsl.values.documents import Document, IndexRef, Searched
from fkdsl.values.signatures import BuiltinError, Parameter, distribution, pure
from fkdsl.values.types import DOCUMENT, FLOAT, INDEX, INT, STR, Dist, List
from fkdsl.values.values import show, show_beginning

MOST_DOCUMENTS = 1_000
"""The largest k."""
_INDEX, _QUERY = Parameter("index", INDEX), Parameter("query", STR)
_K, _TEMPERATURE = Parameter("k", INT, 5), Parameter("temperature", FLOAT, 1.0)


@pure("documents", [_INDEX, _QUERY, _K], List(DOCUMENT), needs_indexes=True)
def documents(
    index: IndexRef, query: str, k: int, *, indexes: Mapping[str, Searched]
) -> tuple[Document, ...]:
    """The k best documents of an index for a query, best first; fewer where no more fit, and none
    where nothing does."""
    if not 1 <= k <= MOST_DOCUMENTS:
        raise BuiltinError(f"k = {k} documents", f"k must be between 1 and {MOST_DOCUMENTS:,}")
    try:
        hits = indexes[index.name].search(query, k)
    except KeyError:  # of a damaged trace: the checker knows every index of a program
        raise BuiltinError(f"there is no index `{index.name}`", "declare it") from None
    except RetrievalError as error:
        raise BuiltinError(error.message, error.help, "FK326") from None
    found = tuple(Document(p.text, p.source, p.line, score) for p, score in hits)
    if any(not math.isfinite(d["score"]) for d in found):
        raise BuiltinError(
            f"a score of `{index.name}` is no finite number", 'use `with ranking="bm25"`'
        )
    return found


@pure("relevance", [Parameter("documents", List(DOCUMENT)), _TEMPERATURE], List(FLOAT))
def relevance(found: Sequence[Document], temperature: float) -> tuple[float, ...]:
    """p(d | query) of each of the documents: their scores divided by the temperature, as a softmax.
    A low temperature prefers the best, a high one makes all alike."""
    return _probabilities(found, temperature)


def _probabilities(found: Sequence[Document], temperature: float) -> tuple[float, ...]:
    temperature = float(temperature)
    if not 0.0 < temperature < math.inf:
        raise BuiltinError(
            f"a temperature of {show(temperature)}", "temperature must be above 0, and finite"
        )
    if not found:
        return ()
    top = max(d["score"] for d in found)
    weights = [math.exp((d["score"] - top) / temperature) for d in found]
    total = math.fsum(weights)
    return tuple(w / total for w in weights)


@pure(
    ".document_weights",
    [Parameter("contexts", INT), Parameter("documents", List(DOCUMENT)), _TEMPERATURE],
    List(FLOAT),
)
def document_weights(
    contexts: int, found: Sequence[Document], temperature: float
) -> tuple[float, ...]:
    """The relevance of each document, where there is one context for each, and at least one."""
    if contexts != len(found) or not found:
        raise BuiltinError(
            f"{contexts} contexts for {len(found)} documents",
            "make one of each: `[prompt(d.text) for d in docs]`, and test that there are any",
        )
    return _probabilities(found, temperature)


@pure(".position_of", [Parameter("d", DOCUMENT), Parameter("documents", List(DOCUMENT))], INT)
def position_of(d: Document, found: Sequence[Document]) -> int:
    """Where a document stands in a list that it was drawn from."""
    return found.index(d)


@dataclass(frozen=True)
class Retrieved(Weighted):
    """The k best documents of an index for a query, with p(d | query). Whoever trains a retriever
    reads what it was asked."""

    index: str = ""
    query: str = ""
    k: int = 0
    temperature: float = 1.0


@distribution("retrieve", [_INDEX, _QUERY, _K, _TEMPERATURE], Dist(DOCUMENT), needs_indexes=True)
def retrieve(
    index: IndexRef,
    query: str,
    k: int,
    temperature: float,
    *,
    indexes: Mapping[str, Searched],
) -> Retrieved:
    """One of the k best documents of an index for a query, with probability in proportion to
    exp(score / temperature)."""
    found = documents(index, query, k, indexes=indexes)
    if not found:
        raise BuiltinError(
            f"nothing in `{index.name}` fits the query {show_beginning(query, 60)!r}",
            f"test it first: `if len(documents({index.name}, query)) > 0:`",
        )
    probabilities = _probabilities(found, temperature)
    return Retrieved(
        found, probabilities, "retrieve", probabilities, index.name, query, k, float(temperature)
    )

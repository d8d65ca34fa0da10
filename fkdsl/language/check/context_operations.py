"""The operations on contexts: what each is called with and gives. What they do is in
ir/build_models.py.

>>> str(OPERATIONS["choice"].returns), OPERATIONS["text"].kind
('dist[str]', 'draw')
"""

from __future__ import annotations

from typing import Literal

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.values.signatures import Parameter
from fkdsl.values.types import (
    ANY,
    BOOL,
    CONTEXT,
    DOCUMENT,
    FLOAT,
    IMAGE,
    INT,
    STR,
    TOKEN,
    Dist,
    List,
    OneOf,
    Type,
)


@dataclass(frozen=True)
class Operation:
    """An operation on contexts.

    kind: "value" gives a value, "dist" a distribution, "draw" is stochastic and stands to the right
    of `~` only. takes_model: whether it has `model=NAME` besides its parameters. appends: whether
    drawing from it appends to a context. parts: the type of its arguments by position where an
    image is among them; there are as many as there are parts then. doc: what it does, for editors.
    """

    params: tuple[Parameter, ...]
    returns: Type
    kind: Literal["value", "dist", "draw"]
    takes_model: bool = False
    appends: bool = False
    parts: Type | None = None
    doc: str = ""


_LM = Parameter("context", CONTEXT)
_OF_DOCUMENTS = (
    Parameter("contexts", List(CONTEXT)),
    Parameter("documents", List(DOCUMENT)),
    Parameter("temperature", FLOAT, 1.0),
    Parameter("until", OneOf((STR, List(STR))), ""),
    Parameter("max_tokens", INT, 256),
)

OPERATIONS: dict[str, Operation] = {
    "prompt": Operation(
        (Parameter("text", STR), Parameter("source", STR, None, by_name=True)),
        CONTEXT,
        "value",
        takes_model=True,
        parts=OneOf((STR, IMAGE)),
        doc="A context that begins with a text, or, of a model with eyes, with texts and images in "
        "their order. source: what an encoder-decoder reads, of which "
        "the context is the decoder's text. model: a declared model, or a reference.",
    ),
    "chat": Operation(
        (Parameter("user", STR), Parameter("system", STR, "")),
        CONTEXT,
        "value",
        takes_model=True,
        parts=OneOf((STR, IMAGE)),
        doc="A context that begins with a turn of the user, in the model's own chat template: a "
        "text, or texts and images.",
    ),
    "fork": Operation((_LM,), CONTEXT, "value", doc="An independent copy of a context."),
    "logprob": Operation(
        (Parameter("context", OneOf((CONTEXT, Dist(ANY)))), Parameter("text", ANY)),
        FLOAT,
        "value",
        doc="The log-probability, in nats, that the context goes on with the text; the context is "
        "left as it was. Of a distribution, such as a product of contexts or normal(0.0, 1.0): the "
        "log of its probability, or density, of a value.",
    ),
    "choice": Operation(
        (_LM, Parameter("options", List(STR)), Parameter("other", STR, None)),
        Dist(STR),
        "dist",
        appends=True,
        doc="One of the texts, with the model's probability of each, renormalised; the one drawn "
        "is appended. With `other` nothing is renormalised: it comes out where the model says none "
        "of them.",
    ),
    "continues": Operation(
        (_LM,), Dist(BOOL), "dist", doc="Whether the next token goes on with the current word."
    ),
    "mixture": Operation(
        (Parameter("parts", List(Dist(TOKEN))), Parameter("weights", List(FLOAT))),
        Dist(TOKEN),
        "dist",
        appends=True,
        doc="The next token, from one of the parts with probability in proportion to its weight; "
        "every context in it appends the token.",
    ),
    "text": Operation(
        (
            Parameter("lm", OneOf((CONTEXT, Dist(TOKEN)))),
            Parameter("until", OneOf((STR, List(STR))), ""),
            Parameter("max_tokens", INT, 256),
            Parameter("closed", BOOL, False),
        ),
        STR,
        "draw",
        appends=True,
        doc="The model's text up to `until` (a stop, or a list of stops), which is not part of it, "
        'or the end, or max_tokens tokens; "" of a finished context. closed: it must be a stop or '
        "the end that ends it, not max_tokens. lm: a context, or a product, power or mixture.",
    ),
    "word": Operation(
        (Parameter("lm", CONTEXT), Parameter("max_tokens", INT, 16)),
        STR,
        "draw",
        appends=True,
        doc='The next word, without the spaces and punctuation about it; "" at the end.',
    ),
    "rag_sequence": Operation(
        _OF_DOCUMENTS,
        STR,
        "draw",
        appends=True,
        doc="A text by RAG-Sequence: one of the documents is drawn by its relevance, and the whole "
        "text from its context. contexts: one for each document.",
    ),
    "rag_token": Operation(
        _OF_DOCUMENTS,
        STR,
        "draw",
        appends=True,
        doc="A text by RAG-Token: each token is drawn from the mixture of the contexts, weighted "
        "by the documents' relevance. contexts: one for each document.",
    ),
}

"""The operations on contexts: what each is called with and gives. What they do is in
ir/build_models.py.

>>> str(OPERATIONS["choice"].returns), OPERATIONS["text"].kind
('dist[str]', 'draw')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fkdsl.values.signatures import Parameter
from fkdsl.values.types import BOOL, CONTEXT, FLOAT, INT, MARK, STR, TOKEN, Dist, List, OneOf, Type


@dataclass(frozen=True)
class Operation:
    """An operation on contexts.

    kind: "value" gives a value, "dist" a distribution, "draw" is stochastic and stands to the right
    of `~` only. takes_model: whether it has `model=NAME` besides its parameters. appends: whether
    drawing from it appends to a context.
    """

    params: tuple[Parameter, ...]
    returns: Type
    kind: Literal["value", "dist", "draw"]
    takes_model: bool = False
    appends: bool = False


_LM = Parameter("context", CONTEXT)

OPERATIONS: dict[str, Operation] = {
    "prompt": Operation((Parameter("text", STR),), CONTEXT, "value", takes_model=True),
    "chat": Operation(
        (Parameter("user", STR), Parameter("system", STR, "")), CONTEXT, "value", takes_model=True
    ),
    "fork": Operation((_LM,), CONTEXT, "value"),
    "logprob": Operation((_LM, Parameter("text", OneOf((STR, MARK)))), FLOAT, "value"),
    "choice": Operation(
        (_LM, Parameter("options", List(STR)), Parameter("other", STR, None)),
        Dist(STR),
        "dist",
        appends=True,
    ),
    "continues": Operation((_LM,), Dist(BOOL), "dist"),
    "mixture": Operation(
        (Parameter("parts", List(Dist(TOKEN))), Parameter("weights", List(FLOAT))),
        Dist(TOKEN),
        "dist",
        appends=True,
    ),
    "text": Operation(
        (
            Parameter("lm", CONTEXT),
            Parameter("until", OneOf((STR, List(STR))), ""),
            Parameter("max_tokens", INT, 256),
            Parameter("closed", BOOL, False),
        ),
        STR,
        "draw",
        appends=True,
    ),
    "word": Operation(
        (Parameter("lm", CONTEXT), Parameter("max_tokens", INT, 16)), STR, "draw", appends=True
    ),
}

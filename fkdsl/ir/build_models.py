"""The operations of expressions on contexts, as closures: prompt, chat, fork, logprob, log_density,
mixture, choice, continues."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.locks import in_turn
from fkdsl.machine import scoring
from fkdsl.machine.particle import ActiveFrame, Compute, RunningParticle
from fkdsl.models.attachments import Attachment, Part
from fkdsl.models.interface import TakesAttachments
from fkdsl.values.faults import Fault
from fkdsl.values.images import Image
from fkdsl.values.token_distributions import ChoiceOf, Continues, Mixture, gives_tokens
from fkdsl.values.values import ContextRef, Token, show


def _text(value: Any) -> str:
    if isinstance(value, Token):
        return value.text
    if not isinstance(value, str):
        raise Fault("FK408", f"expected text, found {show(value)!r}", "write str(x)")
    return value


def _context(value: Any) -> ContextRef:
    if not isinstance(value, ContextRef):
        raise Fault(
            "FK408", f"expected a context, found {show(value)!r}", "make one with prompt(...)"
        )
    return value


def prompt(frame: ActiveFrame, model: str, text: Any, source: Any = None, *more: Any) -> ContextRef:
    """text, more: the parts, of which one is an image if there are several."""
    particle = frame.particle
    asked = particle.engines[model].model
    if more or isinstance(text, Image):
        if source is not None:
            raise Fault("FK417", "a prompt has images or a source", "leave one of them out")
        return _illustrated(particle, model, lambda m: m.start_with(_parts((text, *more))))
    begin = _text(text)
    takes = asked.kinds if isinstance(asked, TakesAttachments) else frozenset()
    if source is None and "source" not in takes:
        try:
            return particle.start(model, in_turn(asked, asked.start, begin))
        except CallError as error:  # the vocabulary cannot write the text
            raise Fault("FK402", error.message, error.help) from None
    if source is None:
        raise Fault(
            "FK416",
            f"{asked.name} reads a source text, and is given none",
            'write `prompt("", source=...)`: what the answer begins with, and what it is about',
        )
    if not isinstance(asked, TakesAttachments) or "source" not in takes:
        raise Fault(
            "FK416",
            f"{asked.name} reads no source: it is no encoder-decoder",
            "put the text into the prompt",
        )
    try:
        parts = (Attachment.source(_text(source)), begin)
        ids = in_turn(asked, asked.start_with, parts)
    except CallError as error:
        raise Fault("FK416", error.message, error.help) from None
    return particle.start(model, ids)


def chat(frame: ActiveFrame, model: str, user: Any, system: Any, *more: Any) -> ContextRef:
    """more: the further arguments by position: parts of the user's turn where one of all is an
    image, else the system's text."""
    particle = frame.particle
    if any(isinstance(part, Image) for part in (user, *more)):
        parts, said = _parts((user, *more)), _text(system)
        return _illustrated(particle, model, lambda m: m.chat_with(parts, said))
    (system,) = more or (system,)
    asked = particle.engines[model].model
    return particle.start(model, in_turn(asked, asked.chat, _text(user), _text(system)))


def _parts(given: Sequence[Any]) -> tuple[Part, ...]:
    return tuple(v.attachment if isinstance(v, Image) else _text(v) for v in given)


def _illustrated(
    particle: RunningParticle, model: str, begin: Callable[[TakesAttachments], tuple[int, ...]]
) -> ContextRef:
    """A context that begins with images. Raises Fault (FK417) for a model that takes none, and for
    images that the model cannot take."""
    asked = particle.engines[model].model
    if not isinstance(asked, TakesAttachments) or "image" not in asked.kinds:
        raise Fault(
            "FK417",
            f"{asked.name} has no eyes: it takes no images",
            "use a model that reads images and text, by its name on the hub, or `tiny-vision`",
        )
    try:
        ids = in_turn(asked, begin, asked)
    except CallError as error:
        raise Fault("FK417", error.message, error.help) from None
    return particle.start(model, ids)


def fork(frame: ActiveFrame, model: str, context: Any) -> ContextRef:
    particle = frame.particle
    return particle.add_context(particle.contexts[_context(context).index])


def logprob(frame: ActiveFrame, model: str, d: Any, value: Any) -> float:
    return scoring.logprob(frame.particle, d, value)


def log_density(frame: ActiveFrame, model: str, d: Any, value: Any) -> float:
    """`logprob` of a distribution of something other than tokens, which may be above 0."""
    return scoring.logprob(frame.particle, d, value)


def mixture(frame: ActiveFrame, model: str, parts: Any, weights: Any) -> Mixture:
    if not parts or not all(gives_tokens(p) for p in parts):
        raise Fault(
            "FK408",
            "a mixture needs a list of contexts",
            "write mixture([a, b], weights=[0.5, 0.5])",
        )
    total = math.fsum(weights) if len(weights) == len(parts) else 0.0
    if not 0.0 < total < math.inf or min(weights) < 0.0:
        raise Fault(
            "FK402",
            f"a mixture of {len(parts)} contexts with weights {show(weights)}",
            "give one weight for each context, none negative, not all zero",
        )
    return Mixture(tuple(parts), tuple(w / total for w in weights))


def choice(frame: ActiveFrame, model: str, context: Any, options: Any, other: Any) -> ChoiceOf:
    options = tuple(_text(o) for o in options)
    if not options or "" in options or len(set(options)) != len(options):
        raise Fault(
            "FK402", f"a choice among {show(options)}", "give different texts, none of them empty"
        )
    if other is not None and (other := _text(other)) in options:
        raise Fault(
            "FK402",
            f"`other` is {show(other)}, which is an option too",
            "give `other` a text of its own: it is what comes out for none of the options",
        )
    return ChoiceOf(_context(context), options, other)


def continues(frame: ActiveFrame, model: str, context: Any) -> Continues:
    return Continues(_context(context))


OPERATIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (prompt, chat, fork, logprob, log_density, mixture, choice, continues)
}


def build_model(operation: str, args: tuple[Compute, ...], model: str) -> Compute:
    """The closure of a `Model` expression."""
    if operation not in OPERATIONS:
        raise InternalError(f"ir: no such operation on contexts: {operation}")
    function = OPERATIONS[operation]
    return lambda frame: function(frame, model, *[a(frame) for a in args])

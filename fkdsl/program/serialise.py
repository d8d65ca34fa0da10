"""A particle's state as JSON-able data and back: to write it to disk, to send it, to replay it.

Contexts are written as the ids of their tokens; what their model has cached of them is not, and is computed again.
Only values that a program can hold between draws are written; a distribution held in a variable is one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fkdsl.base.errors import InternalError
from fkdsl.program import distributions
from fkdsl.program.state import UNSET, ContextState, Frame, ProgramState, Status, Unset
from fkdsl.program.tokens import ChoiceOf, Continues, Mixture, Power, Product
from fkdsl.program.values import ContextRef, Record, Token

if TYPE_CHECKING:
    from fkdsl.program.feynman_kac import SteeringModel

VERSION = 1
_TAGGED: dict[str, type] = {
    c.__name__: c
    for c in (
        Token,
        ContextRef,
        Product,
        Power,
        Mixture,
        ChoiceOf,
        Continues,
        distributions.Discrete,
        distributions.Counting,
        distributions.Uniform,
        distributions.Normal,
        distributions.Beta,
    )
}


def state_to_json(x: ProgramState) -> dict[str, Any]:
    """The state as dicts, lists, strings and numbers."""
    return {
        "version": VERSION,
        "status": x.status.value,
        "frames": [[f.function, f.pc, [_write(v) for v in f.slots], f.target] for f in x.frames],
        "contexts": [[c.model, list(c.node.tokens), c.start, c.done, c.pending] for c in x.contexts],
        "value": _write(x.value),
    }


def state_from_json(data: dict[str, Any], model: SteeringModel) -> ProgramState:
    """The state again, over a model's engines. A dead state's place is not kept."""
    if data.get("version") != VERSION:
        raise InternalError(f"a state of version {data.get('version')}, not {VERSION}")
    contexts = []
    for name, tokens, start, done, pending in data["contexts"]:
        engine = model.engines[name]
        skip = len(engine.model.vocabulary.raw(tokens[:start]))
        contexts.append(ContextState(name, engine.extend(engine.root, tokens), start, skip, done, pending))
    frames = tuple(Frame(f, pc, tuple(map(_read, slots)), target) for f, pc, slots, target in data["frames"])
    return ProgramState(Status(data["status"]), frames, tuple(contexts), _read(data["value"]))


def _write(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": value.hex()}
        case Unset():
            return {"unset": True}
        case tuple():
            return {"list": [_write(v) for v in value]}
        case Record():
            return {"record": {k: _write(v) for k, v in value.items()}}
    name = type(value).__name__
    if name not in _TAGGED:
        raise InternalError(f"a state holds a {name}, which cannot be written")
    fields = value.__dataclass_fields__
    return {"type": name, "fields": {k: _write(getattr(value, k)) for k in fields}}


def _read(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    if "float" in data:
        return float.fromhex(data["float"])
    if "unset" in data:
        return UNSET
    if "list" in data:
        return tuple(map(_read, data["list"]))
    if "record" in data:
        return Record({k: _read(v) for k, v in data["record"].items()})
    return _TAGGED[data["type"]](**{k: _read(v) for k, v in data["fields"].items()})

"""Values of programs as JSON-able data and back, exactly: integers as they are, floats by
`float.hex`."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.base.value_keys import state_key
from fkdsl.machine.state import UNSET, Unset
from fkdsl.models.attachments import Attachment
from fkdsl.values import distributions
from fkdsl.values.documents import Document, IndexRef
from fkdsl.values.images import Image
from fkdsl.values.marks import Mark
from fkdsl.values.token_distributions import ChoiceOf, Continues, Mixture, Power, Product
from fkdsl.values.values import ContextRef, Record, Token

SAFE = 1 << 53
"""Integers from here on are written as text: JSON readers may round them, and Python refuses very
long ones."""
TAGGED: dict[str, type] = {
    c.__name__: c
    for c in (
        Product,
        Power,
        Mixture,
        ChoiceOf,
        Continues,
        Mark,
        IndexRef,
        distributions.Discrete,
        distributions.Weighted,
        distributions.Counting,
        distributions.Uniform,
        distributions.Normal,
        distributions.Beta,
    )
}


def write_value(value: Any) -> Any:
    """A value that a program can hold between draws; a distribution held in a variable is one of
    them."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -SAFE < value < SAFE else {"int": hex(value)}
        case float():
            return {"float": value.hex()}
        case Unset():
            return {"unset": True}
        case Token(id=i, text=text, end=end):
            return {"token": [i, text, end]}
        case ContextRef(i):
            return {"context": i}
        case tuple():
            return {"list": [write_value(v) for v in value]}
        case Image(attachment=a):
            return {"image": b64encode(a.content).decode(), "origin": a.origin}
        case Document():
            return {"document": list(value.passage), "score": value["score"].hex()}
        case Record():
            return {"record": {k: write_value(v) for k, v in value.items()}}
    name = type(value).__name__
    if name not in TAGGED:
        raise InternalError(f"a state holds a {name}, which cannot be written")
    fields = value.__dataclass_fields__
    return {"type": name, "fields": {k: write_value(getattr(value, k)) for k in fields}}


def read_value(data: Any) -> Any:
    """The value again."""
    if not isinstance(data, dict):
        return data
    match data:
        case {"int": text}:
            return int(text, 16)
        case {"float": text}:
            return float.fromhex(text)
        case {"unset": True}:
            return UNSET
        case {"token": [i, text, end]}:
            return Token(i, text, end)
        case {"context": i}:
            return ContextRef(i)
        case {"list": items}:
            return tuple(map(read_value, items))
        case {"document": [text, source, line], "score": score}:
            return Document(text, source, line, float.fromhex(score))
        case {"image": content, "origin": origin}:
            return Image(Attachment("image", b64decode(content, validate=True), origin))
        case {"record": fields}:
            return Record({k: read_value(v) for k, v in fields.items()})
    return TAGGED[data["type"]](**{k: read_value(v) for k, v in data["fields"].items()})


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit: types, token ids and signs of zeros too."""
    return a is b or (type(a) is type(b) and state_key(a) == state_key(b))

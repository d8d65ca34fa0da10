"""`dataclass` of the standard library, made in a twentieth of the time.

The library compiles five methods for each class when its module is imported, 0.4 ms a class. fkdsl
has hundreds of classes, and a command uses some of them. Here a class shares its methods with all
others, and its `__init__` is compiled when the first object is made. All else is as the library
has it: fields, defaults, `replace`, `fields`, patterns, equality, hashes, frozen objects. A type
checker sees the library's own.

>>> @dataclass(frozen=True)
... class Point:
...     x: int
...     y: int = 0
>>> Point(1), Point(1) == Point(1, 0), replace(Point(1), y=2), [f.name for f in fields(Point)]
(Point(x=1, y=0), True, Point(x=1, y=2), ['x', 'y'])

For what the library has beside (slots, order, keyword-only fields), take the library's.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "fields", "replace"]


@dataclasses.dataclass
class _Example:
    x: int


_MARK = "_field_type"
_ORDINARY = getattr(fields(_Example)[0], _MARK)
"""What the library writes on a field that is neither a class variable nor for `__init__` alone."""


def _quick_dataclass(
    cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True
) -> Any:
    """The class as a dataclass; with no class, what makes one so."""

    def made(cls: type) -> type:
        _add_methods(cls, _fields_of(cls), frozen, eq, repr)
        return cls

    return made if cls is None else made(cls)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _quick_dataclass


def _fields_of(cls: type) -> dict[str, Field[Any]]:
    """The fields by name, those of base classes first."""
    known: dict[str, Field[Any]] = {}
    for base in cls.__mro__[-1:0:-1]:
        known.update(base.__dict__.get("__dataclass_fields__", {}))
    for name, annotation in inspect.get_annotations(cls).items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = cls.__dict__.get(name, MISSING)
        one: Field[Any] = default if isinstance(default, Field) else field(default=default)
        if one.default.__class__.__hash__ is None:
            raise ValueError(f"{cls.__name__}.{name} has a default that all objects would share")
        one.name, one.type, one.kw_only = name, annotation, False
        setattr(one, _MARK, _ORDINARY)
        known[name] = one
        if default is one:
            if one.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, one.default)
    return known


def _add_methods(
    cls: type, known: Mapping[str, Field[Any]], frozen: bool, eq: bool, repr: bool
) -> None:
    own = cls.__dict__
    cls.__dataclass_fields__ = known  # type: ignore[attr-defined]
    cls.__dataclass_params__ = _Params(frozen, eq, repr)  # type: ignore[attr-defined]
    for name, method in _methods(cls, known, frozen, eq, repr):
        if name not in own or (name == "__hash__" and own[name] is None and "__eq__" in own):
            method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
            setattr(cls, name, method)
    if "__match_args__" not in own:
        setattr(cls, "__match_args__", tuple(n for n, f in known.items() if f.init))  # noqa: B010
    if eq and not frozen and "__hash__" not in own:
        cls.__hash__ = None  # type: ignore[assignment]


class _Params:
    """What the library asks of the classes that another inherits from."""

    def __init__(self, frozen: bool, eq: bool, repr: bool) -> None:
        self.frozen, self.eq, self.repr, self.init = frozen, eq, repr, True
        self.order = self.unsafe_hash = False


def _methods(
    cls: type, known: Mapping[str, Field[Any]], frozen: bool, eq: bool, repr: bool
) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield "__init__", _lazy_init(cls, known, frozen)
    if repr:
        yield "__repr__", _repr([n for n, f in known.items() if f.repr])
    if eq:
        values = _values([n for n, f in known.items() if f.compare])
        yield "__eq__", _eq(values)
        if frozen:
            hashed = [n for n, f in known.items() if (f.compare if f.hash is None else f.hash)]
            yield "__hash__", _hash(_values(hashed))
    if frozen:
        yield "__setattr__", _frozen_setattr(cls, known)
        yield "__delattr__", _frozen_delattr(cls, known)


def _lazy_init(cls: type, known: Mapping[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    def first_init(self: Any, *args: Any, **kwargs: Any) -> None:
        # Two threads may both compile it, to the same.
        compiled = _compiled_init(cls, known, frozen)
        cls.__init__ = compiled  # type: ignore[misc]
        compiled(self, *args, **kwargs)

    return first_init


def _compiled_init(cls: type, known: Mapping[str, Field[Any]], frozen: bool) -> Callable[..., None]:
    """`__init__` as one would write it: self.x = x for each field, or past a frozen object's
    `__setattr__`."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_none": MISSING}
    parameters, lines = ["self"], []
    for i, (name, f) in enumerate(known.items()):
        value = name
        if f.default_factory is not MISSING:
            names[f"_make{i}"] = f.default_factory
            value = f"_make{i}() if {name} is _none else {name}" if f.init else f"_make{i}()"
        elif not f.init and f.default is MISSING:
            continue
        elif f.default is not MISSING:
            names[f"_default{i}"] = f.default
            value = name if f.init else f"_default{i}"
        if f.init:
            optional = f.default_factory is not MISSING or f.default is not MISSING
            given = f"_default{i}" if f.default is not MISSING else "_none"
            parameters.append(f"{name}={given}" if optional else name)
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n    ".join(lines or ["pass"])
    exec(f"def __init__({', '.join(parameters)}):\n    {body}", names)
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """From an object to the values of these fields."""
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda self: (getattr(self, names[0]),)) if names else (lambda self: ())


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], Any]:
    def equal(self: Any, other: object) -> Any:
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    return equal


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    def hashed(self: Any) -> int:
        return hash(values(self))

    return hashed


def _repr(names: list[str]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({parts})"

    return shown


def _frozen_setattr(cls: type, known: Mapping[str, Field[Any]]) -> Callable[..., None]:
    def refuse(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in known:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)  # type: ignore[arg-type]

    return refuse


def _frozen_delattr(cls: type, known: Mapping[str, Field[Any]]) -> Callable[..., None]:
    def refuse(self: Any, name: str) -> None:
        if type(self) is cls or name in known:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)  # type: ignore[arg-type]

    return refuse

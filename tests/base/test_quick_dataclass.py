"""Dataclasses made quickly are as the library makes them, which is the slow reference here."""

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from fkdsl.base import quick_dataclass
from fkdsl.base.quick_dataclass import field, fields, replace


def classes(make):
    """The same classes, made dataclasses by `make`."""

    @make(frozen=True)
    class Point:
        x: int
        y: Any = 0

    @make(frozen=True)
    class Named(Point):
        """A point with a name, and what neither equality nor the shown form takes in."""

        kind: ClassVar[str] = "point"
        name: str = field(default="p", compare=False)
        path: Sequence[str] = field(default=(), repr=False, metadata={"a": 1})

    @make
    class Counter:
        count: int
        seen: list[int] = field(default_factory=list)
        ready: bool = field(init=False, default=True)

        def __post_init__(self) -> None:
            self.doubled = 2 * self.count

    @make(frozen=True, eq=False)
    class Identity:
        x: int
        later: int = field(init=False, repr=False)

    @make(frozen=True)
    class Own:
        x: int

        def __eq__(self, other):
            return True

        def __repr__(self):
            return "own"

    @make(frozen=True)
    class Empty:
        pass

    return Point, Named, Counter, Identity, Own, Empty


def outcome(call):
    """What a call comes to: its value, or the error's type and words."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


QUICK, LIBRARY = classes(quick_dataclass.dataclass), classes(dataclasses.dataclass)


@pytest.mark.parametrize(
    "act",
    [
        lambda P, N, C, D, W, E: repr(P(1)),
        lambda P, N, C, D, W, E: repr(N(1, 2, "n", ("a",))),
        lambda P, N, C, D, W, E: repr((C(3), C(3).doubled, W(1), E())),
        lambda P, N, C, D, W, E: (P(1) == P(1, 0), P(1) == P(2), P(1) == N(1), P(1) == 1),
        lambda P, N, C, D, W, E: E() == E(),
        lambda P, N, C, D, W, E: N(1, name="a") == N(1, name="b"),
        lambda P, N, C, D, W, E: (hash(P(1)) == hash(P(1)), hash(N(1, name="a")) == hash(N(1))),
        lambda P, N, C, D, W, E: (D(1) == D(1), len({D(1), D(1)}), W(1) == W(2), hash(W(1))),
        lambda P, N, C, D, W, E: hash(C(1)),
        lambda P, N, C, D, W, E: hash(P([])),
        lambda P, N, C, D, W, E: P(),
        lambda P, N, C, D, W, E: P(1, 2, 3),
        lambda P, N, C, D, W, E: P(z=1),
        lambda P, N, C, D, W, E: setattr(P(1), "x", 2),
        lambda P, N, C, D, W, E: delattr(P(1), "x"),
        lambda P, N, C, D, W, E: setattr(P(1), "other", 2),
        lambda P, N, C, D, W, E: setattr(type("Sub", (P,), {})(1), "other", 2),
        lambda P, N, C, D, W, E: setattr(type("Sub", (P,), {})(1), "x", 2),
        lambda P, N, C, D, W, E: D(1).later,
        lambda P, N, C, D, W, E: C(1).seen is C(1).seen,
        lambda P, N, C, D, W, E: [(f.name, f.init, f.compare, {**f.metadata}) for f in fields(N)],
        lambda P, N, C, D, W, E: (repr(replace(N(1), y=2)), repr(replace(C(1), count=2))),
        lambda P, N, C, D, W, E: replace(P(1), z=2),
        lambda P, N, C, D, W, E: replace(D(1), later=2),
        lambda P, N, C, D, W, E: (dataclasses.asdict(N(1)), dataclasses.astuple(P(1, P(2)))),
        lambda P, N, C, D, W, E: (dataclasses.is_dataclass(P), N.__match_args__),
        lambda P, N, C, D, W, E: (repr(copy.deepcopy(N(1, [2]))), copy.copy(P(1)) == P(1)),
        lambda P, N, C, D, W, E: (P.y, N.name, N.path, N.kind, C.ready, hasattr(C, "seen")),
        lambda P, N, C, D, W, E: P.__init__.__qualname__,
    ],
)  # fmt: skip
def test_a_quick_dataclass_is_as_the_librarys(act):
    assert outcome(lambda: act(*QUICK)) == outcome(lambda: act(*LIBRARY))


@pytest.mark.parametrize("inner", [quick_dataclass.dataclass, dataclasses.dataclass])
@pytest.mark.parametrize("outer", [quick_dataclass.dataclass, dataclasses.dataclass])
def test_quick_dataclasses_and_the_librarys_inherit_from_each_other(inner, outer):
    @inner(frozen=True)
    class Base:
        x: int

    @outer(frozen=True)
    class Derived(Base):
        y: int = 2

    match Derived(1):
        case Derived(x, y):
            assert (x, y) == (1, 2)
    assert [f.name for f in fields(Derived)] == ["x", "y"]


def test_a_default_that_objects_would_share_is_refused():
    for make in (quick_dataclass.dataclass, dataclasses.dataclass):
        with pytest.raises(ValueError, match="default"):
            make(type("C", (), {"__annotations__": {"x": "list"}, "x": []}))


@quick_dataclass.dataclass(frozen=True)
class Sent:
    x: int


def test_an_object_may_come_from_another_process_before_any_is_made_here():
    sent = object.__new__(Sent)
    sent.__dict__["x"] = 1
    received = pickle.loads(pickle.dumps(sent))
    assert received == sent
    assert hash(received) == hash(Sent(1))
    assert repr(received) == "Sent(x=1)"

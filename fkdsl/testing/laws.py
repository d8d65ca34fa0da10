"""The laws of inference as assertions, by exact expectation: chance has no part in them, and the
tolerance is for rounding only.

The measure of a method is E[sum_i w_i 1{x_i = v}] for each value v. The method is unbiased if that
is the model's own measure, E_M[prod_t G_t 1{X_T = v}]; then Z_hat = sum_i w_i has expectation Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from fkdsl.api.engines import ModelReference
from fkdsl.api.program import Program, parse
from fkdsl.base.errors import CallError
from fkdsl.base.random import Rng
from fkdsl.base.value_keys import value_key
from fkdsl.inference.checked_model import CheckedModel
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.methods import METHODS, check_method
from fkdsl.inference.run import steps_of
from fkdsl.inference.search.exact import exact
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.testing.feynman_kac import Machine

Measure = Mapping[Hashable, float]
"""Masses by value_key(value), not normalised: they sum to Z."""
Target = FeynmanKac[Any] | Program | str
"""A Feynman-Kac model, a program, or a program's text."""
Sampler = Callable[[Any], Iterable[Step[Any]]]
"""A method with its model and options: from a random stream to the steps that it yields."""


def unbiased_methods() -> dict[str, Mapping[str, Any]]:
    """The methods whose weights are unbiased, by name, with settings with which every outcome of
    their draws can be visited."""
    return {
        name: method.checks.enumerated
        for name, method in METHODS.items()
        if method.estimates_z and method.checks.enumerated is not None
    }


class _Unfinished:
    """Takes the place of a value for states that a method left unfinished."""

    def __repr__(self) -> str:
        return "unfinished"


UNFINISHED = _Unfinished()
SHOWN = 12
"""The most values that a message shows."""


def exact_measure(model: FeynmanKac[Any], **options: Any) -> dict[Hashable, float]:
    """The measure that a model denotes over its values, by enumeration."""
    *_, last = exact(model, **options)
    masses: dict[Hashable, float] = {}
    for x, w in zip(last.states, last.log_weights, strict=True):
        key = value_key(model.value(x))
        masses[key] = masses.get(key, 0.0) + math.exp(w)
    return masses


def expected_measure(
    model: FeynmanKac[Any], sampler: Sampler, limit: int = 2_000_000
) -> dict[Hashable, float]:
    """E[sum_i w_i 1{x_i = v}] of a method's last step, over every outcome of its randomness."""
    masses: dict[Hashable, float] = {}
    for p, last in enumerate_outcomes(lambda rng: _last(sampler(rng)), limit):
        for particle, w in zip(last.particles, last.log_weights, strict=True):
            if w > -math.inf:
                key = (
                    value_key(model.value(particle.state))
                    if model.finished(particle.state)
                    else UNFINISHED
                )
                masses[key] = masses.get(key, 0.0) + p * math.exp(w)
    return masses


def _last(steps: Iterable[Step[Any]]) -> Step[Any]:
    *_, last = steps
    return last


def assert_unbiased(
    target: Target,
    method: str | Sampler,
    tolerance: float = 1e-10,
    *,
    model: ModelReference | None = None,
    limit: int = 2_000_000,
    **options: Any,
) -> None:
    """Asserts that E[Z_hat] = Z and E[sum w f] = Z E[f] for every f, exactly: the method is run for
    every outcome of its draws. The Z and E[f] of a program are found without the optimiser.

    method: the name of a method, with its options (few particles unless they say otherwise), or a
    function of a random stream that yields Steps. model: takes the place of a program's default
    language model. limit: the most outcomes to visit; more raise TooManyOutcomes.
    """
    target = parse(target) if isinstance(target, str) else target
    feynman_kac = as_model(target, model)
    if isinstance(method, str):
        name, sampler = method, named_sampler(feynman_kac, method, options)
    elif options:
        raise CallError(
            f"options go with a method's name, not with a function: {', '.join(options)}"
        )
    else:
        name, sampler = "method", method
    truth = measure_as_written(target, model)
    assert_same_masses(
        expected_measure(feynman_kac, sampler, limit), truth, tolerance, (f"E[{name}]", "exact")
    )


def assert_same_measure(
    a: Target, b: Target, tolerance: float = 1e-10, *, model: ModelReference | None = None
) -> None:
    """Asserts that two models, or programs, denote the same measure over their values, as a
    rewriting must.

    model: takes the place of both programs' default language model. A program must also have the
    same measure with the optimiser as without it.
    """
    first, second = (_checked_measure(target, tolerance, model) for target in (a, b))
    assert_same_masses(first, second, tolerance)


def _checked_measure(
    target: Target, tolerance: float, model: ModelReference | None
) -> dict[Hashable, float]:
    """The measure without the optimiser; asserts that a program has the same with it."""
    target = parse(target) if isinstance(target, str) else target
    written = measure_as_written(target, model)
    if isinstance(target, Program):
        optimised = exact_measure(as_model(target, model))
        assert_same_masses(optimised, written, tolerance, ("optimised", "as written"))
    return written


def measure_as_written(
    target: FeynmanKac[Any] | Program, model: ModelReference | None = None
) -> dict[Hashable, float]:
    """The measure of a model, or of a program without the optimiser, so that no mistake of a pass
    can be in it."""
    if isinstance(target, Program):
        target = target.without()
    return exact_measure(as_model(target, model))


def as_model(target: Target, model: ModelReference | None = None) -> FeynmanKac[Any]:
    """The Feynman-Kac model of a program or of its text; a model itself is returned as it is."""
    if isinstance(target, str):
        target = parse(target)
    if isinstance(target, Program):
        return target.feynman_kac(model)
    if model is not None:
        raise CallError(
            "a Feynman-Kac model asks no language model by name", "give `model` with a program"
        )
    return target if isinstance(target, SteeringModel | Machine) else CheckedModel(target)


def named_sampler(model: FeynmanKac[Any], method: str, options: Mapping[str, Any]) -> Sampler:
    """A method of `unbiased_methods` on a model, with the options given over its small ones."""
    chosen, known = check_method(method), unbiased_methods()
    if method not in known:
        message = f"the weights of `{method}` are not meant to be unbiased"
        raise CallError(
            message,
            f"name one of {', '.join(known)}, or give a function of a stream that yields Steps",
        )
    checked = chosen.checked({**known[method], **options})

    def sampler(rng: Rng) -> Iterable[Step[Any]]:
        return (step for step in steps_of(model, rng, method, checked) if isinstance(step, Step))

    return sampler


def assert_same_masses(
    a: Measure, b: Measure, tolerance: float = 1e-10, names: tuple[str, str] = ("first", "second")
) -> None:
    """Asserts that every value has the same mass in both, up to `tolerance` times the total."""
    scale = max(1.0, math.fsum(a.values()), math.fsum(b.values()))
    if not all(abs(a.get(v, 0.0) - b.get(v, 0.0)) <= tolerance * scale for v in {**a, **b}):
        raise AssertionError(_difference(a, b, names))


def _difference(a: Measure, b: Measure, names: tuple[str, str]) -> str:
    """A table of both masses, with the values that differ most first, and of Z."""
    values = sorted({**a, **b}, key=lambda v: -abs(a.get(v, 0.0) - b.get(v, 0.0)))
    rows = [(key_text(v), a.get(v, 0.0), b.get(v, 0.0)) for v in values[:SHOWN]]
    total = ("Z, the sum", math.fsum(a.values()), math.fsum(b.values()))
    width = max(len(row[0]) for row in [*rows, total])
    columns = [max(len(name), 12) for name in names]

    def line(row: tuple[str, float, float]) -> str:
        mark = "" if math.isclose(row[1], row[2], rel_tol=1e-9, abs_tol=1e-12) else "  <-"
        return f"  {row[0]:<{width}}  {row[1]:>{columns[0]}.6g}  {row[2]:>{columns[1]}.6g}{mark}"

    more = [f"  and {len(values) - SHOWN} values more"] if len(values) > SHOWN else []
    return "\n".join(
        [
            f"mass of {rows[0][0]}: {rows[0][1]!r} and {rows[0][2]!r}",
            f"  {'value':<{width}}  {names[0]:>{columns[0]}}  {names[1]:>{columns[1]}}",
            *map(line, rows),
            *more,
            line(total),
        ]
    )


def key_text(key: Any) -> str:
    """The value that a value_key belongs to, for people, without types.

    >>> key_text(value_key("a")), key_text(value_key([1, True])), key_text(value_key({"a": -0.0}))
    ("'a'", '(1, True)', "{'a': -0.0}")
    """
    match key:
        case (kind, *items) if kind is tuple:
            return f"({', '.join(map(key_text, items))}{',' * (len(items) == 1)})"
        case (kind, *items) if kind is Mapping:
            return "{" + ", ".join(f"{key_text(name)}: {key_text(v)}" for name, v in items) + "}"
        case (kind, str() as digits) if kind is float:
            return digits
        case (type(), value):
            return key_text(value)
        case tuple():
            return f"({', '.join(map(key_text, key))}{',' * (len(key) == 1)})"
    return repr(key)

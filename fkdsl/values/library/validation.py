"""Validators of JSON schemas: those of jsonschema, with replacements for the keywords whose work
the library does not bound.

- Patterns are matched by `patterns.timed_match`, since `re`, which the library uses, cannot be
  stopped.
- A `$ref` is followed once for each value: 28 levels of `allOf` with the same `$ref` twice are 28
  checks, not 2 ** 28.
- `uniqueItems` compares items by a key, not each item with each.
- `multipleOf` divides the decimals that are written, not the floats nearest to them, by which 19.99
  is no multiple of 0.01.

CPU time and the run's deadline bound a whole validation (`validates`).

>>> validator = build_validator({"type": "array", "uniqueItems": True})
>>> validates(validator, [1, True, "1"]), validates(validator, [1, 1.0])
(True, False)
>>> validates(validator, [{"a": 1}, {"a": 1}])
False
>>> [validates(build_validator({"multipleOf": 0.01}), x) for x in (19.99, 0.3, 1.005, 1e300)]
[True, True, False, True]
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from fkdsl.base.deadline import Budget, OutOfTime
from fkdsl.engine.constraints.languages import LONGEST_SOURCE
from fkdsl.values.library.patterns import compiled_pattern, pattern_mistake, timed_match
from fkdsl.values.signatures import BuiltinError

VALIDATION_SECONDS = 10.0
"""CPU time of one validation, and of reading a schema."""
KEYWORDS_PER_LOOK = 32
"""The clocks are read after so many keywords."""


class Validation:
    """The state of one validation. verdicts: by (id of a schema, id of a value) whether the value
    fits; None while that is being decided."""

    def __init__(self, seconds: float) -> None:
        self.budget, self.keywords = Budget(seconds), 0
        self.verdicts: dict[tuple[int, int], bool | None] = {}

    def count(self) -> None:
        """Counts a keyword. Raises OutOfTime or DeadlinePassed."""
        self.keywords += 1
        if not self.keywords % KEYWORDS_PER_LOOK:
            self.budget.check()


_work: ContextVar[Validation] = ContextVar("work")
KeywordCheck = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def search(pattern: str, text: str) -> bool:
    """Whether a pattern of a schema matches somewhere in a text. Raises BuiltinError if it is no
    pattern, or too slow."""
    return timed_match(compiled_pattern(pattern, LONGEST_SOURCE).search, text) is not None


def build_validator(schema: Any) -> Any:
    """The validator of a schema, for `validates`."""
    import jsonschema
    from jsonschema_specifications import REGISTRY

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    # Given a registry, the library fetches no references over the network.
    return _bounded_kind(kind, _means_one_thing(schema))(schema, registry=REGISTRY)


@contextmanager
def working(seconds: float = VALIDATION_SECONDS) -> Iterator[Validation]:
    """All validators within it share one budget of CPU time. Raises OutOfTime."""
    token = _work.set(Validation(seconds))
    try:
        yield _work.get()
    finally:
        _work.reset(token)


def verify_schema(schema: Any) -> None:
    """Raises jsonschema's SchemaError for a value that is no schema of its draft."""
    import jsonschema

    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    schema_kind = jsonschema.validators.validator_for(kind.META_SCHEMA, default=kind)
    formats = jsonschema.FormatChecker(["regex"])
    validator = _bounded_kind(schema_kind, False)(kind.META_SCHEMA, format_checker=formats)
    for error in validator.iter_errors(schema):
        raise jsonschema.SchemaError.create_from(error)


def validates(validator: Any, value: Any) -> bool:
    """Whether a value fits a schema. Raises BuiltinError (FK414) if that takes more than
    VALIDATION_SECONDS of CPU time, ValueError if the schema proves to be wrong."""
    import referencing.exceptions

    try:
        with working():
            return bool(validator.is_valid(value))
    except OutOfTime:
        message = (
            f"the schema takes more than {VALIDATION_SECONDS:g} s of CPU time to check a value"
        )
        raise BuiltinError(
            message, "write it without alternatives that begin alike", "FK414"
        ) from None
    except (referencing.exceptions.Unresolvable, re.error) as error:
        raise ValueError(str(error)) from None


def pattern_mistake_in(schema: Any) -> str:
    """Why one of a schema's own patterns, not of its subschemas, is none; "" if all are."""
    if not isinstance(schema, dict):
        return ""
    patterns = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    for pattern in [*patterns, *schema.get("patternProperties", ())]:
        if mistake := pattern_mistake(pattern, LONGEST_SOURCE):
            return f"{pattern[:60]!r} is not a pattern: {mistake}"
    return ""


# ----------------------------------------------------------------- keywords


@cache
def _bounded_kind(kind: Any, once: bool) -> Any:
    """A draft's validator class with the keywords below in place of the library's. once: whether
    the result of a `$ref` is remembered."""
    import jsonschema

    extend: Any = jsonschema.validators.extend
    own: dict[str, KeywordCheck] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
        "uniqueItems": _unique_items,
        "multipleOf": _multiple_of,
    }
    if once:
        own["$ref"] = _followed_once(kind.VALIDATORS["$ref"])
    return extend(
        kind, {name: _counted(own.get(name, keyword)) for name, keyword in kind.VALIDATORS.items()}
    )


def _counted(keyword: KeywordCheck) -> KeywordCheck:
    def count(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        _work.get().count()
        return keyword(validator, value, instance, schema)

    return count


def _means_one_thing(schema: Any) -> bool:
    """Whether the result of each reference depends on its target and the value alone. So it is
    without dynamic references, which depend on the path that led there, and without references to
    other documents, which may have dynamic ones."""
    todo = [schema]
    while todo:
        here = todo.pop()
        if isinstance(here, list):
            todo.extend(here)
        elif isinstance(here, dict):
            if "$dynamicRef" in here or "$recursiveRef" in here:
                return False
            if not str(here.get("$ref", "#")).startswith("#"):
                return False
            todo.extend(here.values())
    return True


def _followed_once(library: KeywordCheck) -> KeywordCheck:
    """The keyword `$ref` with its result remembered during one validation."""

    def ref(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        verdicts = _work.get().verdicts
        target = validator._resolver.lookup(reference).contents
        if isinstance(target, bool):
            return library(validator, reference, instance, schema)
        key = (id(target), id(instance))  # neither is freed during the validation
        if key not in verdicts:
            verdicts[key] = None
            verdicts[key] = (
                next(iter(library(validator, reference, instance, schema) or ()), None) is None
            )
        elif verdicts[key] is None:
            raise ValueError(f"its $ref {str(reference)[:60]!r} leads back to itself")
        return None if verdicts[key] else _wrong(f"does not fit {reference}")

    return ref


def _wrong(what: str) -> Iterator[Any]:
    import jsonschema

    yield jsonschema.ValidationError(what)


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
    fits = not isinstance(instance, str) or search(pattern, instance)
    return None if fits else _wrong(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if search(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for name in _additional(instance, schema):
            yield from validator.descend(instance[name], inner, path=name)


def _additional(instance: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """The names to which neither `properties` nor `patternProperties` of the schema applies."""
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return (
        name
        for name in instance
        if name not in named and not any(search(p, name) for p in patterns)
    )


def _unevaluated_properties(
    validator: Any, inner: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if isinstance(instance, dict):
        evaluated = _evaluated(validator, instance, schema, {})
        for name in instance.keys() - evaluated:
            yield from validator.descend(instance[name], inner, path=name)


def _evaluated(
    validator: Any, instance: Mapping[str, Any], schema: Any, known: dict[int, set[str]]
) -> set[str]:
    """The names that a schema, or a subschema that applies to the same value, evaluates (draft
    2020-12, section 11.3). known: the names by id of a schema; one that is still being decided adds
    none."""
    if not isinstance(schema, dict) or id(schema) in known:
        return known.get(id(schema), set())
    known[id(schema)] = names = set[str]()
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        if keyword in schema and keyword in validator.VALIDATORS:
            target = _resolved(validator, keyword, schema[keyword])
            inner = validator.evolve(schema=target.contents, _resolver=target.resolver)
            names |= _evaluated(inner, instance, target.contents, known)
    names |= schema.get("properties", {}).keys() & instance.keys()
    names |= {n for n in instance for p in schema.get("patternProperties", {}) if search(p, n)}
    if "additionalProperties" in schema:
        names |= set(_additional(instance, schema))
    for name, inner in schema.get("dependentSchemas", {}).items():
        if name in instance:
            names |= _evaluated(validator, instance, inner, known)
    for inner in [*schema.get("allOf", ()), *schema.get("oneOf", ()), *schema.get("anyOf", ())]:
        if _fits(validator, instance, inner):
            names |= _evaluated(validator, instance, inner, known)
    if "if" in schema:
        chosen = "then" if _fits(validator, instance, schema["if"]) else "else"
        for keyword in ("if", "then") if chosen == "then" else ("else",):
            names |= _evaluated(validator, instance, schema.get(keyword), known)
    if "unevaluatedProperties" in schema:
        inner = schema["unevaluatedProperties"]
        names |= {n for n in instance.keys() - names if _fits(validator, instance[n], inner)}
    return names


def _resolved(validator: Any, keyword: str, reference: Any) -> Any:
    if keyword == "$recursiveRef":
        from referencing.jsonschema import lookup_recursive_ref

        return lookup_recursive_ref(validator._resolver)
    return validator._resolver.lookup(reference)


def _fits(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
    if not unique or not isinstance(instance, list):
        return None
    return None if all_distinct(instance) else _wrong(f"{instance!r} has non-unique elements")


def all_distinct(items: Sequence[Any]) -> bool:
    """Whether no two of some JSON values are equal, as JSON has it."""
    return len(set(map(_key, items))) == len(items)


def _multiple_of(validator: Any, step: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return None
    from fractions import Fraction  # jsonschema has imported it

    fits = math.isfinite(instance) and Fraction(repr(instance)) % Fraction(repr(step)) == 0
    return None if fits else _wrong(f"{instance!r} is not a multiple of {step!r}")


def _key(value: Any) -> Hashable:
    """A key that is equal for values that are equal as JSON: 1 equals 1.0, but not true."""
    match value:
        case bool():
            return (bool, value)
        case list():
            return tuple(map(_key, value))
        case dict():
            return frozenset((name, _key(v)) for name, v in value.items())
    result: Hashable = value
    return result

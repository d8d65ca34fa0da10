"""JSON schemas as validators: jsonschema's, with those keywords replaced whose work the library
does not bound.

- Patterns are matched by `patterns.timed`; the library's own way, `re`, cannot be stopped.
- A `$ref` is followed once for each value: 28 levels of `allOf` of the same `$ref` twice are 28 questions, not 2 ** 28.
- `uniqueItems` compares items by a key, not each with each.

A whole validation is bounded by CPU time and by the run's deadline (`validates`).

>>> validator = build_validator({"type": "array", "uniqueItems": True})
>>> validates(validator, [1, True, "1"]), validates(validator, [1, 1.0]), validates(validator, [{"a": 1}, {"a": 1}])
(True, False, False)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from fkdsl.base.deadline import Budget, OutOfTime
from fkdsl.values.library.patterns import compiled_pattern, pattern_mistake, timed_match
from fkdsl.values.signatures import BuiltinError

VALIDATION_SECONDS = 10.0
"""CPU time of one validation, and of reading a schema."""
KEYWORDS_PER_LOOK = 32
"""Keywords between two looks at the clocks."""
LONGEST = 200_000
"""Characters of a pattern in a schema."""


class Validation:
    """One validation. verdicts: whether the value of an id fits the schema of an id; None while
    that is worked out."""

    def __init__(self) -> None:
        self.budget, self.keywords = Budget(VALIDATION_SECONDS), 0
        self.verdicts: dict[tuple[int, int], bool | None] = {}

    def count(self) -> None:
        """Counts a keyword. Raises OutOfTime or DeadlinePassed."""
        self.keywords += 1
        if not self.keywords % KEYWORDS_PER_LOOK:
            self.budget.check()


_work: ContextVar[Validation] = ContextVar("work")
KeywordCheck = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def search(pattern: str, text: str) -> bool:
    """Whether a pattern of a schema matches somewhere in a text. Raises BuiltinError where it is
    none, or too slow."""
    return timed_match(compiled_pattern(pattern, LONGEST).search, text) is not None


def build_validator(schema: Any) -> Any:
    """What `validates` takes. Raises ValueError with the library's reason if it is no schema."""
    import jsonschema
    from jsonschema_specifications import REGISTRY

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    # With a registry the library fetches no reference from the net.
    return _bounded_kind(kind, _means_one_thing(schema))(schema, registry=REGISTRY)


@contextmanager
def working() -> Iterator[Validation]:
    """What validators do inside is one piece of work, of VALIDATION_SECONDS of CPU time; raises OutOfTime."""
    token = _work.set(Validation())
    try:
        yield _work.get()
    finally:
        _work.reset(token)


def verify_schema(schema: Any) -> None:
    """Raises jsonschema's SchemaError for what is no schema of its draft."""
    import jsonschema

    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    of_schemas = jsonschema.validators.validator_for(kind.META_SCHEMA, default=kind)
    formats = jsonschema.FormatChecker(["regex"])
    validator = _bounded_kind(of_schemas, False)(kind.META_SCHEMA, format_checker=formats)
    for error in validator.iter_errors(schema):
        raise jsonschema.SchemaError.create_from(error)


def validates(validator: Any, value: Any) -> bool:
    """Whether a value fits. Raises BuiltinError (FK414) if that takes more than VALIDATION_SECONDS of CPU
    time, ValueError if the schema turns out not to be sound."""
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
    """Why a pattern of a schema's own (not of those within it) cannot be matched; "" if all can."""
    if not isinstance(schema, dict):
        return ""
    patterns = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    for pattern in [*patterns, *schema.get("patternProperties", ())]:
        if mistake := pattern_mistake(pattern, LONGEST):
            return f"{pattern[:60]!r} is not a pattern: {mistake}"
    return ""


# ----------------------------------------------------------------- keywords


@cache
def _bounded_kind(kind: Any, once: bool) -> Any:
    """A draft's validator class with the keywords below in place of the library's. once: whether
    what a `$ref` leads to is remembered."""
    import jsonschema

    extend: Any = jsonschema.validators.extend
    own: dict[str, KeywordCheck] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
        "uniqueItems": _unique_items,
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
    """Whether what each reference means depends on its target and the value alone: there is no
    dynamic reference, which depends on the way that led there, and no reference to another
    document, which may have some."""
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
    """`$ref`, its verdict remembered for the length of one validation."""

    def ref(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        verdicts = _work.get().verdicts
        target = validator._resolver.lookup(reference).contents
        if isinstance(target, bool):
            return library(validator, reference, instance, schema)
        key = (id(target), id(instance))  # both are held for as long as the validation goes on
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
    """The names that neither `properties` nor `patternProperties` of the schema speaks of."""
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
    """The names of which a schema, or one that applies beside it, speaks (draft 2020-12, section
    11.3). known: of the schemas by their ids; one that is still being worked out adds nothing."""
    if not isinstance(schema, dict) or id(schema) in known:
        return known.get(id(schema), set())
    known[id(schema)] = found = set[str]()
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        if keyword in schema and keyword in validator.VALIDATORS:
            target = _resolved(validator, keyword, schema[keyword])
            inner = validator.evolve(schema=target.contents, _resolver=target.resolver)
            found |= _evaluated(inner, instance, target.contents, known)
    found |= schema.get("properties", {}).keys() & instance.keys()
    found |= {n for n in instance for p in schema.get("patternProperties", {}) if search(p, n)}
    if "additionalProperties" in schema:
        found |= set(_additional(instance, schema))
    for name, inner in schema.get("dependentSchemas", {}).items():
        if name in instance:
            found |= _evaluated(validator, instance, inner, known)
    for inner in [*schema.get("allOf", ()), *schema.get("oneOf", ()), *schema.get("anyOf", ())]:
        if _fits(validator, instance, inner):
            found |= _evaluated(validator, instance, inner, known)
    if "if" in schema:
        chosen = "then" if _fits(validator, instance, schema["if"]) else "else"
        for keyword in ("if", "then") if chosen == "then" else ("else",):
            found |= _evaluated(validator, instance, schema.get(keyword), known)
    if "unevaluatedProperties" in schema:
        inner = schema["unevaluatedProperties"]
        found |= {n for n in instance.keys() - found if _fits(validator, instance[n], inner)}
    return found


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
    return (
        None
        if len(set(map(_key, instance))) == len(instance)
        else _wrong(f"{instance!r} has non-unique elements")
    )


def _key(value: Any) -> Hashable:
    """Equal for values that are equal as JSON: 1 is 1.0, and no truth value."""
    match value:
        case bool():
            return (bool, value)
        case list():
            return tuple(map(_key, value))
        case dict():
            return frozenset((name, _key(v)) for name, v in value.items())
    result: Hashable = value
    return result

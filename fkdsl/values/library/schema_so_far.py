"""Whether the beginning of a JSON text can still become one that fits a schema: what the complete
values in it show.

>>> schema = '{"properties": {"tags": {"uniqueItems": true}, "n": {"not": {"const": 1}}}}'
>>> may_fit('{"tags": ["a", "b", "a', schema), may_fit('{"tags": ["a", "b", "a", ', schema)
(True, False)
>>> may_fit('{"n": 1', schema), may_fit('{"n": 1,', schema)
(True, False)

A value that is complete is validated by jsonschema against each subschema that applies to it. Of a
list or object that is not closed these keywords are asked: those that lead to its members, `$ref`,
`allOf`, `anyOf` and `oneOf` (one of them must still be possible), `uniqueItems`, `propertyNames`,
and `if` once all properties that it speaks of are there. Whatever else a schema says may still come
right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fkdsl.base.deadline import OutOfTime
from fkdsl.engine.constraints.weaker_schemas import OLD_DRAFTS
from fkdsl.values.library import json_so_far as so_far
from fkdsl.values.library.json_so_far import NOT_KNOWN, Open, Unfinished
from fkdsl.values.library.schemas import validator_of
from fkdsl.values.library.validation import Validation, all_distinct, search, working

SECONDS = 0.5
"""CPU time for one text; a schema that takes longer is not asked again."""
OF_THE_WHOLE = re.compile(r"(`\w+`) at \$(\.(allOf|anyOf|oneOf)\[\d+\])*")
SEEN = ("`uniqueItems`", "`propertyNames`", "`patternProperties`")
"""Keywords that are asked of a list or object before it is closed."""
MOST_SLOW = 64
"""Such schemas that are remembered."""
_slow: set[str] = set()


def is_seen_early(part: str) -> bool:
    """Whether a part of a schema that no mask follows, as `parts_left_to_trials` names it, is asked
    before the text is complete.

    >>> is_seen_early("`not` at $.n"), is_seen_early("`not` at $"), is_seen_early("`oneOf`, of ...")
    (True, False, False)
    """
    if " at " not in part:
        return False
    whole = OF_THE_WHOLE.fullmatch(part)
    return whole is None or whole[1] in SEEN


@lru_cache(maxsize=1024)
def may_fit(text: str, schema: str) -> bool:
    """False only if no JSON text that begins so fits a schema, of which this is the text. True of
    what is no schema, and where an answer takes longer than SECONDS."""
    validator = validator_of(schema)
    if validator is None or schema in _slow:
        return True
    from referencing.exceptions import Unresolvable

    try:
        with working(SECONDS) as work:
            return _Asked(work).may(validator, so_far.so_far(text))
    except OutOfTime:
        if len(_slow) >= MOST_SLOW:
            _slow.clear()
        _slow.add(schema)
    except (RecursionError, LookupError, ValueError, Unresolvable, re.error):
        pass  # the schema is wrong, which `valid_json` says of the whole text
    return True


class _Asked:
    """One question. work: what bounds it."""

    def __init__(self, work: Validation) -> None:
        self.work = work

    def may(self, validator: Any, value: Any) -> bool:
        """Whether a value, as far as it is known, may come to fit the schema of a validator."""
        self.work.count()
        schema = validator.schema
        if value is NOT_KNOWN or isinstance(value, Unfinished) or isinstance(schema, bool):
            return schema is not False
        if not isinstance(value, Open):
            return bool(validator.is_valid(value))
        if "$ref" in schema:
            target = validator._resolver.lookup(schema["$ref"])
            inner = validator.evolve(schema=target.contents, _resolver=target.resolver)
            if not self.may(inner, value):
                return False
            if any(draft in str(validator.META_SCHEMA.get("$schema")) for draft in OLD_DRAFTS):
                return True
        is_object = isinstance(value.known, dict)
        inside = self.members(validator, value) if is_object else self.items(validator, value)
        return all(inside) and all(self.applied(validator, value))

    def applied(self, validator: Any, value: Open) -> Iterator[bool]:
        """Of the subschemas that apply to the value itself."""
        schema = validator.schema
        for keyword, enough in (("allOf", all), ("anyOf", any), ("oneOf", any)):
            if keyword in schema and keyword in validator.VALIDATORS:
                yield enough(self.may(_inner(validator, part), value) for part in schema[keyword])
        test = schema.get("if")
        if "if" in validator.VALIDATORS and _is_decided(test, value.known):
            then = "then" if _inner(validator, test).is_valid(value.known) else "else"
            if then in schema:
                yield self.may(_inner(validator, schema[then]), value)

    def members(self, validator: Any, value: Open) -> Iterator[bool]:
        """Of the members of an object."""
        schema = validator.schema
        members = dict(value.known) if isinstance(value.known, dict) else {}
        if value.name is not None:
            members[value.name] = value.inner
        patterns = schema.get("patternProperties", {})
        for name, inner in members.items():
            found = [schema["properties"][name]] if name in schema.get("properties", {}) else []
            found += [part for pattern, part in patterns.items() if search(pattern, name)]
            if not found and "additionalProperties" in schema:
                found = [schema["additionalProperties"]]
            for part in found:
                yield self.may(_inner(validator, part), inner)
            if "propertyNames" in schema and "propertyNames" in validator.VALIDATORS:
                yield _inner(validator, schema["propertyNames"]).is_valid(name)

    def items(self, validator: Any, value: Open) -> Iterator[bool]:
        """Of the items of a list."""
        schema, known = validator.schema, list(value.known)
        if schema.get("uniqueItems") is True:
            yield all_distinct(known)
        if "prefixItems" in validator.VALIDATORS:
            first, rest = schema.get("prefixItems", []), schema.get("items")
        elif isinstance(schema.get("items"), list):
            first, rest = schema["items"], schema.get("additionalItems")
        else:
            first, rest = [], schema.get("items")
        for i, item in enumerate([*known, value.inner]):
            part = first[i] if i < len(first) else rest
            if part is not None and item is not NOT_KNOWN:
                yield self.may(_inner(validator, part), item)


def _inner(validator: Any, schema: Any) -> Any:
    """The validator of a subschema."""
    from referencing.jsonschema import specification_with

    specification = specification_with(str(validator.META_SCHEMA.get("$schema")))
    resource = specification.create_resource(schema)
    return validator.evolve(schema=schema, _resolver=validator._resolver.in_subresource(resource))


def _is_decided(test: Any, members: Any) -> bool:
    """Whether all that an `if` speaks of are members that are complete."""
    if not isinstance(test, dict) or not isinstance(members, dict):
        return False
    if not test.keys() <= {"properties", "required"}:
        return False
    return all(name in members for name in [*test.get("properties", ()), *test.get("required", ())])

"""Tests of the values in a JSON text beside a schema: the schema becomes one that says them, too,
so that its masks follow them. Tests of one value are in json_fields.py, of numbers in
json_ranges.py, of two numbers in json_numbers.py; here they are put together, by and and or.

>>> more = JsonNumbers(((("a",), 1),), "gt", 5)
>>> narrowed_schema({"properties": {"a": {"type": "integer"}}}, [more])
{'properties': {'a': {'type': 'integer', 'minimum': 6}}, 'required': ['a']}
>>> kinds = {"properties": {"k": {"enum": ["x", "y"]}, "a": {"type": "integer"}}}
>>> x = JsonField(("k",), "eq", "x", negated=True)
>>> found = narrowed_schema(kinds, [Either((x, more))])
>>> [option["properties"]["k"]["enum"] for option in found["anyOf"]]
[['y'], ['x', 'y']]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fkdsl.engine.constraints import json_numbers
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.json_decimals import decimal_bounds, with_decimals
from fkdsl.engine.constraints.json_fields import with_tests
from fkdsl.engine.constraints.json_languages import JsonField, JsonItems, JsonNumbers
from fkdsl.engine.constraints.json_numbers import (
    MOST_NUMBERS,
    may_be_copied,
    paths_of,
    put_options,
    shared_path,
    with_pairs,
)
from fkdsl.engine.constraints.json_paths import Path, put, resolved, schema_at
from fkdsl.engine.constraints.json_ranges import Ranges, of_tests
from fkdsl.engine.constraints.json_values import Atom, Test, language_of
from fkdsl.engine.constraints.language_parts import is_regular
from fkdsl.engine.constraints.languages import (
    NO_TEXTS,
    Both,
    Either,
    JsonText,
    Language,
    character_at,
)
from fkdsl.engine.constraints.listed_parts import text_of_parts
from fkdsl.engine.constraints.text_patterns import followed_characters, part_pattern

OUTLINED_INTERVALS = (64, 16, 1)
"""Most intervals in an outline, of which an automaton is made: so many, or fewer."""
MOST_ALTERNATIVES = 64
"""Most alternatives of one test."""
MOST_OPTIONS = 32
"""Most objects of an `anyOf` that tests joined by `or` make."""
NO_SCHEMA = "a test of values in a JSON text, which no schema holds to a form"
IN_A_TEXT = "that a value stands in a text"
Part = tuple[Language, tuple[Language, ...]]
"""A part of a conjunction, and what its outline may be made of, that which says most first."""
Alternative = tuple[Atom, ...]


def narrowed(parts: Iterable[Language]) -> tuple[list[Part], list[str]]:
    """The parts of a conjunction but for tests of JSON values, a schema narrowed by these; and what
    of them is not followed."""
    parts = list(parts)
    weak = list(dict.fromkeys(weakly_followed(parts).values()))
    tests = [part for part in parts if is_json_test(part)]
    others = [part for part in parts if part not in tests]
    if not tests:
        return [(part, (part,)) for part in others], []
    if not any(isinstance(part, JsonText) for part in others):
        return [(part, (part,)) for part in others], [NO_SCHEMA]
    found = []
    for part in others:
        whole = _narrowed(part, tests, json_numbers.MOST_INTERVALS)
        outlined = [_narrowed(part, tests, most) for most in OUTLINED_INTERVALS]
        if bounds := decimal_bounds(_sorted(tests)[0]):
            within = [replace(o, within=bounds) for o in outlined if isinstance(o, JsonText)]
            outlined = [*within, outlined[-1]]
        found.append((whole, tuple(dict.fromkeys(outlined))))
    return found, weak


def is_json_test(language: Language) -> bool:
    """Whether a language is one of tests of JSON values, joined by and and or."""
    return not is_regular(language) and alternatives(language) is not None


def alternatives(language: Language) -> list[Alternative] | None:
    """What a language says of JSON values: all of the tests of an alternative, of at least one.
    None for other languages, and for too many."""
    match language:
        case JsonField() | JsonItems() | JsonNumbers():
            return [(language,)]
        case Both(parts):
            result: list[Alternative] = [()]
            for part in parts:
                more = alternatives(part)
                if more is None or len(result) * len(more) > MOST_ALTERNATIVES:
                    return None
                result = [(*a, *b) for a in result for b in more]
            return result
        case Either(parts):
            options = [alternatives(part) for part in parts]
            found = [option for some in options for option in some or ()]
            return None if None in options or len(found) > MOST_ALTERNATIVES else found
    return [()] if is_regular(language) and language != NO_TEXTS else None


def _narrowed(part: Language, tests: Sequence[Language], most: int) -> Language:
    """A schema with the tests; the part itself where they cannot be said."""
    if not isinstance(part, JsonText) or not part.schema:
        return part
    try:
        schema = narrowed_schema(json.loads(part.schema), tests, most)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return part
    if schema is False:
        return NO_TEXTS
    result = replace(part, schema=json.dumps(schema))
    return part if followed(result).mistake else result


def is_impossible(languages: Iterable[Language]) -> bool:
    """Whether it is known that no JSON text is in all of some languages: a schema has no text that
    passes the tests beside it."""
    parts, _ = narrowed([part for part in languages if not is_regular(part)])
    return any(part == NO_TEXTS for part, _ in parts)


def weakly_followed(languages: Sequence[Language | None]) -> dict[int, str]:
    """Of some languages, all of which hold, the tests that a JSON string stands in a text which are
    followed in part: what is not. Where the schema lets few parts of the text be one, it lists
    them, and they are followed whole.

    >>> named = JsonField(("a",), "in", "so it goes, " * 100)
    >>> schema = '{"type": "object", "properties": {"a": {"type": "string"%s}}}'
    >>> list(weakly_followed([JsonText(schema % ""), named]))
    [1]
    >>> weakly_followed([JsonText(schema % ', "maxLength": 9'), named])
    {}
    """
    found: dict[int, str] = {}
    tests = {i: e for i, e in enumerate(languages) if e is not None and is_json_test(e)}
    schemas = [e for e in languages if isinstance(e, JsonText) and e.schema]
    for i, test in tests.items():
        whole = _whole_of(test)
        follows = None if whole is None else followed_characters(whole)
        if whole is None or follows is None:
            continue
        others = [e for j, e in tests.items() if j != i]
        for schema in schemas:
            narrowed = _narrowed(schema, [*others, test], OUTLINED_INTERVALS[1])
            if follows == 0 and narrowed == _narrowed(schema, others, OUTLINED_INTERVALS[1]):
                found[i] = f"{IN_A_TEXT}, which is too long"
            elif isinstance(narrowed, JsonText) and json.dumps(part_pattern(whole)) in (
                narrowed.schema
            ):
                found[i] = f"{IN_A_TEXT} beyond its first {follows} characters"
    return found


def _whole_of(test: Language) -> str | None:
    """The text in which a test says that a JSON string stands; None where it says none."""
    match test:
        case JsonField(operator="in" | "written in", value=str(whole), negated=False):
            return whole  # also a text that is too long for an automaton of its parts
        case JsonField():
            return text_of_parts(language_of(((test,),)))
    return None


def idle_tests(languages: Sequence[Language | None]) -> list[int]:
    """Which of some languages, all of which hold, are tests of values in a JSON text that leave
    each schema among them as it is without them; none where one, which is None, is not known yet.

    >>> free = JsonText('{"properties": {"a": {"type": "object"}, "b": {"type": "boolean"}}}')
    >>> idle_tests([free, JsonField(("a",), "eq", "x", True), JsonField(("b",), "is", True)])
    [1]
    """
    if None in languages:
        return []
    tests = {i: e for i, e in enumerate(languages) if e is not None and is_json_test(e)}
    idle = []
    try:
        schemas = [json.loads(e.schema or "true") for e in languages if isinstance(e, JsonText)]
        for i in list(tests):
            others = {j: test for j, test in tests.items() if j != i}
            if _with_all(schemas, others) == _with_all(schemas, tests):
                idle.append(i)
                tests = others
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []
    return idle


def _with_all(schemas: Iterable[Any], tests: Mapping[int, Language]) -> list[str]:
    most, of_tests = OUTLINED_INTERVALS[1], list(tests.values())
    bounds = decimal_bounds(_sorted(of_tests)[0])
    found = [narrowed_schema(schema, of_tests, most) for schema in schemas]
    return [json.dumps([schema, with_decimals(schema, bounds)]) for schema in found]


def narrowed_schema(
    schema: Any, tests: Sequence[Language], most: int | None = None, root: Any = None
) -> Any:
    """A schema that has the texts of another one that pass all tests, and perhaps more; the schema
    itself where nothing is known, False where no value passes. most: how many intervals the first
    of two numbers is cut into at most, MOST_INTERVALS if None; with 1, pairs are left out. root:
    the schema that has the definitions, if another one."""
    most = json_numbers.MOST_INTERVALS if most is None else most
    root = schema if root is None else root
    certain, disjunctions = _sorted(tests)
    if not disjunctions:
        return _with_certain(schema, certain, most, root)
    atoms = [atom for some in disjunctions for option in some for atom in option]
    within = shared_path([p for atom in atoms for p in _paths(atom)]) if atoms else ()
    if any(len(paths_of(atom)) > 1 for atom in _numbers(certain)):
        within = ()  # the `anyOf` of a pair may stand anywhere
    if not may_be_copied(schema_at(schema, within, root)):
        return _with_certain(schema, certain, most, root)
    options = []
    for chosen in _chosen(schema, certain, disjunctions, root):
        option = _with_certain(schema, [*certain, *chosen], most, root)
        options.append(False if option is False else schema_at(option, within, root))
    distinct = [option for i, option in enumerate(options) if option not in options[:i]]
    whole = _with_certain(schema, certain, most, root)
    if whole is not False and schema_at(whole, within, root) in distinct:
        return whole
    return put_options(whole, within, distinct, root)


def _sorted(tests: Sequence[Language]) -> tuple[list[Test], list[list[Alternative]]]:
    """(the tests of one value or of one pair of numbers, the others that are joined by `or`)."""
    certain: list[Test] = []
    disjunctions: list[list[Alternative]] = []
    for test in tests:
        options = alternatives(test)
        if options is None:
            continue
        if len(options) == 1:
            certain += [((atom,),) for atom in options[0]]
        elif len({p for o in options for atom in o for p in _paths(atom)}) == 1 and all(options):
            certain.append(tuple(options))
        else:
            disjunctions.append(options)
    return certain, disjunctions


def _chosen(
    schema: Any, certain: Sequence[Test], disjunctions: Sequence[Sequence[Alternative]], root: Any
) -> list[list[Test]]:
    """One alternative of each disjunction, in every way that some value may pass; what would make
    too many ways is left out."""
    ways: list[frozenset[Atom]] = [frozenset()]
    for options in disjunctions:
        more = dict.fromkeys(way.union(option) for way in ways for option in options)
        least = [a for a in more if not any(b < a for b in more)]
        if len(least) > MOST_ALTERNATIVES:
            continue
        possible = [
            way
            for way in least
            if _with_certain(schema, [*certain, *_tests(way)], 1, root) is not False
        ]
        ways = possible if len(possible) <= MOST_OPTIONS else ways
    return [_tests(way) for way in ways]


def _tests(way: Iterable[Atom]) -> list[Test]:
    return [((atom,),) for atom in sorted(way, key=repr)]


def _paths(atom: Atom) -> tuple[Path, ...]:
    """The paths of the values that are tested."""
    return tuple(paths_of(atom)) if isinstance(atom, JsonNumbers) else (atom.path,)


def _numbers(tests: Sequence[Test]) -> list[JsonNumbers]:
    return [
        atom
        for test in tests
        for option in test
        for atom in option
        if isinstance(atom, JsonNumbers)
    ]


def _of_parent(schema: Any, atom: Atom, root: Any) -> Atom:
    """A test of a character of a text as one of the text, of an item that is counted from the end
    of a list as one of some item."""
    if isinstance(atom, JsonNumbers) and (len(atom.terms) != 1 or atom.products):
        return atom
    path = atom.terms[0][0] if isinstance(atom, JsonNumbers) else atom.path
    for k, step in enumerate(path):
        if not isinstance(step, int):
            continue
        own = schema_at(schema, path[:k], root)
        if k + 1 == len(path) and _has_no_items(own, root):
            character = character_at(step, language_of(((_with_path(atom, ()),),)))
            return JsonField(path[:k], "as text", character)
        if step < 0:
            return JsonItems(path[:k], False, _with_path(atom, path[k + 1 :]))
    return atom


def _has_no_items(own: Any, root: Any) -> bool:
    """Whether a value is known to be no list and no object."""
    own = resolved(own, root)
    if not isinstance(own, dict):
        return False
    if isinstance(own.get("enum"), list):
        return not any(isinstance(value, list | dict) for value in own["enum"])
    if isinstance(own.get("anyOf"), list):
        return all(_has_no_items(option, root) for option in own["anyOf"])
    kinds = own.get("type", "object")
    return {"array", "object"}.isdisjoint([kinds] if isinstance(kinds, str) else kinds)


def _with_path(atom: Atom, path: Path) -> Atom:
    if isinstance(atom, JsonNumbers):
        return replace(atom, terms=((path, atom.terms[0][1]),))
    return replace(atom, path=path)


def _with_certain(schema: Any, tests: Sequence[Test], most: int, root: Any) -> Any:
    """A schema with tests of one value each, and comparisons of pairs."""
    pairs: list[JsonNumbers] = []
    by_path: dict[Path, list[Test]] = {}
    for test in tests:
        test = tuple(tuple(_of_parent(schema, a, root) for a in option) for option in test)
        atom = test[0][0]
        if not isinstance(atom, JsonNumbers):
            by_path.setdefault(atom.path, []).append(test)
        elif len(atom.terms) == 1 and not atom.products:
            by_path.setdefault(atom.terms[0][0], []).append(test)
        elif len(test) == 1 and len(paths_of(atom)) <= MOST_NUMBERS:
            pairs.append(atom)
    compared = {path for atom in pairs for path in paths_of(atom)}
    numbers: dict[Path, Ranges] = {}

    def of_items(own: Any, part: Language) -> Any:
        return narrowed_schema(own, [part], most, root)

    for path, of_path in sorted(by_path.items(), key=lambda item: (len(item[0]), str(item[0]))):
        own = schema_at(schema, path, root)
        if own is None:
            continue
        if path in compared and isinstance(own, dict) and own.get("type") == "integer":
            ranges = of_tests(of_path, whole=True)
            if not ranges:
                return False
            numbers[path] = ranges
            continue
        inner = with_tests(own, of_path, root, of_items)
        if inner is False:
            return False
        if inner != own:
            schema = put(schema, path, inner, root)
    return with_pairs(schema, pairs, numbers, most, root)

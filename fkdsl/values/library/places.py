"""The place of a mistake in a schema or grammar, without the words of its file.

A stranger's program may name any file beside it as a schema, and a library's message repeats words
of the file. For a file that is not named like a schema (.json) or a grammar (.lark), a message
gives only the place: lines, columns, and keywords of JSON Schema.

>>> schema_place("'hunter2' is not of type 'object', 'boolean' at $.properties.password")
'the mistake is at properties'
>>> schema_place("it is no JSON: Expecting value: line 2 column 5 (char 7)")
'it is no JSON: Expecting value: line 2 column 5 (char 7)'
>>> grammar_place("unexpected 'hunter2' at line 3, column 9")
'the mistake is at line 3, column 9'
"""

from __future__ import annotations

import re

DEMANDS = "two of its demands exclude each other"
SCHEMA_KEYWORDS = frozenset((
    "$ref", "$defs", "$schema", "$id", "$anchor", "definitions", "allOf", "anyOf", "oneOf", "not",
    "if", "then", "else", "properties", "patternProperties", "additionalProperties",
    "propertyNames", "items", "prefixItems", "contains", "type", "enum", "const", "format",
    "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties",
    "maxProperties", "required", "dependentRequired", "dependentSchemas", "dependencies",
    "unevaluatedProperties", "unevaluatedItems",
))  # fmt: skip
OWN_REASONS = re.compile(
    r"it is no JSON: |it takes |longer than |nested too deep|a schema is an object"
)
"""The beginnings of fkdsl's own reasons, which repeat no words of a file."""


def schema_place(reason: str) -> str:
    """The reason why a schema is refused, without words of its file."""
    if OWN_REASONS.match(reason):
        return reason
    path = re.findall(r"[$\w]+", reason.rpartition(" at $")[2]) if " at $" in reason else []
    words = [word for word in path if word in SCHEMA_KEYWORDS]
    if words:
        return f"the mistake is at {' '.join(words)}"
    return (
        "a $ref of it leads nowhere"
        if reason.startswith("its $ref")
        else "it breaks the rules of its draft"
    )


def grammar_place(reason: str) -> str:
    """The reason why a grammar is refused, without words of its file."""
    if OWN_REASONS.match(reason) or reason == "it has no rule `start`":
        return reason
    place = re.search(r"line \d+,? column \d+", reason)
    return f"the mistake is at {place[0]}" if place else "it is none that Lark reads"

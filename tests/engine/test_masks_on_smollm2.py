"""Masks over the real vocabulary, every token of it: against partial matches of the `regex`
library, and llguidance against json. Run by `pytest -m smollm2`."""

import json
import random

import numpy as np
import pytest
import regex

from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.languages import JsonText, Matches

pytestmark = pytest.mark.smollm2


@pytest.fixture(scope="module")
def vocabulary(smollm2):
    return smollm2.vocabulary


PATTERNS = [
    r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    r"(?i)the [a-z]+( [a-z]+){0,5}\.",
    r"\w+@[a-z]{2,12}\.(com|org)",
    r"(\S+ ){2,4}é?[^aeiou]*!",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_mask_is_what_can_still_match_for_every_token(pattern, vocabulary):
    """On random texts of the language, the allowed tokens of whole characters are those after which
    `regex` finds a partial match."""
    constraint, rng = make_constraint(Matches(pattern), "", vocabulary), random.Random(7)
    compiled = regex.compile(pattern)
    whole = {i: raw.decode() for i, raw in enumerate(vocabulary.tokens) if raw and valid(raw)}
    whole = {
        i: t for i, t in whole.items() if "\ufffd" not in t
    }  # it stands for bytes, and is in no language
    ids = ()
    for _ in range(5):
        mask = constraint.mask(ids, None)
        text = vocabulary.text(ids)
        wrong = [
            i
            for i, t in whole.items()
            if mask[i] != (compiled.fullmatch(text + t, partial=True) is not None)
        ]
        assert not wrong, [whole[i] for i in wrong[:5]]
        for end in vocabulary.ends:
            assert mask[end] == (compiled.fullmatch(text) is not None)
        usable = [i for i in np.flatnonzero(mask).tolist() if i in whole]
        if not usable:
            break
        ids = (*ids, rng.choice(usable))


def valid(raw):
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_random_walks_along_a_schemas_masks_end_in_json_that_fits(vocabulary):
    import jsonschema

    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 5},
            "age": {"type": "integer", "maximum": 120},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    language = JsonText(json.dumps(schema))
    constraint, rng = make_constraint(language, "\n", vocabulary), random.Random(3)
    for _ in range(5):
        ids = ()
        while True:
            mask = constraint.mask(ids, None)
            # Tokens with no white space and no backslash at the ends keep the walk short.
            usable = [
                i for i in np.flatnonzero(mask).tolist()
                if vocabulary.tokens[i] and not set(vocabulary.tokens[i]) & set(b" \t\r\n\\")
            ]  # fmt: skip
            if not usable or mask[min(vocabulary.ends)]:
                break
            ids = (*ids, rng.choice(usable))
        text = vocabulary.text(ids)
        jsonschema.validate(json.loads(text), schema)
        assert accepts_text(language, text)

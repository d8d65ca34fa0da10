"""What users of steering libraries asked for or found broken elsewhere, each as a program on a
small table: conditions.

The expected law never comes from fkdsl: the table's texts are enumerated in plain Python
(table_texts.py) and filtered by the standard library, `jsonschema` or a pattern of `re`, or the
figure is worked out by hand beside the test.
"""

import json
import math
import re
from collections import Counter

import jsonschema
import pytest

import fkdsl
from tests.programs.table_texts import END, LETTERS, check, check_texts, table, texts_of


def test_an_optional_property_that_comes_late_with_a_bad_value_is_refused():
    rows = {
        "": {"{": 1},
        "{": {'"to": "me"': 0.4, '"cc": "you"': 0.4, '"cc": "all"': 0.2},
        '"': {"}": 0.5, ', "cc": "all"': 0.2, ', "cc": "you"': 0.2, ', "n": 2': 0.1},
        "2": {"}": 1},
        "}": {END: 1},
    }
    schema = {
        "type": "object",
        "properties": {"cc": {"const": "you"}, "to": {"const": "me"}},
        "required": ["to"],
    }

    def holds(text):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError:
            return False
        keys = [key for key, _ in pairs]
        named = [key for key in keys if key in schema["properties"]]
        in_order = keys[: len(named)] == named == sorted(set(named))
        return (
            in_order
            and len(set(keys)) == len(keys)
            and jsonschema.Draft202012Validator(schema).is_valid(dict(pairs))
        )

    check_texts(rows, f"valid_json(s, schema={json.dumps(json.dumps(schema))})", holds, 6)


def test_both_branches_of_allof_hold():
    rows = {
        "": {'{"p": 1': 0.6, '{"q": true': 0.3, "{": 0.1},
        "1": {', "q": true}': 0.4, "}": 0.4, ', "q": 3}': 0.2},
        "true": {"}": 0.5, ', "p": 1}': 0.5},
        "{": {"}": 1},
        "}": {END: 1},
    }
    parts = [
        {"properties": {k: {"type": t}}, "required": [k]}
        for k, t in (("p", "integer"), ("q", "boolean"))
    ]
    schema = {"allOf": [{"type": "object", **part} for part in parts]}
    check_texts(
        rows,
        f"valid_json(s, schema={json.dumps(json.dumps(schema))})",
        '{"p": 1, "q": true}'.__eq__,
        4,
    )


def test_a_unicode_property_of_ecma_patterns_is_read():
    rows = {
        "": {'"': 1},
        '"': {"ø": 0.5, "k": 0.2, "7": 0.3},
        "ø": {'"': 0.6, "7": 0.4},
        "k": {'"': 1},
        "7": {'"': 1},
        **{f'{last}"': {END: 1} for last in "øk7"},
    }
    schema = r"{\"type\": \"string\", \"pattern\": \"^\\\\p{L}+$\"}"
    check_texts(rows, f'valid_json(s, schema="{schema}")', {'"ø"', '"k"'}.__contains__, 5)


def test_json_nested_hundreds_deep_is_true_or_false_like_any_other():
    rows = {"": {"[" * 25: 1}, "[": {"[" * 25: 0.9, "]" * 25: 0.1}, "]": {"]" * 25: 0.9, END: 0.1}}
    source = f"""
{table(rows)}
program main() -> int:
    lm = prompt("")
    s ~ text(lm, max_tokens=40)
    condition valid_json(s, schema='{{"type": "array", "items": {{"$ref": "#"}}}}')
    return len(s)
"""
    law = Counter()
    for text, p in texts_of(rows, 40).items():
        # docs/language.md: what is nested more than 100 deep is not valid.
        if text.count("[") == text.count("]") <= 100:
            law[len(text)] += p
    assert max(map(len, texts_of(rows, 40))) == 1000
    check(source, law)


def test_white_space_that_a_grammar_ignores_may_stand_at_both_ends():
    rows = {
        "": {"  let": 0.4, "let": 0.4, "le": 0.2},
        "let": {" v": 0.6, "\tv": 0.2, "v": 0.2},
        "le": {"t v": 1},
        "v": {";": 0.8, " ;": 0.2},
        ";": {END: 0.6, "\n": 0.2, " ;": 0.2},
        "\n": {END: 1},
    }
    grammar = r"start: \"let\" \"v\" \";\"\n%ignore /[ \\t\\n]+/"
    check_texts(
        rows, f'parses(s, grammar="{grammar}")', re.compile(r"\s*let\s*v\s*;\s*").fullmatch, 6
    )


def test_a_keyword_is_told_from_a_name_by_the_longest_match():
    rows = {
        "": {"def": 0.5, "define": 0.3, "y": 0.2},
        "def": {" ": 0.5, "Bar": 0.5},
        "define": {" = 2": 1},
        "y": {" = 2": 0.5, "=2": 0.5},
        " ": {"Bar": 0.7, "def": 0.3},
        "Bar": {"()": 0.6, " ()": 0.4},
        " def": {"()": 1},
        "2": {END: 1},
        ")": {END: 1},
    }
    grammar = (
        r"start: \"def\" NAME \"(\" \")\" | NAME \"=\" INT\nNAME: /[A-Za-z]+/\n"
        r"INT: /[0-9]+/\n%ignore \" \""
    )
    # "defBar()" is one name by the longest match; "def def()" is kept: after the keyword only a
    # name can follow.
    holds = re.compile(r"def +[A-Za-z]+ *\(\)|[A-Za-z]+ *= *[0-9]+").fullmatch
    check_texts(rows, f'parses(s, grammar="{grammar}")', holds, 6)


def test_repeats_of_what_may_be_empty_end():
    rows = {"": {"m": 0.4, "n": 0.4, END: 0.2}}
    grammar = r"start: part part~0..3 \"n\"?\npart: \"m\"*"
    check_texts(rows, f'parses(s, grammar="{grammar}")', re.compile("m*n?").fullmatch, 4)


def test_optionals_that_can_be_read_in_many_ways_are_a_plain_pattern():
    rows = {"": {"0": 0.5, "-": 0.5}}
    grammar = r"start: D (M? M? M? D)*\nM: \"-\"\nD: /[0-9]/"
    check_texts(rows, f'parses(s, grammar="{grammar}")', re.compile("0(-{0,3}0)*").fullmatch, 9)


def test_a_list_of_allowed_letters_and_a_list_of_banned_ones_hold_at_once():
    condition = 'all(c in ["x", "y"] for c in s) and not contains(s, "xy") and len(s) == 3'
    check_texts(LETTERS, condition, lambda s: set(s) <= {"x", "y"} and "xy" not in s, 3)


def test_every_key_of_a_fixed_list_is_contained():
    condition = 'all(contains(s, k) for k in ["x", "zy"])'
    check_texts(LETTERS, condition, lambda s: "x" in s and "zy" in s, 4)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "o.json").write_bytes(b'\xef\xbb\xbf{"type": "object"}\r\n')
    (tmp_path / "g.lark").write_bytes(b'\xef\xbb\xbfstart: open "}"\r\nopen: "{"\r\n')
    source = (
        table({"": {"{}": 0.3, "1": 0.7}, "}": {END: 1}, "1": {END: 1}})
        + """

program main() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition valid_json(s, schema="o.json") and parses(s, grammar="g.lark")
    return s
"""
    )
    path = tmp_path / "windows.fk"
    path.write_bytes(b"\xef\xbb\xbf" + source.replace("\n", "\r\n").encode())
    result = fkdsl.load(path).exact()
    assert math.exp(result.log_z) == pytest.approx(0.3, abs=1e-12)
    assert [answer.value for answer in result.posterior] == ["{}"]

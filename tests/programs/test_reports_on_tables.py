"""What users of steering libraries asked for or found broken elsewhere, each as a program on a small table.

The expected law never comes from fkdsl: the table's texts are enumerated in plain Python (`texts_of`) and filtered by
the standard library, `jsonschema` or a pattern of `re`, or the figure is worked out by hand beside the test.
"""

import itertools
import json
import math
import re
from collections import Counter

import jsonschema
import pytest

import fkdsl

END = None


def row_of(rows, text):
    """The row of the longest suffix of `text`, as docs/language.md defines a table."""
    return rows[max((suffix for suffix in rows if text.endswith(suffix)), key=len)]


def texts_of(rows, n, start=""):
    """{text: probability} of at most `n` tokens, by plain enumeration."""
    law, live = Counter(), {"": 1.0}
    for _ in range(n):
        grown = Counter()
        for text, p in live.items():
            for token, q in row_of(rows, start + text).items():
                if token is END:
                    law[text] += p * q
                else:
                    grown[text + token] += p * q
        live = grown
    law.update(live)
    return law


def table(rows):
    """The declaration of the default model with these rows."""
    lines = ["model m = table:"]
    for suffix, row in rows.items():
        entries = ", ".join(f"{'EOS' if token is END else json.dumps(token)}: {p!r}" for token, p in row.items())
        lines.append(f"    {json.dumps(suffix)} -> {entries}")
    return "\n".join(lines)


def check(source, law, **parameters):
    """`exact` gives the mass and the posterior of `law` ({value: mass}), with the optimiser and without."""
    mass = math.fsum(law.values())
    program = fkdsl.parse(source)(**parameters)
    for variant in (program, program.without()):
        result = variant.exact()
        assert math.exp(result.log_z) == pytest.approx(mass, abs=1e-12)
        posterior = {answer.value: answer.probability for answer in result.posterior}
        assert posterior.keys() == {value for value, p in law.items() if p > 0}
        for value, p in posterior.items():
            assert p == pytest.approx(law[value] / mass, abs=1e-12)


def check_texts(rows, condition, holds, n, helpers=""):
    """The texts of at most `n` tokens that satisfy `condition` are those for which `holds`, in Python, is true."""
    source = f"""
{table(rows)}
{helpers}
program main() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={n})
    condition {condition}
    return s
"""
    law = {text: p for text, p in texts_of(rows, n).items() if holds(text)}
    assert 0 < math.fsum(law.values()) < 1
    check(source, law)


LETTERS = {"": {"x": 0.5, "y": 0.3, "z": 0.2}}


def test_an_optional_property_that_comes_late_with_a_bad_value_is_refused():
    rows = {
        "": {"{": 1},
        "{": {'"to": "me"': 0.4, '"cc": "you"': 0.4, '"cc": "all"': 0.2},
        '"': {"}": 0.5, ', "cc": "all"': 0.2, ', "cc": "you"': 0.2, ', "n": 2': 0.1},
        "2": {"}": 1},
        "}": {END: 1},
    }
    schema = {"type": "object", "properties": {"cc": {"const": "you"}, "to": {"const": "me"}}, "required": ["to"]}

    def holds(text):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError:
            return False
        keys = [key for key, _ in pairs]
        named = [key for key in keys if key in schema["properties"]]
        in_order = keys[: len(named)] == named == sorted(set(named))
        return (
            in_order and len(set(keys)) == len(keys) and jsonschema.Draft202012Validator(schema).is_valid(dict(pairs))
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
    parts = [{"properties": {k: {"type": t}}, "required": [k]} for k, t in (("p", "integer"), ("q", "boolean"))]
    schema = {"allOf": [{"type": "object", **part} for part in parts]}
    check_texts(rows, f"valid_json(s, schema={json.dumps(json.dumps(schema))})", '{"p": 1, "q": true}'.__eq__, 4)


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
    check_texts(rows, f'parses(s, grammar="{grammar}")', re.compile(r"\s*let\s*v\s*;\s*").fullmatch, 6)


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
    grammar = r"start: \"def\" NAME \"(\" \")\" | NAME \"=\" INT\nNAME: /[A-Za-z]+/\nINT: /[0-9]+/\n%ignore \" \""
    # "defBar()" is one name by the longest match; "def def()" is kept: after the keyword only a name can follow.
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


def test_a_condition_of_a_helper_function_sees_the_text_from_its_first_token():
    helpers = """
def fresh(s: str) -> bool:
    pairs = [s[i:i + 2] for i in range(len(s) - 1)]
    return len(distinct(pairs)) == len(pairs)
"""
    source = f"""
{table(LETTERS)}
{helpers}
program main(n: int = 5) -> str:
    lm = prompt("xyzzy")
    while lm.tokens < n:
        t ~ lm
        condition fresh(lm.text)
    return lm.text
"""
    law = {
        "".join(text): math.prod(LETTERS[""][c] for c in text)
        for text in itertools.product("xyz", repeat=5)
        if len({a + b for a, b in itertools.pairwise(text)}) == 4
    }
    check(source, law)


def test_options_that_begin_alike_have_their_own_shares():
    rows = {
        "": {"go": 0.6, "stop": 0.4},
        "go": {" on": 0.5, END: 0.5},
        "on": {END: 0.75, " and on": 0.25},
        "stop": {" now": 0.2, END: 0.8},
        "now": {END: 1},
    }
    source = f"""
{table(rows)}
program main() -> str:
    lm = prompt("")
    c ~ choice(lm, ["go", "go on", "stop now", "go away"])
    return c
"""
    # `choice` weighs the probability of an option's tokens, whatever may follow: go 0.6, "go on" 0.3, "stop now" 0.08.
    shares = {"go": 0.6, "go on": 0.3, "stop now": 0.08}
    check(source, {option: share / sum(shares.values()) for option, share in shares.items()})


def test_an_option_that_stands_twice_is_refused_by_name():
    source = f'{table(LETTERS)}\nprogram main() -> str:\n    c ~ choice(prompt(""), ["x", "y", "x"])\n    return c\n'
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(source).exact()
    assert "different" in str(error.value)


def test_several_stops_end_a_text_at_whichever_comes_first():
    rows = {"": {"w": 0.4, ";": 0.3, "w?": 0.1, "\n": 0.2}}
    source = f"""
{table(rows)}
program main() -> str:
    lm = prompt("")
    s ~ text(lm, until=["?", ";", "\\n"], max_tokens=3)
    return s
"""
    law = Counter()
    for tokens in itertools.product(rows[""], repeat=3):
        p = math.prod(rows[""][token] for token in tokens)
        law[re.split(r"[?;\n]", "".join(tokens))[0]] += p
    check(source, law)


def test_one_prompt_is_likely_and_another_unlikely():
    rows = {
        "P": {"x": 0.6, "y": 0.3, "z": 0.1},
        "Q": {"x": 0.9, "y": 0.04, "z": 0.06},
        "": {"x": 1},
    }
    weights = {t: rows["P"][t] * rows["Q"][t] ** -0.5 for t in "xyz"}
    weighed = f"""
{table(rows)}
program main() -> str:
    a = prompt("P")
    b = prompt("Q")
    t ~ a
    factor -0.5 * logprob(b, t)
    return a.text
"""
    check(weighed, weights)
    power = weighed.replace("    t ~ a\n    factor -0.5 * logprob(b, t)\n", "    t ~ a * b ** -0.5\n")
    total = sum(weights.values())
    check(power, {t: w / total for t, w in weights.items()})


def test_a_weight_of_minus_infinity_kills_and_nan_is_a_mistake_with_its_line():
    source = """
program main(bad: bool = false) -> int:
    x ~ uniform_int(0, 3)
    w = log(float(x)) if x > 0 else -1.0e308 * 10.0
    if bad:
        factor w - w
    factor w
    return x
"""
    check(source, {1: 0.25, 2: 0.5, 3: 0.75})
    with pytest.raises(fkdsl.ProgramError, match=r"factor w - w"):
        fkdsl.parse(source)(bad=True).exact()


def test_the_evidence_of_a_hidden_markov_model_is_the_forward_algorithms():
    source = """
program main() -> int:
    seen = [1, 1, 0, 1]
    z ~ bernoulli(0.3)
    observe seen[0] ~ categorical([0, 1], [0.2, 0.8] if z else [0.6, 0.4])
    for y in seen[1:]:
        z ~ bernoulli(0.9 if z else 0.25)
        observe y ~ categorical([0, 1], [0.2, 0.8] if z else [0.6, 0.4])
    return 1 if z else 0
"""
    forward = [0.7, 0.3]
    emits = [{0: 0.6, 1: 0.4}, {0: 0.2, 1: 0.8}]
    moves = [[0.75, 0.25], [0.1, 0.9]]
    for t, y in enumerate([1, 1, 0, 1]):
        if t:
            forward = [sum(forward[i] * moves[i][j] for i in (0, 1)) for j in (0, 1)]
        forward = [forward[i] * emits[i][y] for i in (0, 1)]
    check(source, dict(enumerate(forward)))


def test_no_particle_of_weight_zero_is_handed_back_by_alive():
    source = """
program main() -> list[int]:
    xs = [0]
    for i in range(5):
        x ~ uniform_int(0, 2)
        y ~ uniform_int(0, 2)
        condition x + y == 3
        xs = xs + [x]
    return xs[1:]

infer alive(particles=8)
"""
    result = fkdsl.parse(source).exact()
    assert result.log_z == pytest.approx(5 * math.log(2 / 9), abs=1e-12)
    run = fkdsl.parse(source).run(seed=3)
    assert all(x in (1, 2) for particle in run.particles for x in particle.value)


def test_many_equal_weights_leave_no_rounding_error_in_systematic_resampling():
    source = """
program main() -> int:
    n = 0
    for i in range(3):
        x ~ uniform_int(0, 99)
        factor 0.2 * (x % 5) - 0.3
        n = n + x
    return n % 5
"""
    result = fkdsl.parse(source).run(particles=1000, resampling="systematic", ess=1.0, seed=1)
    mean = sum(math.exp(0.2 * (x % 5) - 0.3) for x in range(100)) / 100
    # The variance of one step's weight over its squared mean, for three steps of 1,000 particles, at five deviations.
    spread = sum(math.exp(0.4 * (x % 5) - 0.6) for x in range(100)) / 100 / mean**2 - 1
    assert abs(result.log_z - 3 * math.log(mean)) <= 5 * math.sqrt(3 * spread / 1000)


def test_paths_by_the_square_of_their_probability():
    rows = {"": {"a": 0.6, "b": 0.3, "c": 0.1}, "a": {"a": 0.2, "b": 0.8}, "b": {"c": 1}}
    source = f"""
{table(rows)}
program main() -> str:
    lm = prompt("")
    for i in range(2):
        t ~ lm
        factor -2.0 if t == "a" else 0.0
    return lm.text

infer tempered(particles=200, power=2.0)
"""
    law = {text: p**2 * math.exp(-2.0 * text.count("a")) for text, p in texts_of(rows, 2).items()}
    total = math.fsum(law.values())
    result = fkdsl.parse(source).run(seed=5)
    assert result.log_z == pytest.approx(math.log(total), abs=0.25)
    for answer in result.posterior:
        share = law[answer.value] / total
        assert abs(answer.probability - share) <= 0.15


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

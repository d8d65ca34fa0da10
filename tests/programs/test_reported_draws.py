"""What users of steering libraries asked for or found broken elsewhere, on small tables: draws,
weights and methods.

The expected law never comes from fkdsl: the table's texts are enumerated in plain Python
(table_texts.py) and filtered by the standard library, `jsonschema` or a pattern of `re`, or the
figure is worked out by hand beside the test.
"""

import itertools
import math
import re
from collections import Counter

import pytest

import fkdsl
from tests.programs.table_texts import END, LETTERS, check, table, texts_of


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
    # `choice` weighs the probability of an option's tokens, whatever may follow: go 0.6, "go on"
    # 0.3, "stop now" 0.08.
    shares = {"go": 0.6, "go on": 0.3, "stop now": 0.08}
    check(source, {option: share / sum(shares.values()) for option, share in shares.items()})


def test_an_option_that_stands_twice_is_refused_by_name():
    source = (
        f"{table(LETTERS)}\nprogram main() -> str:\n"
        '    c ~ choice(prompt(""), ["x", "y", "x"])\n    return c\n'
    )
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(source).exact()
    assert "stands twice" in str(error.value)


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
    power = weighed.replace(
        "    t ~ a\n    factor -0.5 * logprob(b, t)\n", "    t ~ a * b ** -0.5\n"
    )
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
    # The variance of one step's weight over its squared mean, for three steps of 1,000 particles,
    # at five deviations.
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

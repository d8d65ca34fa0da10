"""`logprob(d, x)` of any distribution, by which a program draws from a proposal of its own and
weighs what came by the target."""

import math

import pytest

import fkdsl

TABLE = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2
    "a" -> "a": 0.1, "b": 0.6, EOS: 0.3
    "b" -> "a": 0.7, "b": 0.3

"""
P = {"a": {"a": 0.1, "b": 0.6, "": 0.3}, "b": {"a": 0.7, "b": 0.3, "": 0.0}}
"""The next token behind either letter, "" for the end: by hand."""


def program(lines, returns="float"):
    body = "".join(f"    {line}\n" for line in lines)
    return fkdsl.parse(f'{TABLE}program p() -> {returns}:\n    a = prompt("a")\n{body}')


def answer(lines, returns="float"):
    (only,) = program(lines, returns).exact().posterior
    return only.value


def test_a_product_of_contexts_has_the_renormalised_probability_of_a_token():
    both = {t: P["a"][t] * P["b"][t] for t in P["a"]}
    for token, p in both.items():
        value = "EOS" if token == "" else f'"{token}"'
        got = answer(['b = prompt("b")', f"return max(-99.0, logprob(a * b, {value}))"])
        assert got == pytest.approx(math.log(p / sum(both.values())) if p else -99.0)


@pytest.mark.parametrize(
    ("distribution", "value", "true"),
    [
        ("a ** 2.0", '"b"', 0.36 / 0.46),
        ("a ** 2.0", "EOS", 0.09 / 0.46),
        ('mixture([a, prompt("b")], weights=[0.25, 0.75])', '"b"', 0.25 * 0.6 + 0.75 * 0.3),
        ('choice(a, ["a", "b"])', '"a"', 0.1 / 0.7),
        ('choice(a, ["b"], other="?")', '"?"', 0.4),
        ("bernoulli(0.3)", "true", 0.3),
        ("geometric(0.5)", "2", 0.125),
        ('categorical(["x", "y"], [1.0, 3.0])', '"y"', 0.75),
        ("normal(1.0, 0.1)", "1.0", 1 / (0.1 * math.sqrt(2 * math.pi))),
        ("uniform(0.0, 0.5)", "0.7", 0.0),
    ],
)
def test_it_is_the_log_of_the_probability_or_density(distribution, value, true):
    got = answer([f"d = {distribution}", f"return max(-99.0, logprob(d, {value}))"])
    assert got == pytest.approx(math.log(true) if true else -99.0)


def test_it_leaves_the_contexts_as_they_were():
    lines = ["x = logprob(a ** 2.0, 'b') + logprob(choice(a, ['b']), 'b')", "return a.text"]
    assert answer(lines, "str") == ""


PROPOSED = (
    TABLE
    + """
program p(n: int = 3) -> str:
    a = prompt("a")
    b = prompt("b")
    while not a.done and a.tokens < n:
        before = fork(a) * fork(b)
        p = fork(a)
        q = fork(b)
        t ~ a * b
        factor logprob(p, t) + logprob(q, t) - logprob(before, t)
    return a.text
"""
)
WEIGHED = (
    TABLE
    + """
program p(n: int = 3) -> str:
    a = prompt("a")
    b = prompt("b")
    while not a.done and a.tokens < n:
        t ~ a
        observe t ~ b
    return a.text
"""
)


def test_a_proposal_of_the_programs_own_leaves_the_measure_as_it_is():
    from fkdsl.testing import assert_same_measure, assert_unbiased

    assert_same_measure(PROPOSED, WEIGHED)
    assert_unbiased(fkdsl.parse(PROPOSED)(n=2), "smc", particles=2)
    with pytest.raises(AssertionError):  # without the proposal's own law it is another measure
        assert_same_measure(PROPOSED.replace(" - logprob(before, t)", ""), WEIGHED)


def test_a_density_above_one_leaves_no_upper_bound():
    """`factor` of a logprob is 0 or less where it is a token's, and not where it is a density's."""
    lines = ["t ~ a", "x = 0.5", "factor logprob(normal(x, 0.1), 0.5)", "u ~ a", "return x"]
    result = program(lines).exact(max_states=3, gap=0.0)
    assert result.log_z_bounds is None or result.log_z_bounds[1] == math.inf
    assert program(lines).exact().log_z == pytest.approx(
        math.log(0.7 * 1 / (0.1 * math.sqrt(2 * math.pi)))
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["return logprob(a * a, 'ab')"], "'ab' is 2 tokens, and a product, power or mixture"),
        (["return logprob(a, 3)"], "argument `text` of `logprob`: expected `str or mark`"),
        (["return logprob(geometric(0.5), 'a')"], "argument `text` of `logprob`: expected `int`"),
        (["return logprob('a', 'a')"], "argument `context` of `logprob`"),
    ],
)
def test_what_a_distribution_cannot_give_is_a_mistake_with_its_line(lines, message):
    with pytest.raises(fkdsl.ProgramError, match="FK") as raised:
        program(lines).exact()
    assert message.replace("'", '"') in str(raised.value).replace("'", '"')

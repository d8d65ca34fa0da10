"""`valid_json(strip(s), ...)` guides a text that may begin and end with white space, as models
write it after a colon: the same measure as without guidance, within any budget."""

import pytest

import fkdsl
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.languages import JsonText
from fkdsl.ir.printed import explain
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing.laws import assert_same_masses, exact_measure

MODEL = """
model m = table:
    "" -> "1": 0.2, "}": 0.2, " ": 0.2, "\\n": 0.1, "{": 0.1, "\\"a\\":": 0.1, "\\u2003": 0.1
    "{" -> "\\"a\\":": 0.6, " ": 0.2, "}": 0.2
    ":" -> "1": 0.5, " 1": 0.3, "-2": 0.2
    "}" -> "}": 0.1, "\\u001c": 0.1, "\\n": 0.2, " ": 0.2, EOS: 0.4

program p() -> str:
    lm = prompt("")
    s ~ text(lm, until={until}, max_tokens={tokens}, closed={closed})
{conditions}
    return s
"""
SCHEMA = (
    '"{\\"type\\": \\"object\\", \\"properties\\": {\\"a\\": {\\"type\\": \\"integer\\"}}, '
    '\\"required\\": [\\"a\\"], \\"additionalProperties\\": false}"'
)
CONDITIONS = [
    f"valid_json(strip(s), schema={SCHEMA})",
    f"valid_json(strip(s), {SCHEMA}, order=false, format=false)",
    f"valid_json(strip(s), {SCHEMA}) and len(s) > 6",
    f'valid_json(strip(s), {SCHEMA}) and starts_with(s, " ")',
    f"valid_json(strip(s), {SCHEMA}) and parse_json(s).a < 0",
    f"valid_json(strip(s), {SCHEMA}) and parse_json(strip(s)).a >= 1",
    f"valid_json(strip(s), {SCHEMA}) or valid_json(s)",
    'valid_json(strip(s), "{\\"type\\": \\"integer\\"}")',
    'valid_json(strip(s), "{\\"type\\": \\"object\\", \\"uniqueItems\\": true}")',
]


@pytest.mark.parametrize(("until", "tokens", "closed"), [('""', 4, "false"), (r'"\n"', 4, "true")])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_measure_is_that_of_the_plain_program(condition, until, tokens, closed):
    text = MODEL.replace("{until}", until).replace("{tokens}", str(tokens))
    lines = "".join(f"    condition {c}\n" for c in condition.split(" and "))
    program = fkdsl.parse(text.replace("{closed}", closed).replace("{conditions}", lines))
    assert "which is expensive" not in explain(program.ir())
    guided = exact_measure(program.feynman_kac())
    assert_same_masses(guided, exact_measure(program.without().feynman_kac()), 1e-12)


V = Vocabulary((b" ", b"[", b"]", b"\n", b""), ends=frozenset({4}))


def test_white_space_may_stand_at_both_ends_as_long_as_tokens_are_left():
    def mask(ids: tuple[int, ...], left: int) -> list[bool]:
        constraint = make_constraint(JsonText('{"type": "array"}', stripped=True), "", V)
        return constraint.mask(ids, left).tolist()

    assert mask((), 2) == [True, True, False, True, False]
    assert mask((), 1) == [False, True, False, False, False]
    assert mask((0, 1, 2), 0) == [True, False, False, True, True]
    assert mask((0, 1, 2, 0), 0) == [True, False, False, True, True]

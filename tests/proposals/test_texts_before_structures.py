"""A schema or grammar of a drawn text with a fixed one before it, as where the prompt has written
the first brace: the same measure as without guidance, to the last digit, within any budget."""

import pytest

import fkdsl
from fkdsl.engine.constraints.completion_bounds import completion_bounds
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.languages import GrammarText, JsonText
from fkdsl.ir.printed import explain
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing.laws import assert_same_masses, exact_measure

MODEL = """
model m = table:
    "" -> "1": 0.3, "}": 0.2, ",": 0.1, "1}": 0.1, " ": 0.1, "\\"a\\":": 0.1, EOS: 0.1
    "}" -> "}": 0.1, ",": 0.2, "\\n": 0.2, " ": 0.1, EOS: 0.4

program p(before: str = "{\\"a\\":") -> str:
    lm = prompt("")
    s ~ text(lm, until={until}, max_tokens={tokens})
    condition {condition}
    return s
"""
SCHEMA = (
    '"{\\"type\\": \\"object\\", \\"properties\\": {\\"a\\": {\\"type\\": \\"integer\\"}}, '
    '\\"required\\": [\\"a\\"], \\"additionalProperties\\": false}"'
)
GRAMMAR = '"start: \\"{\\" (\\"1\\" | start)* \\"}\\""'
CONDITIONS = [
    f'valid_json("{{\\"a\\":" + s, schema={SCHEMA})',
    f"valid_json(before + s, schema={SCHEMA})",
    f'valid_json(f"{{{{{{s}}", schema={SCHEMA})',
    f'valid_json("{{" + ("\\"a\\":" + s), schema={SCHEMA}) and len(s) < 4',
    f'parses("{{" + s, grammar={GRAMMAR})',
    f'parses("{{1{{\\n" + s, grammar={GRAMMAR})',
]


@pytest.mark.parametrize(("until", "tokens"), [('""', 3), (r'"\n"', 2), ('"}"', 1)])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_measure_is_that_of_the_plain_program(condition, until, tokens):
    text = MODEL.replace("{until}", until).replace("{tokens}", str(tokens))
    program = fkdsl.parse(text.replace("{condition}", condition))
    assert "automaton or a grammar" in explain(program.ir()) or "before +" in condition
    guided = exact_measure(program.feynman_kac())
    assert_same_masses(guided, exact_measure(program.without().feynman_kac()), 1e-12)


V = Vocabulary((b"1", b"}", b"\n", b""), ends=frozenset({3}))


def masks(language, ids, left, until=""):
    return make_constraint(language, until, V).mask(ids, left).tolist()


def test_what_stands_before_counts_for_the_tokens_that_are_left():
    grammar = 'start: "{" ("1" | start)* "}"'
    assert masks(GrammarText(grammar, "{{"), (), 1) == [False, True, False, False]
    assert masks(GrammarText(grammar, "{"), (), 1) == [True, True, False, False]
    assert masks(GrammarText(grammar, "{"), (1,), 1)[3]


def test_a_stop_before_the_text_ends_nothing():
    language = JsonText('{"const": [1]}', before="[\n")
    assert completion_bounds((language,), "\n", V) is None
    assert masks(language, (), 4, "\n")[0]

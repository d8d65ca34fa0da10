"""The strategies: what is drawn is valid, varied, and small enough to enumerate."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.models.table import TableModel
from fkdsl.testing import (
    DrawnContext,
    assert_same_measure,
    contexts,
    exact_measure,
    machines,
    program_texts,
    programs,
    table_models,
    tables,
    vocabularies,
)
from fkdsl.testing.programs import STATEMENTS, TEXT_DRAWS, TOKEN_DRAWS, TOKEN_STATEMENTS
from fkdsl.testing.tables import ALPHABET, probability_text, table_text, text_literal

QUIET = settings(
    database=None, derandomize=True, max_examples=3_000, suppress_health_check=list(HealthCheck)
)


@given(vocabularies(size=4))
def test_vocabularies_are_distinct_tokens(texts):
    assert 1 <= len(texts) <= 4
    assert len(set(texts)) == len(texts)
    assert all(texts)


@given(vocabulary=vocabularies(), data=st.data())
def test_rows_of_tables_sum_to_one_and_one_is_for_any_text(vocabulary, data):
    rows = data.draw(tables(vocabulary, contexts=3))
    assert "" in rows
    assert 1 <= len(rows) <= 4
    for row in rows.values():
        assert set(row) <= {*vocabulary, None}
        assert all(p > 0.0 for p in row.values())
        assert math.isclose(math.fsum(row.values()), 1.0)


@given(vocabulary=vocabularies(("a", "b", '"', "\\", "\n", "é", "\t")), data=st.data())
def test_a_table_reads_back_from_its_text(vocabulary, data):
    rows = data.draw(tables(vocabulary))
    program = fkdsl.parse(
        table_text(rows)
        + '\nprogram p() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'
    )
    masses = exact_measure(program.feynman_kac())
    for token, p in rows[""].items():
        assert math.isclose(masses[token or ""], p, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("p", "text"), [(0.5, "0.5"), (2 / 3, "2/3"), (1.0, "1.0"), (0.123456, "0.123456")]
)
def test_probabilities_are_short(p, text):
    assert probability_text(p) == text


def test_texts_are_quoted_as_the_language_has_them():
    assert text_literal('a"\n') == '"a\\"\\n"'


@given(table_models())
def test_a_table_model_is_a_language_model_and_shows_its_rows(model):
    assert eval(repr(model), {"TableModel": TableModel}).rows == model.rows
    text = (
        'model "none"\n\nprogram p() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'
    )
    masses = exact_measure(fkdsl.parse(text).feynman_kac(model))
    assert math.isclose(math.fsum(masses.values()), 1.0)


@given(table_models(ALPHABET))
def test_a_property_of_a_program_holds_for_every_model(model):
    """One condition after a draw or two that come to the same."""
    text = 'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n'
    text += '    condition t == "a" or t == EOS\n    return lm.text\n'
    split = text.replace(
        'condition t == "a" or t == EOS', 'condition t != "b"\n    condition len(t) < 2'
    )
    assert_same_measure(text, split, model=model)


@given(contexts())
def test_a_context_has_a_row_in_its_engine(drawn):
    engine, context = drawn
    (row,) = engine.log_probs([context])
    assert abs(np.logaddexp.reduce(row)) <= 1e-12
    assert context.length <= 3
    assert repr(engine.raw(context).decode()) in repr(drawn)
    assert "TableModel('drawn'" in repr(drawn)


def test_contexts_reach_three_tokens_and_shrink_to_none():
    assert find(contexts(), lambda c: c.context.length == 3, settings=QUIET)
    simplest = find(contexts(), lambda c: isinstance(c, DrawnContext), settings=QUIET)
    assert simplest.context.length == 0
    assert simplest.engine.model.rows == {"": {"a": 1.0}}


def test_drawn_programs_have_every_statement_and_every_draw():
    seen = set()

    @settings(max_examples=400, derandomize=True, database=None)
    @given(program_texts())
    def look(text):
        parts = (*STATEMENTS, *TOKEN_STATEMENTS, *TOKEN_DRAWS, *TEXT_DRAWS)
        seen.update(part for part in parts if part.split("\n")[0].replace("{v}", "t") in text)
        seen.update(part for part in parts if part.split("\n")[0].replace("{v}", "s") in text)
        seen.update(
            word
            for word in ("range(2 - z)", "range(3)", "list[str]", "-> int", "v ~ drawn(lm)")
            if word in text
        )

    look()
    assert seen == {*STATEMENTS, *TOKEN_STATEMENTS, *TOKEN_DRAWS, *TEXT_DRAWS} | {
        "range(2 - z)", "range(3)", "list[str]", "-> int", "v ~ drawn(lm)",
    }  # fmt: skip


@settings(max_examples=30)
@given(programs())
def test_drawn_programs_are_small_enough_to_enumerate(program):
    assert len(exact_measure(program.feynman_kac(), max_states=2_000)) <= 40


@given(machines(sites=3, steps=3, bounded=True))
def test_bounded_machines_have_potentials_of_at_most_one(machine):
    assert machine.G0 <= 1.0
    assert all(g <= 1.0 for G in machine.G for row in G for g in row)
    assert all(math.isclose(sum(row), 1.0) for M in machine.M for row in M)

"""Derivatives against sets of words: every expression says of every short word what its definition
says."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.expressions import INFINITE, Algebra, TooComplex

LONGEST = 5
BOUNDS = st.tuples(st.integers(0, 3), st.sampled_from([INFINITE, 0, 1, 2, 3]))


def words(symbols):
    return [w for n in range(LONGEST + 1) for w in product(range(symbols), repeat=n)]


def joined(a, b):
    """{ u v : u in a, v in b }, up to the longest."""
    return frozenset(u + v for u in a for v in b if len(u) + len(v) <= LONGEST)


def power(a, times):
    found = frozenset({()})
    for _ in range(times):
        found = joined(found, a)
    return found


def repeated(a, least, most):
    return frozenset().union(
        *(power(a, k) for k in range(least, (least + LONGEST if most == INFINITE else most) + 1))
    )


def expressions(symbols):
    """(build, words): a function from an algebra to an expression, and its words by the
    definition."""
    every = frozenset(words(symbols))

    def symbol(classes):
        return lambda a: a.symbol(classes), frozenset((c,) for c in classes)

    def concat(x, y):
        return lambda a: a.concat(x[0](a), y[0](a)), joined(x[1], y[1])

    def union(parts):
        return lambda a: a.union([p[0](a) for p in parts]), frozenset().union(
            *(p[1] for p in parts)
        )

    def intersection(parts):
        return lambda a: a.intersection([p[0](a) for p in parts]), every.intersection(
            *(p[1] for p in parts)
        )

    def complement(x):
        return lambda a: a.complement(x[0](a)), every - x[1]

    def repeat(x, bounds):
        return lambda a: a.repeat(x[0](a), *bounds), repeated(x[1], *bounds)

    atoms = st.one_of(
        st.builds(symbol, st.frozensets(st.integers(0, symbols - 1))),
        st.sampled_from(
            [
                (lambda a: a.EMPTY, frozenset()),
                (lambda a: a.EPSILON, frozenset({()})),
                (lambda a: a.EVERYTHING, every),
                (lambda a: a.any_symbol(), frozenset((c,) for c in range(symbols))),
            ]
        ),
    )
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds(concat, inner, inner),
            st.builds(union, st.lists(inner, max_size=3)),
            st.builds(intersection, st.lists(inner, max_size=3)),
            st.builds(complement, inner),
            st.builds(repeat, inner, BOUNDS),
        ),
        max_leaves=6,
    )


def language(algebra, expression, symbols):
    """Its words, by derivatives."""
    found, level = set(), {(): expression}
    for _ in range(LONGEST + 1):
        found |= {w for w, e in level.items() if algebra.nullable(e)}
        level = {(*w, c): algebra.derive(e, c) for w, e in level.items() for c in range(symbols)}
    return found


@pytest.mark.parametrize("symbols", [2, 3])
@settings(max_examples=80)
@given(data=st.data())
def test_derivatives_accept_the_words_of_the_definition(symbols, data):
    build, expected = data.draw(expressions(symbols))
    algebra = Algebra(symbols)
    assert language(algebra, build(algebra), symbols) == expected


def test_a_repeat_with_its_bounds_the_wrong_way_round_holds_nothing():
    a = Algebra(2)
    assert a.repeat(a.any_symbol(), 3, 2) == a.repeat(a.any_symbol(), 1, 0) == a.EMPTY


def test_a_repeat_from_below_none_is_one_from_none():
    a = Algebra(2)
    assert a.nullable(a.repeat(a.any_symbol(), -1, 2))


def test_long_concatenations_need_no_deep_stack():
    a = Algebra(2)
    word = a.concat_all([a.symbol({0})] * 5_000)
    assert a.derive(a.concat(word, a.EVERYTHING), 1) == a.EMPTY


def test_an_algebra_stops_at_its_bounds():
    few, slow = Algebra(2, most=10), Algebra(2, parts=10)
    with pytest.raises(TooComplex):
        few.concat_all(few.repeat(few.symbol({0}), 0, k) for k in range(2, 20))
    with pytest.raises(TooComplex):
        slow.union(slow.repeat(slow.symbol({0}), 0, k) for k in range(2, 20))

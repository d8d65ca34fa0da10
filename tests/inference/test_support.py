"""Whether anything can live: the search and the exact measure agree."""

from hypothesis import given

from fkdsl.inference.search import support
from fkdsl.inference.search.support import can_live
from fkdsl.testing import Machine, exact_measure, machines


@given(machines(sites=3, steps=3))
def test_the_search_finds_a_living_outcome_iff_z_is_positive(machine):
    assert can_live(machine) is (sum(exact_measure(machine).values()) > 0.0)


def test_a_search_that_would_be_too_long_says_that_it_does_not_know():
    dead = Machine(
        M=(((0.5, 0.5), (0.5, 0.5)),) * 3,
        G=(((1.0, 1.0), (1.0, 1.0)),) * 2 + (((0.0, 0.0), (0.0, 0.0)),),
    )
    assert can_live(dead) is False
    assert can_live(dead, max_states=4) is None
    assert can_live(dead, until=0.0) is None


def test_a_search_that_forgets_an_outcome_is_caught(monkeypatch):
    """A planted bug: only the first outcome of each step is looked at; the second is the one that
    lives."""
    machine = Machine(M=(((0.5, 0.5), (0.5, 0.5)),), G=(((0.0, 1.0), (0.0, 1.0)),))
    assert can_live(machine) is True
    monkeypatch.setattr(support, "_siblings", lambda xp, beyond, rng: iter(()))
    assert can_live(machine) is False

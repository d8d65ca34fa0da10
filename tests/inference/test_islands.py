"""The laws of islands in this process (fkdsl.inference.island_runner). Workers are held to
them by tests/api/test_remote_islands.py."""

import numpy as np
import pytest

from fkdsl.inference.island_runner import IslandTask, LocalIslands
from fkdsl.inference.method import LoopSettings
from fkdsl.inference.methods import check_method
from fkdsl.testing import Machine

MODEL = Machine(M=(((0.2, 0.8), (0.6, 0.4)),) * 5, G=(((4.0, 0.1), (2.0, 0.3)),) * 5)


def islands(method="smc", **options):
    return LocalIslands(MODEL, check_method(method).call(options), 3, 4, LoopSettings())


def by_island(runner, tasks):
    """The steps of each island, and which are over."""
    steps, over = {}, []
    for island, step in runner.run(tasks):
        if step is None:
            over.append(island)
        else:
            assert island not in over
            steps.setdefault(island, []).append(step)
    return steps, over


def same(a, b):
    return (
        [(p.state, p.lineage) for p in a.particles] == [(p.state, p.lineage) for p in b.particles]
        and np.array_equal(a.log_weights, b.log_weights)
        and (a.t, a.island, a.log_Z) == (b.t, b.island, b.log_Z)
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("smc", {"particles": 4}),
        ("steer", {"particles": 4}),
        ("dpf", {"particles": 4}),
        ("alive", {"particles": 4}),
        ("pgibbs", {"particles": 4, "sweeps": 2}),
    ],
)
def test_an_island_depends_on_its_index_alone(method, options):
    runner = islands(method, **options)
    together, over = by_island(runner, [IslandTask(r) for r in (3, 0, 2, 1)])
    assert over == [3, 0, 2, 1]
    for r in range(4):
        alone, _ = by_island(runner, [IslandTask(r)])
        assert all(map(same, alone[r], together[r]))
        assert len(alone[r]) == len(together[r])
    assert not same(together[0][-1], together[1][-1])


@pytest.mark.parametrize("method", ["smc", "steer", "importance"])
def test_an_island_that_pauses_goes_on_as_if_it_had_not(method):
    runner = islands(method, particles=4)
    whole, _ = by_island(runner, [IslandTask(2)])
    first, over = by_island(runner, [IslandTask(2, until=2)])
    assert over == [2]
    assert [step.t for step in first[2]] == [0, 1, 2]
    rest, _ = by_island(runner, [IslandTask(2, start=first[2][-1])])
    assert [step.t for step in rest[2]] == [3, 4, 5]
    assert all(map(same, [*first[2], *rest[2]], whole[2]))

"""Which new tokens go through the model together, so that none goes through it twice.

A job is a run of new nodes below a cached one. Contexts on one path share a job, so fixed text is
one row of the batch (teacher forcing). Where paths part after nodes that are not yet cached, the
shared run is a job of its own in an earlier wave, and the branches follow in the next; or, if it is
short and forwards are dearer than tokens, a part of each branch. A wave is one batched forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fkdsl.engine.prefix_tree import Context


@dataclass(frozen=True)
class Job:
    """Nodes to compute after `base`, each the parent of the next, and those of them whose rows are
    wanted."""

    base: Context
    run: list[Context]
    wanted: list[Context]

    @property
    def positions(self) -> tuple[int, ...]:
        """Where in `run` the wanted nodes stand."""
        wanted = set(self.wanted)
        return tuple(i for i, node in enumerate(self.run) if node in wanted)


def plan_waves(
    missing: Sequence[Context],
    usable: Callable[[Context], bool],
    most: int | None,
    repeated: int = 0,
) -> list[list[Job]]:
    """Jobs that compute every context of `missing`, in waves of at most `most` rows.

    usable: whether a forward can go on from a node. A missing context itself is computed even if it
    is usable: its cache may be there while its row is gone. repeated: a shared run, with those
    before it that are repeated too, of so many tokens at most is computed in each of its branches
    instead of in a wave of its own.
    """
    wanted = set(missing)
    children: dict[Context, dict[Context, None]] = {}
    tops: dict[Context, None] = {}
    for context in missing:
        _link(context, usable, children, tops)
    waves: list[list[Job]] = []
    for top in tops:
        if top.parent is None and top in wanted:
            _add(waves, 0, Job(top, [], [top]))
        todo = [(top, [child], 0) for child in children.get(top, ())]
        while todo:
            base, run, depth = todo.pop()
            while len(below := list(children.get(run[-1], ()))) == 1:
                run.append(below[0])
            if below and len(run) <= repeated:
                todo.extend((base, [*run, child], depth) for child in below)
                continue
            _add(waves, depth, Job(base, run, [n for n in run if n in wanted]))
            wanted.difference_update(run)
            todo.extend((run[-1], [child], depth + 1) for child in below)
    size = most or max(map(len, waves), default=1)
    return [wave[i : i + size] for wave in waves for i in range(0, len(wave), size)]


def _link(
    context: Context,
    usable: Callable[[Context], bool],
    children: dict[Context, dict[Context, None]],
    tops: dict[Context, None],
) -> None:
    """Adds the new nodes on the way to a context to `children`, and the cached node they hang from
    to `tops`."""
    node, must = context, True
    while node.parent is not None and (must or not usable(node)):
        siblings = children.setdefault(node.parent, {})
        linked = node in siblings
        siblings[node] = None
        if linked:
            return
        node, must = node.parent, False
    tops[node] = None


def _add(waves: list[list[Job]], depth: int, job: Job) -> None:
    while len(waves) <= depth:
        waves.append([])
    waves[depth].append(job)

"""Which new tokens go through the model in one forward, so that none goes through it twice.

A job is a run of new nodes below a cached one. Contexts on one path share a job, so fixed text is
one row of the batch (teacher forcing). Where paths part below a run that is not yet cached, this
shared run is a job of its own in one wave, and the branches are jobs of the next wave. A shared run
that is short may instead be computed as part of each branch, which saves a forward. A wave is one
batched forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fkdsl.engine.prefix_tree import Context


class Job(NamedTuple):
    """Nodes to compute after a cached one. run: each node is the parent of the next, the first a
    child of `base`. wanted: the nodes of the run whose rows are asked for; the same list only for a
    run of one token."""

    base: Context
    run: list[Context]
    wanted: list[Context]

    @property
    def positions(self) -> tuple[int, ...]:
        """The indices in `run` of the wanted nodes."""
        if len(self.run) == 1:
            return (0,) if self.wanted else ()
        wanted = set(self.wanted)
        return tuple(i for i, node in enumerate(self.run) if node in wanted)


def plan_waves(
    missing: Sequence[Context],
    usable: Callable[[Context], bool],
    most: int | None,
    repeated: int = 0,
) -> list[list[Job]]:
    """Jobs that compute every context of `missing`, in waves of at most `most` rows.

    usable: whether a forward can start from a node. A missing context is computed even if it is
    usable: its segment may be cached while its row is not. repeated: a shared run of at most so
    many tokens is computed in each of its branches instead of in a wave of its own; the count
    includes the repeated runs before it.
    """
    jobs = single_tokens(missing, usable)
    if jobs is not None:
        size = most or max(len(jobs), 1)
        return [jobs[i : i + size] for i in range(0, len(jobs), size)]
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


def single_tokens(
    missing: Sequence[Context], usable: Callable[[Context], bool]
) -> list[Job] | None:
    """The jobs of `plan_waves`, in its order, where each context is one token after a usable one,
    as in a decoding step; None elsewhere."""
    if len(missing) == 1 and (base := missing[0].parent) is not None:
        run = list(missing)
        return [Job(base, run, run)] if usable(base) else None
    wanted, after = set(missing), dict[Context, list[Context]]()
    for context in missing:
        parent = context.parent
        if parent is None or parent in wanted:
            return None
        after.setdefault(parent, []).append(context)
    if not all(map(usable, after)):
        return None
    runs = [(parent, [c]) for parent, cs in after.items() for c in reversed(cs)]
    return [Job(parent, run, run) for parent, run in runs]


def _link(
    context: Context,
    usable: Callable[[Context], bool],
    children: dict[Context, dict[Context, None]],
    tops: dict[Context, None],
) -> None:
    """Adds the nodes to compute for a context to `children`, under their parents, and the cached
    node above them to `tops`."""
    node = context
    while node.parent is not None and (node is context or not usable(node)):
        siblings = children.setdefault(node.parent, {})
        linked = node in siblings
        siblings[node] = None
        if linked:
            return
        node = node.parent
    tops[node] = None


def _add(waves: list[list[Job]], depth: int, job: Job) -> None:
    while len(waves) <= depth:
        waves.append([])
    waves[depth].append(job)

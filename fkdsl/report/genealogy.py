"""The genealogy of an island's particles: who was drawn from whom, where, and with what weight.

A node is one move of one particle. Particles that wait, since they have returned or died, have no
node until they are copied. Rows keep descendants beside each other, so that no two lines cross.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.interface import Charge, Step
from fkdsl.machine.state import Alternatives, DrawnValue, ProgramState, Status


@dataclass(frozen=True)
class Node:
    """t, index: which particle of which step. row: its place among the particles of that step.
    parent: the node before it, None at the beginning. copied: whether resampling put it in the
    place of another. log_weight: after the step, nats, not normalised. weight: its share of the
    step's. charges: what the step added, in order. alternatives: see ProgramState. survives:
    whether a particle of the last step with a weight above 0 descends from it."""

    t: int
    index: int
    row: int
    parent: int | None
    copied: bool
    status: Status
    log_weight: float
    weight: float
    drawn: tuple[DrawnValue, ...]
    charges: tuple[Charge, ...]
    alternatives: tuple[Alternatives | None, ...]
    survives: bool = field(default=False)


@dataclass(frozen=True)
class Genealogy:
    """nodes: in the order of the steps. last: the node of each particle of the last step."""

    nodes: list[Node]
    last: list[int]


@dataclass
class Segment:
    """A straight line of the drawn tree, from a node to one of its descendants, along one row but
    for those that are a single edge."""

    t0: int
    row0: int
    t1: int
    row1: int
    survives: bool


def segments(tree: Genealogy) -> list[Segment]:
    """The edges of the tree, runs of them along one row put together: of a population that is
    resampled now and then, a few for each particle and not one for each step."""
    drawn: list[Segment] = []
    ending: dict[int, Segment] = {}  # by the node where it ends so far
    for k, node in enumerate(tree.nodes):
        if node.parent is None:
            continue
        parent = tree.nodes[node.parent]
        one = ending.get(node.parent)
        if (
            one is not None
            and one.row0 == one.row1 == node.row
            and (one.t1, one.survives) == (parent.t, node.survives)
        ):
            one.t1 = node.t
        else:
            one = Segment(parent.t, parent.row, node.t, node.row, node.survives)
            drawn.append(one)
        ending[k] = one
    return drawn


def genealogy(course: Sequence[Step[ProgramState]], *, moves_paths: bool = False) -> Genealogy:
    """The nodes of an island. moves_paths: moves put other paths in the place of those that the
    trace has, so that only the last step is told."""
    steps = list(course[-1:] if moves_paths else course)
    nodes: list[Node] = []
    node_of: list[int] = []
    rows: list[int] = []
    for k, step in enumerate(steps):
        before = steps[k - 1] if k and step.t > 0 else None
        order = _rows(step, rows if before is not None else [])
        here: list[int] = []
        for i, particle in enumerate(step.particles):
            a = step.ancestors[i] if before is not None else None
            parent = before.particles[a] if before is not None and a is not None else None
            x = particle.state
            moved = parent is None or parent.state is not x
            copied = parent is not None and parent.lineage != particle.lineage
            if not moved and not copied and a is not None:
                here.append(node_of[a])
                continue
            log_weight = float(step.log_weights[i])
            share = math.exp(log_weight - step.log_Z) if log_weight > -math.inf else 0.0
            here.append(len(nodes))
            nodes.append(
                Node(
                    t=step.t,
                    index=i,
                    row=order[i],
                    parent=node_of[a] if a is not None else None,
                    copied=copied,
                    status=x.status,
                    log_weight=log_weight,
                    weight=share,
                    drawn=x.drawn if moved else (),
                    charges=x.charges if moved else (),
                    alternatives=x.alternatives if moved else (),
                )
            )
        node_of, rows = here, order
    return Genealogy(_with_survivors(nodes, node_of, steps), node_of)


def _rows(step: Step[ProgramState], rows: Sequence[int]) -> list[int]:
    """The row of each particle: beside those that descend from the same ancestor."""
    n = len(step.particles)
    if not rows:
        return list(range(n))
    order = sorted(range(n), key=lambda i: (rows[step.ancestors[i]], i))
    found = [0] * n
    for row, i in enumerate(order):
        found[i] = row
    return found


def _with_survivors(
    nodes: list[Node], last: Sequence[int], steps: Sequence[Step[ProgramState]]
) -> list[Node]:
    alive: set[int] = set()
    if steps:
        weights = steps[-1].log_weights
        todo = [node for node, w in zip(last, weights, strict=True) if w > -math.inf]
        while todo:
            i = todo.pop()
            if i not in alive:
                alive.add(i)
                parent = nodes[i].parent
                todo += [parent] if parent is not None else []
    return [Node(**{**node.__dict__, "survives": i in alive}) for i, node in enumerate(nodes)]

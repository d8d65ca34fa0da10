"""Whether the steps of a trace are the run's own: the run is done again without the file, and its
steps are compared.

Somebody may have written other states into a trace, with right sums. If a run fails that goes on
from them, the file is to blame; if it fails from its own steps, we are. To find out costs what the
run has cost so far, so it is done only when a resumed run has failed.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from fkdsl.api.request import RunRequest, StepsByIsland
from fkdsl.inference.interface import Particle, Step
from fkdsl.inference.run import run as run_method
from fkdsl.machine.state import ProgramState
from fkdsl.steering.feynman_kac import SteeringModel

CLOSE = 1e-6
"""Nats by which log weights of another machine may differ."""


class _Done(BaseException):
    """Ends the run that is done again. No Exception, so that nothing on the way takes it."""

    def __init__(self, same: bool) -> None:
        self.same = same


def is_own(request: RunRequest, model: SteeringModel, steps_by_island: StepsByIsland) -> bool:
    """Whether the run, begun anew on the model, comes to the same steps of each island."""
    expected = {
        (island, step.t): step for island, steps in steps_by_island.items() for step in steps
    }
    last = max(expected, default=None)

    def compare(step: Any) -> None:
        place = (step.island, step.t)
        if place in expected and not _same(step, expected[place]):
            raise _Done(same=False)
        if last is None or place >= last:
            raise _Done(same=True)

    try:
        run_method(
            model,
            request.call,
            request.seed,
            islands=request.islands,
            timeout=request.deadline,
            max_steps=request.max_steps,
            merge=request.merge,
            observer=compare,
        )
    except _Done as done:
        return done.same
    except Exception:
        return True  # it fails, or its time is over, without the file too
    return False  # it ends before it comes to the file's last step


def _same(a: Step[ProgramState], b: Step[ProgramState]) -> bool:
    try:
        return (
            [_identity(p) for p in a.particles] == [_identity(p) for p in b.particles]
            and a.ancestors == b.ancestors
            and np.allclose(a.log_weights, b.log_weights, rtol=0.0, atol=CLOSE)
        )
    except Exception:  # a state of the file may hold what has no key
        return False


def _identity(particle: Particle[ProgramState]) -> Hashable:
    return particle.lineage, particle.state.key()

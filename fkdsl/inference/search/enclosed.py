"""Results whose Z is known only between two bounds: those of a search that was ended, or of a beam.

With L the mass of the finished states and F a bound on what the open ones can add, P(v) is at least
m_v / (L + F) and at most (m_v + F) / (L + F).
"""

from __future__ import annotations

import math
from dataclasses import replace

from fkdsl.base.errors import BudgetEnded
from fkdsl.base.logspace import linear
from fkdsl.inference.assess.uncertainty import Unknown
from fkdsl.inference.method import Method
from fkdsl.inference.result import Answer, Result
from fkdsl.inference.search.frontier import Explored

KNOWN = 1e-9
"""Nats between the bounds on log Z up to which they count as one number."""
UNBOUNDED = "a `factor` or a density may be above 1 here, so there is no upper bound on Z"


def is_known(explored: Explored[object]) -> bool:
    """Whether the search came to Z itself."""
    return explored.gap <= KNOWN


def check_any_finished(explored: Explored[object], method: Method) -> None:
    """Raises BudgetEnded if a bound ended the search before any state was finished."""
    if explored.ended and explored.log_Z == -math.inf:
        option = explored.ended.split("=")[0].replace("_", "-")
        raise BudgetEnded(
            f"{method.name} was ended by {explored.ended} after {explored.computed:,} states, and "
            f"none of them is finished; {upper_bound(explored)}",
            f"raise --{option}, tighten the conditions, or use smc",
        )


def upper_bound(explored: Explored[object]) -> str:
    """What is known of log Z where no state is finished, in words."""
    high = explored.bounds[1]
    return f"log Z <= {high:.4f}" if high < math.inf else UNBOUNDED


def enclosed(result: Result, explored: Explored[object], method: Method) -> Result:
    """The result with its bounds on Z and on every answer; without them where Z itself is known."""
    if is_known(explored):
        return replace(result, states=explored.computed)
    low, high = explored.bounds
    notes = []
    if method.log_z == "bound":
        notes.append("a beam has no estimate of Z, and its posterior is that of what it kept")
    if explored.ended:
        notes.append(
            f"{method.name} was ended by {explored.ended} after {explored.computed:,} states; what "
            "it found is renormalised"
        )
    if high == math.inf:
        notes.append(UNBOUNDED)
    return replace(
        result,
        states=explored.computed,
        log_z_bounds=(low, high),
        log_z_se=None,
        uncertainty=Unknown(by="bounds"),
        notes=(*result.notes, *notes),
        posterior=tuple(_between(a, explored.log_open - low) for a in result.posterior),
    )


def _between(answer: Answer, log_ratio: float) -> Answer:
    """The answer with its interval; log_ratio: log(F / L)."""
    if log_ratio == math.inf:
        return answer
    # With r = F / L: p / (1 + r) and (p + r) / (1 + r).
    open_share = 1.0 / (1.0 + linear(-log_ratio))
    low = answer.probability * (1.0 - open_share)
    return replace(answer, low=low, high=min(1.0, low + open_share))

"""Small settings of every method that estimates Z without bias: what is run many times to see
whether it does.

Small populations show what is wrong best: with two to four particles every step resamples, divides
and merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fkdsl.inference.methods import METHODS
from fkdsl.inference.samplers.resampling import RESAMPLING

WITHOUT_ESTIMATE = ("exact", "beam", "local")
"""Methods whose log Z is no unbiased estimate: exact, a bound, or nothing."""
STEPWISE = ("smc", "steer", "importance", "alive")
"""Methods that multiply each weight by a potential in each step, and resample without raising the
total: every step of theirs can be held to what is to come."""
BOUNDED = (*STEPWISE, "rejection", "pgibbs", "tempered")
"""Methods whose Z_hat is at most 1 where every potential is; rejection runs on no others."""


@dataclass(frozen=True)
class Variant:
    """A method with the settings that its runs take in turn."""

    name: str
    method: str
    settings: tuple[Mapping[str, Any], ...]

    @property
    def stepwise(self) -> bool:
        # A move keeps the law of a path, not what its population promises given the steps before.
        return self.method in STEPWISE and not any(s.get("moves") for s in self.settings)

    @property
    def resamples_after(self) -> bool:
        """Whether a step's population is one that has been reduced after it was weighed."""
        return self.method == "steer"

    @property
    def bounded(self) -> bool:
        return self.method in BOUNDED


SETTINGS: dict[str, dict[str, tuple[Mapping[str, Any], ...]]] = {
    "smc": {
        **{
            f"smc({scheme})": tuple(
                {"particles": n, "ess": e, "resampling": scheme}
                for n, e in ((2, 1.0), (3, 1.0), (4, 0.7))
            )
            for scheme in RESAMPLING
        },
        "smc(moves)": tuple({"particles": n, "ess": 1.0, "moves": 1} for n in (2, 3, 4)),
    },
    "steer": {"steer": tuple({"particles": n, "factor": k} for n, k in ((2, 2), (3, 2), (3, 3)))},
    "importance": {"importance": ({"particles": 2},)},
    "pgibbs": {"pgibbs": tuple({"particles": n, "sweeps": 2} for n in (2, 3))},
    # At power 1 its target is the program's own.
    "tempered": {
        "tempered": tuple(
            {"particles": n, "power": 1.0, "temperatures": 2, "ess": 1.0} for n in (2, 3)
        )
    },
    "alive": {"alive": ({"particles": 2, "attempts": 4}, {"particles": 3, "attempts": 40})},
    "rejection": {"rejection": ({"samples": 2, "attempts": 12}, {"samples": 4, "attempts": 12})},
}
"""By method and by the name that reports show. A method that is not here runs at its defaults with
2 to 4 particles."""


def variants(names: Sequence[str] | None = None) -> tuple[Variant, ...]:
    """Of all methods that estimate Z without bias, or of those named; a variant's own name names it
    alone."""
    found: list[Variant] = []
    for method, spec in METHODS.items():
        if spec.available and method not in WITHOUT_ESTIMATE:
            counted = (
                tuple({"particles": n} for n in (2, 3, 4)) if "particles" in spec.options else ({},)
            )
            found += [
                Variant(n, method, s) for n, s in SETTINGS.get(method, {method: counted}).items()
            ]
    return tuple(v for v in found if names is None or v.method in names or v.name in names)

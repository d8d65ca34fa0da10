"""What a comparison of methods has come to: a row for each, and the table of them."""

from __future__ import annotations

import math
import textwrap

from fkdsl.base.quick_dataclass import dataclass

WIDTH = 100
"""Characters of the longest line."""
NONE = "-"
COLUMNS = (
    ("method", 11),
    ("particles", 9),
    ("satisfy", 8),
    ("log Z", 10),
    ("sd", 8),
    ("died", 7),
    ("from exact", 11),
    ("tokens", 9),
    ("time", 9),
)
"""Headings and widths; the first column stands left, the others right."""


@dataclass(frozen=True)
class Row:
    """One method's figures; None where there is no such figure.

    particles: of a run; for rejection, attempts; for beam, its width. runs: how many there were; 1
    for exact and beam. died: how many of them died. satisfied: share of a run's particles that end
    with positive weight, each counting one, mean over the runs, 0 for a run that died. It is of the
    particles that the run began with; for steer, which merges equal states and keeps no dead one,
    of the last population, so that each run has 1 or 0; for rejection, of the attempts. log_z: log
    of the mean of Z_hat over the runs, nats, where a run that died counts as Z_hat = 0; None for a
    method without one. log_z_sd: standard deviation of log Z_hat over the runs that lived, nats;
    None for fewer than two. distance: total variation between the posterior over values and the
    exact one, mean over the runs, 1 for a run that died; None where the exact posterior is not
    known. ess: effective sample size of the last population, mean over the runs, 0 for one that
    died; None for a method that draws nothing. tokens: forwarded by the models, mean over the runs.
    seconds: mean over the runs. note: why tokens are far from the budget, or why the exact
    posterior is not known.
    """

    method: str
    particles: int | None
    runs: int
    died: int
    satisfied: float | None
    log_z: float | None
    log_z_sd: float | None
    distance: float | None
    ess: float | None
    tokens: float
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A row for each method, in the order of the call. budget: tokens a run. seed: the first run's;
    the others follow it."""

    program: str
    budget: int
    runs: int
    seed: int
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        """The table that `fkdsl compare` prints."""
        return _text(self)


def _text(comparison: Comparison) -> str:
    """The table, then the notes on its rows, then the settings."""
    lines = [_line([heading for heading, _ in COLUMNS])]
    lines += [_line(_cells(row)) for row in comparison.rows]
    lines.append("")
    notes: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.note:
            notes.setdefault(row.note, []).append(row.method)
    for note, methods in notes.items():
        lines += textwrap.wrap(f"{', '.join(methods)}: {note}", WIDTH, subsequent_indent="  ")
    runs = f"{comparison.runs} run{'s' if comparison.runs > 1 else ''}"
    budget = f"budget {comparison.budget} tokens"
    lines.append(f"{comparison.program}   seed {comparison.seed}   {budget}   {runs}")
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    exact = row.method == "exact"
    return [
        row.method,
        NONE if row.particles is None else str(row.particles),
        _figure(row.satisfied, 3),
        _figure(row.log_z, 4),
        _figure(row.log_z_sd, 4),
        NONE if exact else f"{row.died} of {row.runs}",
        "not known" if exact and row.distance is None else _figure(row.distance, 4),
        _figure(row.tokens, 0),
        f"{row.seconds:.1f} s",
    ]


def _figure(x: float | None, places: int) -> str:
    """A number to `places` decimals; what rounds to zero has no sign."""
    if x is None:
        return NONE
    text = f"{x:.{places}f}"
    return text.removeprefix("-") if math.isfinite(x) and float(text) == 0 else text


def _line(cells: list[str]) -> str:
    first, *others = zip(cells, (width for _, width in COLUMNS), strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f" {text:>{width}}" for text, width in others)

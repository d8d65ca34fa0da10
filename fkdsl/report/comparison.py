"""The table of `fkdsl compare --json` as a figure: a row for each method, a panel for each of its
figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.base.shown import one_line
from fkdsl.report.charts import Spec, with_data

MOST_BYTES = 1 << 20
MOST_ROWS = 100
MOST_NAME = 40
"""Characters of a method's name."""
PANELS = (
    ("log_z", "log Z (nats), with the sd of a run"),
    ("distance", "distance from exact"),
    ("ess", "effective sample size"),
    ("tokens", "tokens a run"),
)
WIDTH = 150
"""Pixels of a panel."""


def read_comparison(path: Path) -> Mapping[str, Any] | None:
    """What `fkdsl compare --json` printed into a file; None for a file that is no JSON object with
    rows. Raises CallError for a table that nothing could be drawn of."""
    try:
        data = json.loads(read_file(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "rows" not in data:
        return None
    rows = data["rows"]
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS or not all(map(_fits, rows)):
        raise CallError(
            f"{path} is no table of methods", "write one: fkdsl compare FILE.fk --json > table.json"
        )
    return data


def _fits(row: Any) -> bool:
    numbers = [*(name for name, _ in PANELS), "log_z_sd"]
    return (
        isinstance(row, dict)
        and isinstance(row.get("method"), str)
        and 0 < len(row["method"]) <= MOST_NAME
        and all(row.get(name) is None or _is_number(row[name]) for name in numbers)
    )


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= 1e300


def comparison_figure(data: Mapping[str, Any]) -> Spec:
    """A panel for each figure that some method has; the dashed line is the log Z of exact."""
    rows = [_row(row) for row in data["rows"]]
    exact = [row for row in rows if row["method"] == "exact" and row["log_z"] is not None]
    known = [panel for panel in PANELS if any(row[panel[0]] is not None for row in rows)]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    panels = [_panel(name, title, methods, k == 0) for k, (name, title) in enumerate(known)]
    return with_data({"hconcat": panels}, {"rows": rows, "exact": exact})


def _panel(name: str, title: str, methods: list[str], named: bool) -> Spec:
    """One figure of every method, a point in its row; a method without it has none. named: whether
    the rows have their names."""
    axis = {"grid": True, "labels": named, "ticks": False, "domain": False}
    rows = {"domain": methods}
    y = {"field": "method", "type": "nominal", "scale": rows, "title": None, "axis": axis}
    scale = {"zero": name != "log_z", "nice": True}
    few = {"tickCount": 4, "labelOverlap": True}
    x = {"field": name, "type": "quantitative", "title": title, "scale": scale, "axis": few}
    point: Spec = {
        "mark": {"type": "point", "filled": True, "size": 70},
        "encoding": {"y": y, "x": x},
    }
    layers = [point]
    if name == "log_z":
        bar = {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}}
        layers = [{"mark": {"type": "rule", "strokeWidth": 2}, "encoding": bar}, point]
        truth = {"type": "rule", "strokeDash": [4, 3], "opacity": 0.6}
        layers.append({"data": {"name": "exact"}, "mark": truth, "encoding": {"x": x}})
    height = {"step": 26}
    return {"data": {"name": "rows"}, "width": WIDTH, "height": height, "layer": layers}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as charts want it, with the ends of the bar of its log Z."""
    chosen: dict[str, Any] = {name: _rounded(row.get(name)) for name, _ in PANELS}
    chosen["method"] = one_line(row["method"])
    log_z, sd = chosen["log_z"], _rounded(row.get("log_z_sd"))
    if log_z is not None and sd is not None:
        chosen |= {"low": log_z - sd, "high": log_z + sd}
    return chosen


def _rounded(x: float | None) -> float | None:
    """Without the last digits, which would stretch the axis of methods that agree."""
    return None if x is None else round(float(x), 9)

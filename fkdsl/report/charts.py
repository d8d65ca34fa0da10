"""Charts as Vega-Lite specifications: the steps of a run, and its genealogy.

The page fills in the data by name (`steps`, `edges`, `nodes`, `path`, `here`, `chosen`), since it
has them already; `with_data` does so for figures in files. The page finds the node under the mouse
itself, since it does not draw all points of a large tree at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
STATUS = {
    "domain": ["running", "returned", "dead"],
    "range": ["#4c78a8", "#54a24b", "#e45756"],
}


def steps_chart() -> Spec:
    """Effective sample size, entropy of the weights and log Z so far, by step; resampled steps are
    marked."""
    panels = [
        ("ess", "ESS", "effective sample size"),
        ("entropy", "entropy (nats)", "entropy of the weights (nats)"),
        ("log_z", "log Z (nats)", "log Z so far (nats)"),
    ]
    return {
        "data": {"name": "steps"},
        "vconcat": [_panel(*panel) for panel in panels],
        "resolve": {"scale": {"x": "shared"}},
    }


def _panel(name: str, short: str, title: str) -> Spec:
    """One figure by step. short: what fits beside so low an axis."""
    x = {"field": "t", "type": "quantitative", "title": "step", "axis": {"tickMinStep": 1}}
    y = {"field": name, "type": "quantitative", "title": short, "scale": {"zero": name != "log_z"}}
    island = {"field": "island", "type": "nominal", "title": "island"}
    tooltip = [
        {"field": "t", "title": "step"},
        {"field": "island", "title": "island"},
        {"field": name, "title": title, "format": ".4f"},
        {"field": "alive", "title": "alive"},
        {"field": "resampled", "title": "resampled"},
    ]
    return {
        "width": "container",
        "height": 110,
        "layer": [
            {
                "mark": {"type": "line"},
                "encoding": {"x": x, "y": y, "color": {**island, "legend": None}},
            },
            {
                "mark": {"type": "point", "filled": True, "cursor": "pointer"},
                "encoding": {
                    "size": {
                        "condition": {"test": "datum.resampled", "value": 140},
                        "value": 45,
                    },
                    "x": x,
                    "y": y,
                    "color": {**island, "legend": None},
                    "shape": {
                        "condition": {"test": "datum.resampled", "value": "diamond"},
                        "value": "circle",
                    },
                    "tooltip": tooltip,
                },
            },
            {
                "data": {"name": "chosen"},
                "mark": {"type": "rule", "strokeDash": [4, 3], "opacity": 0.7},
                "encoding": {"x": {"field": "t", "type": "quantitative"}},
            },
        ],
    }


def genealogy_chart(height: int = 420) -> Spec:
    """The tree of an island: steps from left to right, a line from each node to its parent; lines
    that no survivor descends from are faint. It is dragged and zoomed."""
    x = {"type": "quantitative", "title": "step", "axis": {"tickMinStep": 1, "grid": False}}
    no_marks = {"labels": False, "ticks": False, "grid": False}
    y = {"type": "quantitative", "title": "particle", "axis": no_marks}
    line = {
        "x": {**x, "field": "t0"},
        "x2": {"field": "t1"},
        "y": {**y, "field": "row0"},
        "y2": {"field": "row1"},
    }
    survives = {"condition": {"test": "datum.survives", "value": 0.75}, "value": 0.3}
    edges = {
        "data": {"name": "edges"},
        "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
        "mark": {"type": "rule", "strokeWidth": 1, "clip": True},
        "encoding": {**line, "opacity": survives},
    }
    path = {
        "data": {"name": "path"},
        "mark": {"type": "rule", "strokeWidth": 3, "color": "#f58518", "clip": True},
        "encoding": line,
    }
    nodes = {
        "data": {"name": "nodes"},
        "mark": {"type": "point", "filled": True, "cursor": "pointer", "clip": True},
        "encoding": {"x": {**x, "field": "t"}, "y": {**y, "field": "row"}, **_node_marks()},
    }
    here = {
        "data": {"name": "here"},
        "mark": {
            "type": "point",
            "size": 320,
            "strokeWidth": 2.5,
            "color": "#f58518",
            "clip": True,
        },
        "encoding": {"x": {**x, "field": "t"}, "y": {**y, "field": "row"}},
    }
    return {"width": "container", "height": height, "layer": [edges, path, nodes, here]}


def _node_marks() -> Spec:
    """How a node looks: its size is the weight, its colour the status, a copy is a diamond."""
    sizes = {"domain": [0, 1], "range": [12, 260]}
    return {
        "size": {"field": "weight", "type": "quantitative", "scale": sizes, "legend": None},
        "opacity": {"condition": {"test": "datum.survives", "value": 0.9}, "value": 0.45},
        "color": {
            "field": "status",
            "type": "nominal",
            "scale": STATUS,
            "legend": {"title": None, "orient": "top"},
        },
        "shape": {"condition": {"test": "datum.copied", "value": "diamond"}, "value": "circle"},
    }


def posterior_chart(most: int = 20) -> Spec:
    """The heaviest answers with their probabilities."""
    return {
        "data": {"name": "answers"},
        "transform": [
            {"window": [{"op": "row_number", "as": "rank"}]},
            {"filter": f"datum.rank <= {most}"},
        ],
        "width": 420,
        "mark": "bar",
        "encoding": {
            "y": {"field": "value", "type": "nominal", "sort": None, "title": None,
                  "axis": {"labelLimit": 420}},
            "x": {"field": "probability", "type": "quantitative", "title": "probability"},
        },
    }  # fmt: skip


def with_data(spec: Spec, data: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec:
    """A specification with its named data put in."""
    return {**spec, "datasets": {name: list(rows) for name, rows in data.items()}}

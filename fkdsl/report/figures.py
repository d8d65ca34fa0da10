"""Figures of a run for papers: SVG, PNG and PDF by vl-convert, from the page's charts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.report.charts import Spec, genealogy_chart, posterior_chart, steps_chart, with_data
from fkdsl.report.page import INSTALL

SUFFIXES = (".svg", ".png", ".pdf")
WIDTH = 640
"""Pixels of a chart that the page makes as wide as its window."""
SCALE = 2.0
"""Of PNG files: pixels for one of the chart's."""


def figure(data: Mapping[str, Any], name: str, island: int = 0) -> Spec:
    """A chart with its data. data: of report_data. Raises CallError if the run has none of it."""
    if name == "posterior":
        answers = data["result"]["posterior"]
        if not answers:
            raise CallError(
                "the trace has no posterior: "
                + ("every particle died" if data["finished"] else "its run has not ended"),
                "look at --figure genealogy" if data["finished"] else "go on with --resume",
            )
        if sole := all(a["probability"] is None for a in answers) and data["result"]["sole"]:
            raise CallError(
                f"the run has one answer, of one surviving {sole}: no probability is known",
                "run it with more particles, or with --islands 8",
            )
        return with_data(posterior_chart(), {"answers": answers})
    chosen = [one for one in data["islands"] if one["island"] == island]
    if not chosen:
        known = ", ".join(str(one["island"]) for one in data["islands"]) or "none"
        raise CallError(f"the trace has no particles of island {island}", f"its islands: {known}")
    if name == "steps":
        steps = [{**s, "island": one["island"]} for one in data["islands"] for s in one["steps"]]
        return _sized(with_data(steps_chart(), {"steps": steps, "chosen": []}))
    return _sized(with_data(genealogy_chart(), {**tree_rows(chosen[0]), "path": [], "here": []}))


def tree_rows(one: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The nodes and edges of an island's tree as rows, from what report_data says of it."""
    columns = one["nodes"]
    nodes = [
        {
            "t": t,
            "row": row,
            "status": status,
            "weight": weight,
            "copied": bool(copied),
            "survives": bool(survives),
        }
        for t, row, status, weight, copied, survives in zip(
            *(columns[key] for key in ("t", "row", "status", "weight", "copied", "survives")),
            strict=True,
        )
    ]
    names = ("t0", "row0", "t1", "row1", "survives")
    return {"nodes": nodes, "edges": [dict(zip(names, s, strict=True)) for s in one["segments"]]}


def _sized(spec: Spec) -> Spec:
    """The chart with a width of its own in place of its window's."""
    text = json.dumps(spec).replace('"width": "container"', f'"width": {WIDTH}')
    found: Spec = json.loads(text)
    return found


def write_figure(spec: Spec, path: Path) -> None:
    """Writes a chart; the file's suffix says as what. Raises CallError for another suffix, and if
    vl-convert is not installed."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CallError(f"{path} is no figure", f"name a file that ends in {', '.join(SUFFIXES)}")
    try:
        import vl_convert
    except ImportError:
        raise CallError("figures need vl-convert-python, which is not installed", INSTALL) from None
    if suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec), "utf-8")
    elif suffix == ".png":
        path.write_bytes(vl_convert.vegalite_to_png(spec, scale=SCALE))
    else:
        path.write_bytes(vl_convert.vegalite_to_pdf(spec))

"""A run's page: one HTML file with all that it needs, which opens offline.

The charts are drawn by Vega-Lite, whose bundle vl-convert carries (the extra `report`). Texts of
strangers (tokens, program names, errors) reach the page as JSON that cannot end its element, and
the DOM as text; a policy in the page lets no script run but the two that are in it, and loads
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.report.charts import genealogy_chart, steps_chart

INSTALL = 'install it: pip install "fkdsl[report]"'


def page(data: Mapping[str, Any], command: str | None = None) -> str:
    """The HTML of a page. data: of report_data. command: that which made the run. Raises CallError
    if vl-convert is not installed."""
    charts = {"steps": steps_chart(), "genealogy": genealogy_chart()}
    script, vega = _part("page.js"), vega_bundle()
    parts = {
        "__TITLE__": html.escape(f"{data['title']}: a run of fkdsl"),
        "__STYLE__": _part("page.css"),
        "__POLICY__": _policy(script, vega),
        "__DATA__": _json({**data, "charts": charts, "command": command}),
        "__VEGA__": vega,
        "__SCRIPT__": script,
    }
    # In one pass over the template: what is put in is not looked at again.
    template = re.split(r"(__[A-Z]+__)", _part("page.html"))
    return "".join(parts.get(piece, piece) for piece in template)


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. To make it takes a second or two."""
    try:
        import vl_convert
    except ImportError:
        raise CallError(
            "a report needs vl-convert-python, which is not installed", INSTALL
        ) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _part(name: str) -> str:
    return files("fkdsl.report").joinpath(name).read_text("utf-8")


def _json(data: Mapping[str, Any]) -> str:
    """JSON in which nothing ends a script element or begins a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(*scripts: str) -> str:
    """What the page may do: Vega's expressions are interpreted, so that no text is ever code."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )

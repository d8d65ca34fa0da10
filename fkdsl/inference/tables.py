"""Values as tables for other libraries: pandas, ArviZ, and a notebook's HTML.

A record's fields are columns of their own, so that a program that returns
`{"town": ..., "year": ...}` gives columns `town` and `year`; other values are one column, `value`.
The libraries are imported when they are asked for.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.shown import one_line, probability_text

PANDAS = 'pip install pandas, or pip install "fkdsl[frames]"'
ARVIZ = 'pip install arviz-base, or pip install "fkdsl[frames]"'
BAR = 120
"""Pixels of the longest bar."""


def value_columns(values: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns of some values; a field that a record lacks is None there.

    >>> value_columns([{"n": 1}, {"n": 2, "of": "x"}])
    {'n': [1, 2], 'of': [None, 'x']}
    >>> value_columns(["a", "b"])
    {'value': ['a', 'b']}
    """
    if not values or not all(isinstance(v, Mapping) for v in values):
        return {"value": [_plain(v) for v in values]}
    names = dict.fromkeys(name for v in values for name in v)
    return {name: [_plain(v[name]) if name in v else None for v in values] for name in names}


def data_frame(values: Sequence[Any], figures: Mapping[str, Sequence[Any]]) -> Any:
    """A pandas DataFrame of values, and of figures of each. A field of a record that has a figure's
    name is called `value.NAME`. Raises CallError without pandas."""
    try:
        import pandas
    except ImportError:
        raise CallError("pandas is not installed", PANDAS) from None
    columns = {
        f"value.{name}" if name in figures else name: column
        for name, column in value_columns(values).items()
    }
    return pandas.DataFrame({**columns, **figures})


def data_tree(values: Sequence[Any], facts: Mapping[str, Any]) -> Any:
    """Draws as ArviZ has them: an xarray DataTree whose group `posterior` has dimensions (chain,
    draw), of one chain. facts: its attributes. What is no number, truth value or text is JSON, and
    so is a column of several types. Raises CallError without arviz-base."""
    try:
        from arviz_base import from_dict
    except ImportError:
        raise CallError("arviz-base is not installed", ARVIZ) from None
    import numpy as np

    posterior = {}
    for name, column in value_columns(values).items():
        kinds = {type(v) for v in column}
        if not (kinds <= {int, float} or kinds in ({bool}, {str})):
            column = [json.dumps(v, ensure_ascii=False) for v in column]
        posterior[name] = np.array([column])
    tree = from_dict({"posterior": posterior})
    tree["posterior"].attrs.update({k: v for k, v in facts.items() if v is not None})
    return tree


def html_table(rows: Sequence[tuple[float | None, str]], lines: Sequence[str]) -> str:
    """A table of probabilities, None for one that is not known, and texts, with bars, and lines of
    text below it, as HTML that holds nothing but them: all text is escaped."""
    top = max((p or 0.0 for p, _ in rows), default=0.0) or 1.0
    cells = "".join(
        f'<tr><td style="text-align:right">{html.escape(probability_text(p).strip())}</td>'
        f'<td><div style="background:#4c78a8;height:0.8em;width:{BAR * (p or 0.0) / top:.0f}px">'
        f"</div></td>"
        f'<td style="text-align:left;white-space:pre-wrap">{_escaped(text)}</td></tr>'
        for p, text in rows
    )
    below = "<br>".join(map(_escaped, lines))
    return (
        f"<table><thead><tr><th>probability</th><th></th><th>value</th></tr></thead>"
        f"<tbody>{cells}</tbody></table><p>{below}</p>"
    )


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _plain(value: Any) -> Any:
    """The value as a library takes it: tuples as lists, records as dicts, a token as its text."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "text", str(value))

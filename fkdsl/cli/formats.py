"""`--format`: the answers of a run for a pipe, a spreadsheet or a program.

    table   the posterior with bars, queries and log Z, for people (the default)
    json    one object with everything, as `--json`
    jsonl   an object for each answer: {"value": ..., "probability": ...}
    csv     a row for each answer; the fields of a record are columns of their own
    text    the answers alone, one a line

With `--samples N` the last three have N draws from the posterior in the place of its answers. What
a reader must know besides, queries, log Z and the notes, goes to stderr.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.base.shown import shown
from fkdsl.cli.output import json_text, say, tell
from fkdsl.cli.report import document_lines, json_answer, line_of, log_z_text, query_lines
from fkdsl.inference.result import Answer, Result
from fkdsl.values.values import plain

MOST_DOCUMENTS = 10
"""Documents that are shown at most."""


def print_answers(result: Result, format: str, samples: int, top: int | None = None) -> None:
    """Prints the answers, or draws, as jsonl, csv or text on stdout, and the rest on stderr.
    samples: how many draws; 0 for the answers. top: answers at most; None for all."""
    answers: Sequence[Answer] | None = None if samples else result.posterior[:top]
    values = result.samples(samples) if answers is None else [a.value for a in answers]
    figured = [
        (v, {} if answers is None else _figures(answers[i], result)) for i, v in enumerate(values)
    ]
    match format:
        case "jsonl":
            lines = [json_text({"value": plain(v), **f}) for v, f in figured]
        case "csv":
            lines = [csv_table(figured)] if values else []
        case _:
            lines = [line_of(v) for v in values]
    say("".join(f"{line}\n" for line in lines), end="", flush=True)
    queries = query_lines(result.queries) if result.queries else []
    documents = document_lines(result.evidence(), MOST_DOCUMENTS)
    if documents:
        queries = [*queries, "documents", *documents]
    tell("\n".join([*queries, log_z_text(result), *(f"note: {note}" for note in result.notes)]))


def _figures(answer: Answer, result: Result) -> dict[str, Any]:
    figures = json_answer(answer)
    del figures["value"]
    return figures if result.is_known(answer) else {**figures, "probability": None}


def csv_table(rows: Sequence[tuple[Any, Mapping[str, Any]]]) -> str:
    """A table with a line of names, of values and the figures of each. A text stands as it is; a
    list, or a field of a record that is no text, number or truth value, as JSON."""
    fields: dict[str, None] = {}
    values = [v for v, _ in rows]
    records = all(isinstance(v, Mapping) for v in values)
    for v in values if records else ():
        fields.update(dict.fromkeys(v))
    named = list(dict.fromkeys(name for _, figures in rows for name in figures))
    names = [*(fields if records else ["value"]), *named]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(shown, names))
    for v, figures in rows:
        cells = [cell(v[f]) if f in v else "" for f in fields] if records else [cell(v)]
        writer.writerow([*cells, *(figures.get(name, "") for name in named)])
    return out.getvalue().removesuffix("\n")


def cell(value: Any) -> Any:
    data = plain(value)
    if isinstance(data, str):
        return shown(data)
    if isinstance(data, bool) or data is None or not isinstance(data, int | float):
        return json_text({"": data})[len('{"": ') : -1]
    return data

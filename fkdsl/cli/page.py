"""`fkdsl report`, `fkdsl plot` and `fkdsl run --report`: a run to look at.

`fkdsl run` imports this module, so the functions here import fkdsl.report when they need it.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fkdsl.api.request import RunRequest
from fkdsl.api.trace.file import TraceFile, read_trace
from fkdsl.api.trace.replay import Replay
from fkdsl.base.errors import CallError, PopulationDied
from fkdsl.base.files import real_path
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.rendering import error_text
from fkdsl.cli.output import check_file_target, reason, say, tell
from fkdsl.cli.report import result_json
from fkdsl.inference.result import Result


def main(args: argparse.Namespace) -> int:
    """`fkdsl report run.jsonl -o out.html` and `fkdsl plot run.jsonl -o out.svg`."""
    from fkdsl.report.comparison import comparison_figure, read_comparison
    from fkdsl.report.data import report_data
    from fkdsl.report.figures import figure, write_figure
    from fkdsl.report.page import page

    check_file_target(args.out, "-o")
    if real_path(args.out) == real_path(args.file):
        raise CallError(f"-o {args.out} is the trace itself", "name another file")
    if args.command == "report":
        _check_page(args.out, "-o")
    elif (table := read_comparison(Path(args.file))) is not None:
        write_figure(comparison_figure(table), Path(args.out))
        return 0
    data = report_data(Replay(read_trace(args.file)))
    if args.command == "plot":
        write_figure(figure(data, args.figure, args.island), Path(args.out))
        return 0
    Path(args.out).write_text(page(data), "utf-8")
    say(f"{args.out}: open it in a browser")
    return 0


def _check_page(path: str, flag: str) -> None:
    """Raises CallError unless the name is that of a page: it may be another file's by mistake."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise CallError(f"{flag} {path} is no name of a page", "name a file that ends in .html")


def check_report(args: argparse.Namespace) -> None:
    """Raises CallError before the run if its page could not be made."""
    if args.report:
        from fkdsl.report.page import vega_bundle

        if getattr(args, "exchange", None) is not None:
            raise CallError(
                "a page follows particles within their island, and exchanged islands mix",
                "leave --report or --exchange out",
            )
        own = [args.file, getattr(args, "trace", None), getattr(args, "resume", None)]
        if real_path(args.report) in {real_path(p) for p in own if p}:
            raise CallError(f"--report {args.report} is a file of this run", "name another file")
        _check_page(args.report, "--report")
        check_file_target(args.report, "--report")
        vega_bundle()


@dataclass
class Page:
    """The page of a run in progress. trace: the file of the run, from which the page is made; None
    where the run is resumed, in the file of --resume. result: None until the run has one. failed:
    whether the page could not be written, which has been said; the answer is there all the same."""

    trace: Path | TraceFile | None
    result: Result | None = None
    failed: bool = False


@contextmanager
def reported_page(
    args: argparse.Namespace, request: RunRequest, trace: Path | TraceFile | None
) -> Iterator[Page]:
    """A context that writes the page of the run in it when that ends, also where every particle has
    died."""
    if not args.report:
        yield Page(trace)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.jsonl") if trace is None and request.resume is None else trace
        made = Page(file)
        try:
            yield made
        except PopulationDied:
            _write(args, request, made)
            raise
        _write(args, request, made)


def _write(args: argparse.Namespace, request: RunRequest, made: Page) -> None:
    from fkdsl.report.data import report_data
    from fkdsl.report.page import page

    path = made.trace.path if isinstance(made.trace, TraceFile) else made.trace or args.resume
    replay = Replay(read_trace(path))
    answer = result_json(made.result) if made.result is not None else None
    data = report_data(replay, answer)
    command = shlex.join(["fkdsl", *args.given])
    try:
        Path(args.report).write_text(page(data, command), "utf-8")
    except OSError as error:
        made.failed = True
        what = f"error: cannot write {args.report}: {reason(error)}"
        tell(error_text(what, help="make room, run again"))
        return
    tell(f"{args.report}: open it in a browser")

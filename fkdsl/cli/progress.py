"""The line of progress on stderr, where that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from fkdsl.base.shown import one_line
from fkdsl.cli.output import say
from fkdsl.inference.interface import Step
from fkdsl.inference.search.frontier import Explored
from fkdsl.models.progress import ProgressMeter, silent


def is_live() -> bool:
    """Whether stderr is a terminal that can draw a line anew: no dumb one, and not that of a
    command in a cell of Jupyter, which keeps all that is written."""
    plain = os.environ.get("TERM") == "dumb" or "JPY_PARENT_PID" in os.environ
    return sys.stderr.isatty() and not plain


class RunProgress:
    """A context in which `loading` shows meters for fetching and loading, and `step` shows the
    state of the population. islands: of the run; where there are several, or None for a number
    that is not known yet, the bar counts those that have come to their end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.islands: int | None = 1
        self._running: dict[int, bool] = {}
        self._progress: Any = None
        self._task: Any = None
        if is_live():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> RunProgress:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Takes the line away for good."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @contextmanager
    def loading(self, description: str, total: int | None) -> Iterator[ProgressMeter]:
        """A meter for one piece of slow work; the `Progress` that models are loaded with."""
        if self._progress is None:
            with silent(description, total) as meter:
                yield meter
            return
        progress = self._progress
        task = progress.add_task(one_line(description), total=total, note="")
        try:
            yield _TaskMeter(progress, task, total)
        finally:
            progress.remove_task(task)

    def stage(self, name: str) -> None:
        """Sets the name of what is run from now on; a new name begins a new line."""
        if name != self.name and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self.name = name

    def advance(self, done: int, total: int, note: str) -> None:
        """Shows how much of a work of known length is done."""
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task(one_line(self.name), total=total, note="")
        self._progress.update(self._task, completed=done, note=one_line(note))

    def print(self, line: str) -> None:
        """Prints a line on stdout, above the line of progress."""
        if self._progress is not None:
            self._progress.stop()  # while it is live, rich sends all output to its own console
        say(line, flush=True)
        if self._progress is not None:
            self._progress.start()

    def step(self, step: Any, tokens: int) -> None:
        """Shows the population after a step."""
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task(one_line(self.name), total=None, note="")
        if isinstance(step, Step) and self.islands != 1:
            self._show_islands(step, tokens)
        elif isinstance(step, Step):
            n = len(step.particles)
            alive = f"{step.alive}/{n} alive  {step.unfinished} running"
            note = f"step {step.t}  {tokens} tokens  {alive}  ESS {step.ess:.1f}"
            finished = n - step.unfinished
            self._progress.update(self._task, total=max(n, 1), completed=finished, note=note)
        else:
            running = f"{len(step.states)} states  {step.unfinished} running"
            note = f"step {step.t}  {tokens} tokens  {running}"
            if isinstance(step, Explored):
                note += f"  log Z {step.bounds[0]:.3f} to {step.bounds[1]:.3f}"
            self._progress.update(self._task, note=note)

    def _show_islands(self, step: Step[Any], tokens: int) -> None:
        """Shows how many islands have come to their end, after a step of one of them."""
        self._running[step.island] = step.unfinished > 0
        over, running = (
            len(self._running) - sum(self._running.values()),
            sum(self._running.values()),
        )
        of = f"{over} of {self.islands}" if self.islands else f"{over}"
        note = f"{of} islands  {running} running  step {step.t}  {tokens} tokens"
        self._progress.update(self._task, total=self.islands, completed=over, note=note)


class _TaskMeter:
    def __init__(self, progress: Any, task: Any, total: int | None) -> None:
        self._progress, self._task, self._total, self._done = progress, task, total, 0

    def update(self, n: int) -> None:
        self._done += n
        note = f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB" if self._total else ""
        self._progress.update(self._task, advance=n, note=note)

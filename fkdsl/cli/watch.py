"""`fkdsl run --watch`: the particles of a run as they grow, on stderr.

On a terminal it is a table that is drawn anew after each step, at most ten times a second: each
particle's weight and the end of its text, heaviest first, and whose copy it is where the population
has just been resampled. Elsewhere each step is a line.
"""

from __future__ import annotations

import math
import os
import sys
import time
from types import TracebackType
from typing import Any

import numpy as np

from fkdsl.base.shown import one_line
from fkdsl.cli.output import tell
from fkdsl.cli.progress import RunProgress
from fkdsl.inference.interface import FeynmanKac, Level, Step

BETWEEN = 0.1
"""Seconds between two drawings at least."""
BAR = 10
HEADER = 4
"""Lines of the terminal that are not for particles."""
LINE = 70
"""Characters of a text that a plain line shows."""


class Watch:
    """A context in which `step` shows the population. model: whose states they are. progress: of
    the same run, whose own line ends when the first step is shown."""

    def __init__(self, name: str, model: FeynmanKac[Any], progress: RunProgress) -> None:
        self.name, self.model, self.progress = name, model, progress
        self.is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._live: Any = None
        self._drawn = -math.inf
        self._last: Any = None
        self._resampled: list[int] = []

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._frame(self._last), refresh=True)
            self._live.stop()
            self._live = None

    def step(self, step: Any) -> None:
        """Shows the population after a step; of a search without populations, nothing."""
        if not isinstance(step, Step | Level):
            return
        if isinstance(step, Step) and step.resampled:
            self._resampled.append(step.t)
        self._last = step
        if not self.is_live:
            tell(self._line(step))
        elif self._live is None:
            from rich.console import Console
            from rich.live import Live

            self.progress.end()
            console = Console(stderr=True, highlight=False)
            self._live = Live(self._frame(step), console=console, auto_refresh=False)
            self._live.start(refresh=True)
            self._drawn = time.monotonic()
        elif time.monotonic() - self._drawn >= BETWEEN:
            self._live.update(self._frame(step), refresh=True)
            self._drawn = time.monotonic()

    # ------------------------------------------------------------------ one step

    def _header(self, step: Step[Any] | Level[Any]) -> str:
        n = len(step.states)
        if isinstance(step, Level):
            return f"step {step.t}   {n} states   log Z {step.log_Z:z.4f}"
        island = f"island {step.island}   " if step.island else ""
        return (
            f"{island}step {step.t}   log Z {step.log_Z:z.4f}   ESS {step.ess:.1f} of {n}   "
            f"{step.alive} alive   {step.unfinished} running"
        )

    def _line(self, step: Step[Any] | Level[Any]) -> str:
        order = self._order(step)
        text = self._text(step, order[0]) if order else "all died"
        end = ("..." if len(text) > LINE else "") + text[-LINE:]
        resampled = "   resampled" if isinstance(step, Step) and step.resampled else ""
        return f"{self._header(step)}{resampled}   {end}"

    def _order(self, step: Step[Any] | Level[Any]) -> list[int]:
        """The particles that live, heaviest first."""
        log_weights = np.asarray(step.log_weights, dtype=np.float64)
        order = np.argsort(-log_weights, kind="stable").tolist()
        return [i for i in order if log_weights[i] > -math.inf]

    def _text(self, step: Step[Any] | Level[Any], i: int) -> str:
        return one_line(self.model.describe(step.states[i]))

    def _frame(self, step: Step[Any] | Level[Any]) -> Any:
        """The population as rich draws it. All texts are rich's Text, which reads no markup."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows = max(3, (self._live.console.height if self._live else 24) - HEADER)
        order = self._order(step)
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        top = step.log_weights[order[0]] if order else 0.0
        width = max(20, (self._live.console.width if self._live else 80) - BAR - 20)
        for i in order[:rows]:
            share = math.exp(step.log_weights[i] - step.log_Z)
            bar = "█" * max(1, round(BAR * math.exp(step.log_weights[i] - top)))
            of = ""
            if isinstance(step, Step) and step.resampled:
                of = f"<- {step.ancestors[i]}"
            text = self._text(step, i)
            end = text if len(text) <= width else "…" + text[-width + 1 :]
            table.add_row(f"{share:6.3f}", Text(f"{bar:<{BAR}}", style="cyan"), of, Text(end))
        n_dead = len(step.states) - len(order)
        more = [f"{len(order) - rows} more" if len(order) > rows else ""]
        more += [f"{n_dead} dead" if n_dead else ""]
        if self._resampled:
            more += ["resampled at " + ", ".join(map(str, self._resampled[-8:]))]
        title = Text(f"{one_line(self.name)}   {self._header(step)}", style="bold")
        return Group(title, table, Text("   ".join(filter(None, more)), style="dim"))

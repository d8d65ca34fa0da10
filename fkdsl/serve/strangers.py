"""Programs that come in a request: each is run in a process of its own, with limits, and with the
files of the request alone.

Laws: a worker that is at work when its time is over is killed, native code or not. One that is
killed by somebody else is begun again, by the same seed: a run is a function of the request, so no
answer is lost and none differs. What a worker says is data: it is checked, and never unpickled.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, FkdslError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.interface import LanguageModel
from fkdsl.serve.failures import RequestError, WorkerFailed
from fkdsl.serve.models import ServedModels
from fkdsl.serve.observers import Observe
from fkdsl.serve.orders import Order
from fkdsl.serve.remote_model import Refusal
from fkdsl.serve.remote_rows import Desk
from fkdsl.serve.settings import RequestLimits
from fkdsl.serve.worker import MAIN, Job, work

MOST_FILES, MOST_DEPTH, LONGEST_NAME = 64, 4, 100
MOST_MESSAGE = 64 << 20
"""Bytes of a worker's message."""
LOOK = 0.05
"""Seconds between two looks at the deadline."""
GRACE = 1.0
"""Seconds after the deadline in which a worker may say by itself that its time is over."""
TRIES = 5
KILLED = -9
"""The exit code of a process that somebody has killed."""


@dataclass(frozen=True)
class Source:
    """A program that came in a request. files: texts by their names."""

    text: str
    files: Mapping[str, str]
    program: str | None

    def check(self) -> Source:
        """The source. Raises RequestError for names that are none of files below a folder."""
        if len(self.files) > MOST_FILES:
            raise RequestError(f"at most {MOST_FILES} files", "send fewer", param="files")
        for name in self.files:
            parts = PurePosixPath(name).parts
            if (
                not name.isprintable()
                or len(name) > LONGEST_NAME
                or not 0 < len(parts) <= MOST_DEPTH
                or name != "/".join(parts)
                or any(part in ("..", ".", "/") or "\\" in part for part in parts)
                or name == MAIN
            ):
                raise RequestError(
                    f"{name[:LONGEST_NAME]!r} is no name of a file beside the program",
                    'write "words.json" or "library/words.fk"',
                    param="files",
                )
        return self

    def write(self, folder: Path) -> None:
        """Writes the program and its files below a folder. Raises RequestError for two names of
        which one would lie in the other."""
        for name, text in {MAIN: self.text, **self.files}.items():
            try:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8", newline="")
            except (OSError, UnicodeEncodeError):
                raise RequestError(
                    f"the file {name!r} cannot be written", "give it another name", param="files"
                ) from None


class Strangers:
    """Starts workers. models: of the server; allowed: those that a program may name, by reference.
    ended: is told how each worker ended. work: what a worker does."""

    def __init__(
        self,
        models: ServedModels,
        allowed: Mapping[str, LanguageModel],
        limits: RequestLimits,
        ended: Callable[[str], None] = lambda how: None,
        work: Callable[[Any, Job], None] = work,
    ) -> None:
        self.models, self.allowed, self.limits, self.ended = models, dict(allowed), limits, ended
        self.work = work
        self.lock = threading.Lock()
        self.processes: set[BaseProcess] = set()
        # Workers are forked from a process that has the libraries and nothing else: no weights, no
        # threads, no open connection.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["fkdsl.serve.warm"])
        forkserver.ensure_running()

    def do(
        self,
        action: str,
        source: Source,
        order: Order,
        deadline: Deadline,
        observe: Observe | None = None,
    ) -> tuple[dict[str, Any], TokenBudget]:
        """(what the job gives, the tokens that it took). Raises WorkerFailed with the worker's own
        error, RequestError, and DeadlinePassed."""
        with TemporaryDirectory(prefix="fkdsl-") as name, until(deadline):
            folder = Path(name)
            source.write(folder)
            see = told_once(observe)
            for _ in range(TRIES):
                seconds = (deadline.left, deadline.seconds or self.limits.seconds)
                job = Job(action, folder, source.program, order, self.limits, *seconds)
                budget = TokenBudget(order.most_tokens(self.limits), self.limits.memory)
                outcome = self._once(job, deadline, budget, see())
                if outcome is not None:
                    return outcome, budget
        raise RequestError(
            f"the program's process was killed {TRIES} times",
            "it may take more memory than the machine has: ask for fewer particles",
            status=500,
            code="worker_killed",
        )

    def _once(
        self, job: Job, deadline: Deadline, budget: TokenBudget, observe: Observe | None
    ) -> dict[str, Any] | None:
        """What a worker gives; None if somebody has killed it."""
        here, there = self._context.Pipe()
        process = self._context.Process(target=self.work, args=(there, job), daemon=True)
        with self.lock:
            process.start()
            self.processes.add(process)
        there.close()
        how = "failed"
        try:
            with self.models.maker(budget) as make:
                desk = Desk(self.allowed, self.models, make, budget, self.limits)
                answer = self._serve(here, process, desk, deadline, observe)
            how = "killed by others" if answer is None else "done"
            return answer
        except DeadlinePassed:
            how = "time over"
            raise
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            here.close()
            with self.lock:
                self.processes.discard(process)
            process.close()
            self.ended(how)

    def _serve(
        self,
        here: Connection,
        process: BaseProcess,
        desk: Desk,
        deadline: Deadline,
        observe: Observe | None,
    ) -> dict[str, Any] | None:
        """Answers what a worker asks until it is done; None if somebody has killed it."""
        while True:
            message = self._next(here, process, deadline)
            if message is None:
                process.join(1.0)
                if process.exitcode == KILLED:
                    return None
                raise RequestError(
                    "the program's process ended: it took more memory or CPU time than it may",
                    "ask for fewer particles or shorter texts",
                    status=422,
                    code="worker_ended",
                )
            match message:
                case {"op": "done", "answer": dict() as answer}:
                    return answer
                case {"op": "failed", "failure": [int() as status, dict() as body]}:
                    raise WorkerFailed(status, body)
                case {"op": "step", "event": dict() as event}:
                    if observe is not None:
                        observe(event)
                case _:
                    answer = self._answer(desk, message)
                    with suppress(ConnectionError):  # it was killed meanwhile, as we see next
                        here.send(answer)

    def _answer(self, desk: Desk, message: Any) -> Any:
        """What a worker is sent."""
        try:
            return desk.answer(message)
        except BudgetEnded as error:
            return Refusal(error.message, error.help, True)
        except FkdslError as error:
            return Refusal(error.message, error.help, False)

    def _next(self, here: Connection, process: BaseProcess, deadline: Deadline) -> Any:
        """The worker's next message; None if it has ended without one. Raises DeadlinePassed, a
        moment after the deadline, at once where it was cancelled."""
        while not wait([here, process.sentinel], LOOK):
            if time.monotonic() > deadline.end + GRACE:
                deadline.check()
        try:
            return json.loads(here.recv_bytes(MOST_MESSAGE)) if here.poll() else None
        except (EOFError, ConnectionError):
            return None
        except (OSError, ValueError, RecursionError):
            process.join(1.0)
            if process.exitcode == KILLED:  # in the middle of a message
                return None
            raise RequestError(
                "the answer is too large", "ask for fewer particles", status=422, code="too_large"
            ) from None


def told_once(observe: Observe | None) -> Callable[[], Observe | None]:
    """For each try of a run an observer, which passes over the steps that an earlier one told: they
    are the same."""
    if observe is None:
        return lambda: None
    told = 0

    def begin() -> Observe:
        at = 0

        def see(event: dict[str, Any]) -> None:
            nonlocal at, told
            at += 1
            if at > told:
                told = at
                observe(event)

        return see

    return begin

"""Which runs go on and which wait, and how each is ended.

Laws: at most `running` go on and `waiting` wait; a request beyond these is refused at once, with
the seconds after which it may be tried again. A ticket that is cancelled ends its run at the run's
next check, and one that waits never begins. After `end` nothing is begun.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from traceback import format_exc
from typing import Any, Generic, TypeVar

from fkdsl.base.deadline import Deadline, DeadlinePassed
from fkdsl.base.errors import BudgetEnded, FkdslError, InternalError
from fkdsl.serve.failures import RequestError

T = TypeVar("T")
LONGEST_RETRY = 60


class Ticket(Generic[T]):
    """A run that goes on or waits. future: of what it comes to."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.future: Future[T] = Future()

    def cancel(self) -> None:
        """Ends it; what it comes to is nobody's any more."""
        self.deadline.cancel()


class Runs:
    """The runs of a server. running, waiting: how many may. tell: is told where a run meets a
    mistake of ours. recent: seconds that runs took, lately."""

    def __init__(
        self, running: int, waiting: int, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self._tell = tell
        self.running, self.waiting = running, waiting
        self.recent = 1.0
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="run")
        self._lock = threading.Lock()
        self._tickets: dict[Ticket[Any], bool] = {}  # whether each has begun
        self._ending = self._ended = False

    @property
    def counts(self) -> tuple[int, int]:
        """(runs that go on, runs that wait)."""
        with self._lock:
            begun = sum(self._tickets.values())
            return begun, len(self._tickets) - begun

    def start(self, work: Callable[[], T], deadline: Deadline) -> Ticket[T]:
        """A ticket of work, which begins when its turn comes. Raises RequestError: 429 where too
        many wait, 503 where the server is ending."""
        ticket: Ticket[T] = Ticket(deadline)
        with self._lock:
            if self._ending:
                raise _ending()
            if len(self._tickets) >= self.running + self.waiting:
                waits = self.recent * (len(self._tickets) + 1) / self.running
                seconds = min(LONGEST_RETRY, max(1, math.ceil(waits)))
                raise RequestError(
                    f"{self.waiting} requests wait already",
                    f"ask again in {seconds} s",
                    status=429,
                    code="queue_full",
                    headers={"Retry-After": str(seconds)},
                )
            self._tickets[ticket] = False
        self._pool.submit(self._run, ticket, work)
        return ticket

    def _run(self, ticket: Ticket[T], work: Callable[[], T]) -> None:
        """Runs the work of a ticket in a thread of the pool."""
        try:
            with self._lock:
                self._tickets[ticket] = True
            if ticket.deadline.passed:
                raise BudgetEnded(
                    f"time ran out {ticket.deadline.why}, while it waited for its turn",
                    "ask again when the server has less to do",
                )
            began = time.monotonic()
            value = work()
            self.recent += 0.1 * (time.monotonic() - began - self.recent)
        except DeadlinePassed as passed:
            late = BudgetEnded(f"time ran out {passed}", "ask for more time")
            self._done(ticket)
            ticket.future.set_exception(_ending() if self._ended else late)
        except BaseException as error:
            if self._ended and isinstance(error, BudgetEnded):
                error = _ending()
            if not isinstance(error, FkdslError):
                self._tell(format_exc())  # our own mistake: the client is told nothing of it
                error = InternalError(type(error).__name__)
            self._done(ticket)
            ticket.future.set_exception(error.with_traceback(None))
        else:
            self._done(ticket)
            ticket.future.set_result(value)

    def _done(self, ticket: Ticket[T]) -> None:
        with self._lock:
            del self._tickets[ticket]

    def refuse(self) -> None:
        """From now on nothing is begun that was not asked for before."""
        with self._lock:
            self._ending = True

    def end(self) -> None:
        """Cancels what goes on and what waits."""
        self.refuse()
        self._ended = True
        with self._lock:
            tickets = list(self._tickets)
        for ticket in tickets:
            ticket.cancel()

    def close(self) -> None:
        """Cancels everything, and waits until it has ended."""
        self.end()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _ending() -> RequestError:
    return RequestError("the server is ending", "ask another one", status=503, code="ending")

"""Waiting for a run in an event loop: until it is done, its client has left, or its next step is to
be sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from starlette.requests import Request

from fkdsl.cli.output import json_text
from fkdsl.serve.failures import failure
from fkdsl.serve.runs import Ticket

T = TypeVar("T")
HEARTBEAT = 10.0
"""Seconds of silence after which a stream sends a comment, so that nothing between closes it."""
MOST_EVENTS = 1000
"""Steps that wait to be sent at most; further ones are left out."""


class ClientLeft(Exception):
    """The client closed the connection; its run has been ended."""


async def outcome(ticket: Ticket[T], request: Request) -> T:
    """What the run comes to. Raises ClientLeft, and then the run is ended."""
    done = asyncio.wrap_future(ticket.future)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {done, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return done.result()
        raise ClientLeft
    finally:
        gone.cancel()
        if not done.done():
            ticket.cancel()
            done.add_done_callback(_seen)  # what it comes to is nobody's


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Events:
    """The steps of a run, from its thread to the event loop that sends them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def put(self, event: dict[str, Any]) -> None:
        """Called in the run's thread."""
        self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict[str, Any]) -> None:
        if self.queue.qsize() < MOST_EVENTS:
            self.queue.put_nowait(event)


async def streamed(
    ticket: Ticket[T],
    request: Request,
    events: Events | None,
    last: Callable[[T], list[str]],
    left: Callable[[], None],
) -> AsyncIterator[str]:
    """The parts of a stream of server-sent events: each step, and what `last` makes of the run's
    outcome; an error is an event too, since the status has been sent. left: is called where the
    client has left, whose run is then ended."""
    waiting = asyncio.ensure_future(outcome(ticket, request))
    following = None
    try:
        while not waiting.done():
            if events is not None and following is None:
                following = asyncio.ensure_future(events.queue.get())
            awaited: set[asyncio.Future[Any]] = {waiting}
            if following is not None:
                awaited.add(following)
            await asyncio.wait(awaited, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
            if following is not None and following.done():
                yield sse(following.result(), "step")
                following = None
            elif not waiting.done():
                yield ": the run goes on\n\n"
        while events is not None and not events.queue.empty():
            yield sse(events.queue.get_nowait(), "step")
        for part in last(waiting.result()):
            yield part
    except ClientLeft:
        left()
    except (asyncio.CancelledError, GeneratorExit):
        left()
        raise
    except BaseException as error:
        yield sse(failure(error)[1], "error")
    finally:
        if following is not None:
            following.cancel()
        waiting.cancel()
        ticket.cancel()


def sse(data: dict[str, Any], event: str = "") -> str:
    """A server-sent event. event: its name, "" for none, as OpenAI's streams have it."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(json.loads(json_text(data)))}\n\n"

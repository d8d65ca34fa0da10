"""Listens, and ends gracefully: told to end (SIGTERM, Ctrl-C), the server takes no further request,
lets runs end for a while, and then answers those that have not that it is ending."""

from __future__ import annotations

import socket
import sys
import threading
from types import FrameType

import uvicorn

from fkdsl.base.errors import CallError
from fkdsl.cli.output import tell
from fkdsl.serve.app import application
from fkdsl.serve.registry import Registry
from fkdsl.serve.service import Service
from fkdsl.serve.settings import Settings

BACKLOG = 1024
SPARE = 5.0
"""Seconds after the grace in which answers are sent."""
CONNECTIONS = 256
"""Connections beyond those whose runs go on or wait."""
SWITCH = 0.001
"""Seconds after which a thread that computes lets others have their turn; Python's own 5 ms would
make an answer of the event loop wait for each run in turn."""


class Server(uvicorn.Server):
    """uvicorn's server, which tells the service that it is ending."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self._timer: threading.Timer | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at SIGTERM and Ctrl-C; a second one ends it at once."""
        self.service.runs.refuse()
        if self._timer is None:
            tell(f"ending: runs have {self.service.settings.grace:g} s to end")
            self._timer = threading.Timer(self.service.settings.grace, self.service.runs.end)
            self._timer.daemon = True
            self._timer.start()
        else:
            self.service.runs.end()
            self.force_exit = True
        self.should_exit = True


def listen(settings: Settings, registry: Registry) -> int:
    """Serves until it is told to end; the exit status. Raises CallError where it cannot listen."""
    app, service = application(settings, registry)
    try:
        listening = _socket(settings)
    except OSError as error:
        service.close()
        raise CallError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            "choose another one by --port",
        ) from None
    sys.setswitchinterval(SWITCH)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=settings.runs + settings.queue + CONNECTIONS,
        timeout_graceful_shutdown=int(settings.grace + SPARE),
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=65536,
    )
    host, port = listening.getsockname()[:2]
    names = ", ".join(registry) or "none of its own"
    shown = f"[{host}]" if ":" in host else host
    tell(f"serving {names} on http://{shown}:{port}  (what it takes: /docs; end: Ctrl-C)")
    with listening:
        Server(config, service).run(sockets=[listening])
    service.close()
    return 0


def _socket(settings: Settings) -> socket.socket:
    """A socket that listens."""
    family, kind, proto, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, proto)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)  # whoever reads that it serves may ask at once
    except OSError:
        listening.close()
        raise
    return listening

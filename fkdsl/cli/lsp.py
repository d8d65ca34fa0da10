"""`fkdsl lsp`: the language server, over stdin and stdout or a port of this machine."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from fkdsl.base.errors import CallError

if TYPE_CHECKING:
    from fkdsl.editor.server import Server

MISSING = 'pip install "fkdsl[editor]"'


def main(args: argparse.Namespace) -> int:
    """Serves one editor until it leaves."""
    if args.tcp is not None and args.stdio:
        raise CallError("--tcp and --stdio say two things", "leave one of them out")
    if args.tcp is not None and not 0 < args.tcp < 65_536:
        raise CallError(f"there is no port {args.tcp}", "ports are from 1 to 65535")
    server = _server(allow_outside=args.allow_outside)
    # pygls logs every message, and whole tracebacks for requests that are refused.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
    if args.tcp is not None:
        server.start_tcp("127.0.0.1", args.tcp)
    else:
        # pygls closes the stream that it is given; whatever else writes must not reach the editor.
        with open(os.dup(sys.stdout.fileno()), "wb") as out, redirect_stdout(sys.stderr):
            try:
                server.start_io(stdout=out)
            except MemoryError:
                message = "the editor announced a message that is larger than the memory"
                raise CallError(message, "restart the language server") from None
    return 0


def _server(*, allow_outside: bool) -> Server:
    try:
        from fkdsl.editor.server import make_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise CallError(
            "the language server needs pygls, which is not installed", MISSING
        ) from None
    return make_server(allow_outside=allow_outside)

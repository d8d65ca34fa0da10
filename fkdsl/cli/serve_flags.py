"""The flags of `fkdsl serve`."""

from __future__ import annotations

import argparse

from fkdsl.models.runtimes import RUNTIMES

KEY_VARIABLE = "FKDSL_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="whose .fk files are served")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1); one that other machines reach needs a key",
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help=f"asked of every request; better given as {KEY_VARIABLE}"
    )
    parser.add_argument("--dtype", help="precision of the models, as for run")
    parser.add_argument("--device", help="where the models run: cpu, cuda, auto")
    parser.add_argument("--engine", help=f"what computes them: {', '.join(RUNTIMES)}")
    parser.add_argument(
        "--allow-extern", action="store_true", help="let the folder's programs run Python code"
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let the folder's programs name files outside of it",
    )
    parser.add_argument(
        "--allow-programs",
        action="store_true",
        help="let requests bring programs of their own, each run in a process with limits",
    )
    parser.add_argument(
        "--allow-model",
        action="append",
        default=[],
        metavar="NAME",
        help="a model that such programs may name, beside those of the folder's programs",
    )
    _add_limits(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits of a request, which may ask for less")
    limits.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="of a request, its wait included (default 60)",
    )
    limits.add_argument(
        "--max-tokens",
        type=int,
        default=200_000,
        metavar="N",
        help="tokens through the models (default 200000)",
    )
    limits.add_argument(
        "--max-particles",
        type=int,
        default=4096,
        metavar="N",
        help="particles of all islands (default 4096)",
    )
    limits.add_argument(
        "--max-memory",
        default="1G",
        metavar="SIZE",
        help="of a run's caches, and of its values (default 1G)",
    )
    limits.add_argument(
        "--max-answers",
        type=int,
        default=128,
        metavar="N",
        help="draws that an answer lists, n or samples (default 128)",
    )
    limits.add_argument(
        "--max-body", default="1M", metavar="SIZE", help="of a request's bytes (default 1M)"
    )
    server = parser.add_argument_group("limits of the server")
    server.add_argument(
        "--runs", type=int, default=8, metavar="N", help="runs that go on at once (default 8)"
    )
    server.add_argument(
        "--queue",
        type=int,
        default=64,
        metavar="N",
        help="requests that wait; more get 429 (default 64)",
    )
    server.add_argument(
        "--grace",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="for runs to end in when the server is told to end (default 20)",
    )

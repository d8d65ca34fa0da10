"""Names -> models: every form of reference, every refusal, and nothing heavier than a file read on
the way."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import CallError, ModelUnavailable
from fkdsl.models import registry
from fkdsl.models.reference import (
    AliasReference,
    FolderReference,
    GgufReference,
    HubReference,
    check_folder,
    parse_reference,
)


def safetensors(values=4):
    """The bytes of a whole safetensors file of one float32 tensor."""
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * values)


@pytest.fixture
def folder(tmp_path):
    """A folder that passes for a model's: nothing in it is ever loaded here."""
    path = tmp_path / "toy"
    path.mkdir()
    (path / "config.json").write_text(
        '{"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 7}'
    )
    (path / "model.safetensors").write_bytes(safetensors())
    (path / "tokenizer.json").write_text("{}")
    return path


def replace_loader(monkeypatch, load):
    """Puts `load` in the place of the real loader, so that these tests need no torch."""
    module = ModuleType("fkdsl.models.loading")
    module.load_pretrained = load
    monkeypatch.setitem(sys.modules, "fkdsl.models.loading", module)


@pytest.fixture
def loaded(monkeypatch):
    """What the registry hands to the loader, which is replaced: a list of (arguments, keywords)."""
    calls = []

    def load(*args, **kwargs):
        calls.append((args, kwargs))
        return "the model"

    replace_loader(monkeypatch, load)
    return calls


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub's library, of this test alone."""
    constants = import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_hub_cache(hub_cache, repo, source, commit="a" * 40):
    home = hub_cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    for file in source.iterdir():
        blob = home / "blobs" / f"blob-{file.name}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blob)
    return snapshot


def test_a_reference_is_read_by_its_form(folder):
    here = folder.parent
    (here / "w.gguf").write_bytes(b"GGUF....")
    assert parse_reference("smollm2", folder=here) == AliasReference("smollm2")
    assert parse_reference("org/name", folder=here) == HubReference("org/name")
    assert parse_reference("Org-1/n_a.me-2@v1.0", folder=here) == HubReference(
        "Org-1/n_a.me-2", "v1.0"
    )
    assert parse_reference("toy", folder=here) == FolderReference(folder)
    assert parse_reference("./toy", folder=here) == FolderReference(here / "./toy")
    assert parse_reference(str(folder), folder=Path("elsewhere")) == FolderReference(folder)
    assert parse_reference("w.gguf", folder=here) == GgufReference(here / "w.gguf")


def test_a_folder_here_wins_over_the_hub(tmp_path):
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert parse_reference("org/name", folder=tmp_path) == FolderReference(
        tmp_path / "org" / "name"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("smollm", "did you mean `smollm2`?"),
        ("SmolLM2", "did you mean `smollm2`?"),
        (
            "qwen",
            "an alias (smollm2, tiny), a hub id (org/name), a folder (./folder), or a .gguf or "
            ".safetensors file",
        ),
        ("", "a model's name cannot be ''"),
        ("./nowhere", "there is no model folder `./nowhere`"),
        ("./toyy", "did you mean `toy`"),
        ("gone.gguf", "there is no file `gone.gguf`"),
        ("a/b/c", "a hub id has the form org/name"),
        ("org/", "neither a folder here nor a hub id"),
        ("org/na me", "neither a folder here nor a hub id"),
        ("-org/name", "neither a folder here nor a hub id"),
        ("org/a..b", "not a well-formed hub id"),
        ("https://huggingface.co/org/name", "write the hub id alone"),
        ("toy/config.json", "is a file, but not a .gguf or .safetensors one"),
    ],
)
def test_a_wrong_name_says_what_to_write_instead(folder, text, says):
    with pytest.raises(CallError) as caught:
        parse_reference(text, folder=folder.parent)
    assert says in str(caught.value)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=30) | st.text("abc./~\\@-_:", max_size=12))
@example("~nobody-of-that-name/x")
@example("a" * 5000)
@example("./" + "b" * 300)
@example("\ud800")
def test_any_text_is_a_reference_or_a_call_error(text):
    try:
        found = parse_reference(text, folder=Path("/nonexistent-folder"))
    except CallError:
        return
    assert isinstance(found, AliasReference | HubReference | FolderReference | GgufReference)


def test_a_whole_folder_passes(folder):
    check_folder(folder, "toy")


def test_pickled_weights_are_refused_and_why(folder, loaded):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        CallError, match=r"only pytorch_model.bin: refused, since reading a pickle runs code"
    ):
        registry.load_model("toy", folder=folder.parent)
    assert loaded == []


@pytest.mark.parametrize(
    "shard", ["weights.bin", "../other/model.safetensors", "/etc/model.safetensors", "x\\y.bin"]
)
def test_an_index_cannot_lead_to_a_pickle_or_out_of_the_folder(folder, shard):
    index = {"weight_map": {"a": "model.safetensors", "b": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CallError, match="refused"):
        check_folder(folder, "toy")


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CallError, match=r"lacks model-00002-of-00002\.safetensors"):
        check_folder(folder, "toy")


@pytest.mark.parametrize("keep", [0, 5, 8, 30, -1])
def test_truncated_weights_are_noticed_before_loading(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CallError, match=r"model\.safetensors` is (damaged|not a safetensors file)"):
        check_folder(folder, "toy")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "unreadable config.json"),
        (lambda f: (f / "config.json").write_text("[]"), "not an object"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    ],
)
def test_an_incomplete_folder_says_what_it_lacks(folder, spoil, says):
    spoil(folder)
    with pytest.raises(CallError, match=says):
        check_folder(folder, "toy")


def test_a_folder_with_only_a_gguf_says_to_name_the_file(tmp_path):
    (tmp_path / "model.Q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(CallError, match=r"name the file: here/model\.Q4\.gguf"):
        check_folder(tmp_path, "here")


def test_a_file_that_only_ends_in_gguf_is_refused(tmp_path):
    (tmp_path / "w.gguf").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CallError, match="not a gguf file"):
        registry.load_model("w.gguf", folder=tmp_path)


def test_the_loader_is_told_to_stay_off_the_network(folder, loaded):
    assert registry.load_model("toy", folder=folder.parent) == "the model"
    (place,), keywords = loaded[0]
    assert Path(place) == folder
    assert keywords == {
        "gguf_file": None,
        "dtype": "float32",
        "device": "cpu",
        "local_files_only": True,
        "name": "toy",
        "origin": {"source": f"local: {folder.resolve()}"},
        "fast": True,
        "own": False,
    }


def test_a_gguf_is_loaded_by_folder_and_file(tmp_path, loaded):
    (tmp_path / "w.gguf").write_bytes(b"GGUF....")
    registry.load_model("w.gguf", folder=tmp_path, dtype="bfloat16", device="cuda")
    (place,), keywords = loaded[0]
    assert (Path(place), keywords["gguf_file"]) == (tmp_path, "w.gguf")
    assert (keywords["dtype"], keywords["device"]) == ("bfloat16", "cuda")


def test_an_unknown_dtype_is_a_call_error(folder, loaded):
    with pytest.raises(CallError, match="float32, bfloat16, float16, float64, int8, int4"):
        registry.load_model("toy", folder=folder.parent, dtype="int2")


@pytest.mark.parametrize(
    "error",
    [ValueError("odd\nlayers"), KeyError("x"), RuntimeError(), OSError("no"), TypeError("t")],
)
def test_whatever_the_library_raises_is_one_line_of_call_error(folder, monkeypatch, error):
    def load(*args, **kwargs):
        raise error

    replace_loader(monkeypatch, load)
    with pytest.raises(CallError, match="`toy` cannot be loaded as a language model") as caught:
        registry.load_model("toy", folder=folder.parent)
    assert "\n" not in caught.value.message


def test_what_the_library_says_under_a_heading_is_said(folder, monkeypatch):
    def load(*args, **kwargs):
        raise ValueError("Validation error for field 'size':\n    ValueError: it is odd")

    replace_loader(monkeypatch, load)
    with pytest.raises(CallError, match=r"model: Validation error .*: ValueError: it is odd"):
        registry.load_model("toy", folder=folder.parent)


def test_an_unreachable_hub_is_reported_with_what_was_tried(hub_cache, monkeypatch, capfd):
    hub_library = import_module("huggingface_hub")

    class ConnectError(Exception):
        pass

    def model_info(*args, **kwargs):
        raise ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr(hub_library.HfApi, "model_info", model_info)
    with pytest.raises(ModelUnavailable) as caught:
        registry.load_model("org/name")
    assert "cache on this machine: not there" in str(caught.value)
    assert "huggingface.co: the hub cannot be reached from here" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_model_in_the_hubs_cache_needs_no_network(folder, hub_cache, loaded, monkeypatch):
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    snapshot = put_in_hub_cache(hub_cache, "org/toy-one", folder)
    import socket

    def connect(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    registry.load_model("org/toy-one")
    registry.load_model("org/toy-one@" + "a" * 40)
    assert [Path(args[0]) for args, _ in loaded] == [snapshot, snapshot]
    assert loaded[0][1]["origin"] == {
        "source": "hub: huggingface.co/org/toy-one",
        "digest": "a" * 40,
    }
    entry = registry.model_info("org/toy-one")
    assert (entry.here, entry.licence, entry.details["layers"]) == (True, "mit", 2)
    assert entry.bytes == sum(p.stat().st_size for p in folder.iterdir())
    assert [e.name for e in registry.list_models() if e.kind == "hub"] == ["org/toy-one"]


def test_a_half_fetched_snapshot_is_not_taken_for_a_model(folder, hub_cache, monkeypatch):
    hub_library = import_module("huggingface_hub")
    (folder / "model.safetensors").unlink()
    put_in_hub_cache(hub_cache, "org/toy-one", folder)

    def model_info(*args, **kwargs):
        raise TimeoutError

    monkeypatch.setattr(hub_library.HfApi, "model_info", model_info)
    with pytest.raises(ModelUnavailable, match="did not answer within"):
        registry.load_model("org/toy-one")
    assert not registry.model_info("org/toy-one").here


def test_only_what_a_model_needs_is_fetched_from_the_hub(folder, hub_cache, loaded, monkeypatch):
    hub_library = import_module("huggingface_hub")
    offered = {
        **{p.name: p.stat().st_size for p in folder.iterdir()},
        "pytorch_model.bin": 9,
        "onnx/model.onnx": 9,
        "evil.py": 9,
        "consolidated.safetensors": 9,
    }
    asked = {}

    def snapshot_download(repo, *, revision, local_files_only=False, allow_patterns):
        if local_files_only:
            raise FileNotFoundError
        asked["files"] = sorted(allow_patterns)
        return str(put_in_hub_cache(hub_cache, repo, folder))

    siblings = [SimpleNamespace(rfilename=n, size=s) for n, s in offered.items()]
    monkeypatch.setattr(
        hub_library.HfApi, "model_info", lambda *a, **k: SimpleNamespace(siblings=siblings)
    )
    monkeypatch.setattr(hub_library, "snapshot_download", snapshot_download)
    opened = []

    @contextmanager
    def progress(description, total):
        opened.append((description, total))
        yield SimpleNamespace(update=lambda n: None)

    registry.load_model("org/toy-one", progress=progress)
    assert asked["files"] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert opened[0] == ("asking the hub for org/toy-one", None)
    assert opened[1] == ("fetching org/toy-one", sum(p.stat().st_size for p in folder.iterdir()))
    assert len(loaded) == 1


def test_a_hub_model_of_pickles_is_refused_before_any_download(hub_cache, monkeypatch):
    hub_library = import_module("huggingface_hub")
    siblings = [SimpleNamespace(rfilename=n, size=1) for n in ("config.json", "pytorch_model.bin")]
    monkeypatch.setattr(
        hub_library.HfApi, "model_info", lambda *a, **k: SimpleNamespace(siblings=siblings)
    )
    with pytest.raises(CallError, match="offers no safetensors weights: refused"):
        registry.load_model("org/old-one")


def test_importing_the_registry_imports_no_model_library():
    heavy = ("torch", "transformers", "huggingface_hub", "safetensors", "gguf", "filelock")
    code = f"import sys, fkdsl.models.registry; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

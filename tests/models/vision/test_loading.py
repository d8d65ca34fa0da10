"""A model with eyes by the name of its folder or on the hub, off the network, through its own
processor; and what is wrong with a folder is told."""

import json
import shutil
import socket
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.models import registry
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow
from fkdsl.models.vision.images import png_bytes
from tests.models.test_registry import put_in_hub_cache
from tests.models.vision.families import family, noise

CAT = Attachment("image", png_bytes(noise()), "cat.png")


def save(name, path):
    """The folder of a family's model, with the files that a hub's model has."""
    module, processor = family(name)
    module.save_pretrained(path)
    processor.tokenizer.save_pretrained(path)
    processor.image_processor.save_pretrained(path)  # preprocessor_config.json
    parts = ("image_processor", "tokenizer", "video_processor")
    settings = {k: v for k, v in processor.to_dict().items() if k not in parts}
    (path / "processor_config.json").write_text(json.dumps(settings), "utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "llava"
    save("llava", path)
    return path


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    constants = import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def row(model):
    ids = model.start_with(("a", CAT, "b"))
    return model.forward([ForwardRow(None, ids, (len(ids) - 1,))])[0].log_probs[0]


def test_a_folder_loads_with_its_processor_and_the_network_away(saved, monkeypatch):
    def connect(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    model = registry.load_model(str(saved))
    assert model.kinds == {"image"}
    again = registry.load_model(str(saved), fast=False)
    assert abs(row(model) - row(again)).max() < 1e-4
    result = fkdsl.parse(
        'program p(photo: image) -> str:\n    lm = prompt("a photo of", photo, ":")\n'
        '    s ~ text(lm, max_tokens=3)\n    condition not contains(s, "e")\n    return s\n'
    )(photo=CAT.content).run("smc", particles=4, model=model)
    assert result.log_z < 0


def test_a_model_of_the_hub_comes_with_the_files_of_its_processor(saved, caches, monkeypatch):
    hub_library = import_module("huggingface_hub")
    offered = {p.name: p.stat().st_size for p in saved.iterdir()} | {"evil.py": 9, "a.bin": 9}
    asked = []

    def snapshot_download(repo, *, revision, local_files_only=False, allow_patterns):
        if local_files_only:
            raise FileNotFoundError
        asked.extend(allow_patterns)
        return str(put_in_hub_cache(caches, repo, saved))

    siblings = [SimpleNamespace(rfilename=n, size=s) for n, s in offered.items()]
    monkeypatch.setattr(
        hub_library.HfApi, "model_info", lambda *a, **k: SimpleNamespace(siblings=siblings)
    )
    monkeypatch.setattr(hub_library, "snapshot_download", snapshot_download)
    monkeypatch.setattr("fkdsl.models.hub.verify_blobs", lambda *a, **k: None)
    model = registry.load_model("org/eyes")
    assert {"preprocessor_config.json", "processor_config.json"} <= set(asked)
    assert not {"evil.py", "a.bin"} & set(asked)
    assert model.describe()["source"] == "hub: huggingface.co/org/eyes"
    assert len(row(model)) == model.vocabulary.size


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float64", marks=pytest.mark.slow)])
def test_other_precisions(saved, dtype):
    exact = row(registry.load_model(str(saved)))
    other = row(registry.load_model(str(saved), dtype=dtype))
    assert abs(exact - other).max() < (0.1 if dtype == "bfloat16" else 1e-4)


def test_a_folder_without_a_processor_or_with_a_damaged_one_is_told(copy):
    (copy / "preprocessor_config.json").write_text("{", "utf-8")
    with pytest.raises(CallError, match="processor of images"):
        registry.load_model(str(copy))
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").unlink()
    with pytest.raises(CallError, match="has no processor for them"):
        registry.load_model(str(copy))


def test_code_that_a_processor_names_is_not_run(copy):
    mark = copy / "ran"
    (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n", "utf-8")
    path = copy / "processor_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings |= {"auto_map": {"AutoProcessor": "evil.Evil"}, "processor_class": "Evil"}
    path.write_text(json.dumps(settings), "utf-8")
    image = copy / "preprocessor_config.json"
    settings = json.loads(image.read_text("utf-8"))
    settings |= {"auto_map": {"AutoImageProcessor": "evil.Evil"}, "image_processor_type": "Evil"}
    image.write_text(json.dumps(settings), "utf-8")
    with pytest.raises(CallError):
        registry.load_model(str(copy))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", {"height": 10**6, "width": 10**6}), ("size", {"shortest_edge": 1e99})],
)
def test_sizes_that_would_take_all_memory_are_refused(copy, key, value):
    path = copy / "preprocessor_config.json"
    settings = json.loads(path.read_text("utf-8")) | {key: value}
    path.write_text(json.dumps(settings), "utf-8")
    with pytest.raises(CallError, match="at most 16,384 is taken"):
        registry.load_model(str(copy))


def test_pillow_is_asked_for_when_a_model_with_eyes_is_loaded(saved, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(CallError, match="Pillow"):
        registry.load_model(str(saved))


def test_a_prompt_too_long_for_the_model_is_told_with_its_images(saved):
    model = registry.load_model(str(saved))
    model.max_length = 10
    ids = model.start_with((CAT, "a"))
    with pytest.raises(CallError, match="those of its images among them"):
        model.forward([ForwardRow(None, ids, (0,))])
    assert torch.is_tensor(next(model.module.parameters()))


def test_too_many_images_are_refused_before_one_is_decoded(saved, monkeypatch):
    from fkdsl.models.vision import processing

    model = registry.load_model(str(saved))
    monkeypatch.setattr(processing, "read_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(CallError, match="has 33 images, and may have 32"):
        model.start_with((CAT,) * 33)


def test_images_that_are_too_large_together_are_refused_as_they_are_read(saved, monkeypatch):
    from fkdsl.models.vision import processing

    model, read = registry.load_model(str(saved)), []
    plain = processing.read_image
    monkeypatch.setattr(processing, "read_image", lambda *a: read.append(1) or plain(*a))
    monkeypatch.setattr(processing, "MOST_TOGETHER", 1)
    with pytest.raises(CallError, match="more than 1 pixels together"):
        model.start_with((CAT,) * 3)
    assert len(read) == 1

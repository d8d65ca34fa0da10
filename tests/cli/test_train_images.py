"""`fkdsl train --images`: a model that `fkdsl run` takes an image with, gone on with from its
checkpoint, and what a wrong call is told."""

import re

import pytest

from fkdsl.cli.main import main
from fkdsl.models.registry import model_info

pytest.importorskip("PIL.Image", reason="Pillow comes with the extra `images`")
SHORT = ["--images", "--rows", "2", "--save-every", "1", "--seed", "3", "--held-out-images", "2"]


def call(capsys, *args):
    status = main(["train", *map(str, args)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.mark.slow
def test_eyes_are_trained_gone_on_with_measured_and_run(capsys, tmp_path):
    from PIL import Image

    folder = tmp_path / "eyes"
    status, out, _ = call(capsys, *SHORT, "--out", folder, "--steps", 1, "--licence", "CC0")
    assert status == 0
    assert re.search(r"^ +1 +\d+ .* % .* %$", out, re.MULTILINE)
    assert re.search(r"^price( +\d+\.\d %){3}$", out, re.MULTILINE)
    status, _, err = call(capsys, *SHORT[:-4], "--seed", 4, "--out", folder, "--resume")
    assert (status, "has seed 3, not 4" in err) == (2, True)
    status, out, _ = call(capsys, *SHORT, "--out", folder, "--resume", "--steps", 2)
    assert status == 0
    assert [int(n) for n in re.findall(r"^ +(\d+) +\d+  ", out, re.MULTILINE)] == [1, 2]
    file = folder / "model.safetensors"
    status, measured, _ = call(capsys, "--images", "--held-out-images", 1, "--evaluate", file)
    assert status == 0
    assert measured.startswith("read exactly, of 1 held-out")
    made = model_info(str(file)).details
    assert made["command"].startswith("fkdsl train --images --model tiny --save-every 1 --steps 2")
    assert "held-out images each" in made["read exactly"]
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    program = tmp_path / "p.fk"
    program.write_text(
        "program p(photo: image) -> str:\n    lm = prompt(photo)\n"
        "    s ~ text(lm, max_tokens=3)\n    return s\n"
    )
    photo = f"photo={tmp_path / 'red.png'}"
    assert main(["run", str(program), "--model", str(file), "-p", photo, "--particles", "2"]) == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--images", "--text", "a"], "--text is for training on a text"),
        (["--images", "--ahead", "2"], "--ahead is for training on a text"),
        (["--images", "--compile"], "--compile is for training on a text"),
        (["--images", "--held-out-images", "0"], "--held-out-images 0"),
        (["--images", "--save-every", "0"], "--save-every 0"),
        (["--images", "--rate", "-1"], "--rate cannot be"),
        (["--images", "--model", "absent"], "no file `absent`"),
        (["--images", "--fonts", "absent.ttf"], "cannot be used as a font"),
        (["--images", "--resume", "--out", "absent"], "no file `absent/checkpoint.safetensors`"),
        ([], "nothing to train on"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(capsys, args, says):
    status, out, err = call(capsys, *args)
    assert (status, out) == (2, "")
    assert says in err

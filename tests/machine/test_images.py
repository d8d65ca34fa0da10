"""Images in prompts: the law is that of what the model sees, in a run, a trace, a resumed run, on
another machine; and what is no image, or of no use to the model, is told."""

import json
import math
import os

import pytest

import fkdsl
from fkdsl.api.cluster.job import job_of, request_of_job
from fkdsl.api.trace.file import read_trace
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.cli.main import main
from fkdsl.testing import exact_measure
from fkdsl.testing.laws import assert_same_masses
from tests.models.image_table import ImageTable, animation, shade

DARK = {"": {"night": 0.8, "day": 0.2}, "day": {None: 1.0}, "night": {None: 0.5, "day": 0.5}}
LIGHT = {"": {"night": 0.1, "day": 0.9}, "day": {None: 1.0}, "night": {None: 1.0}}
BLIND = {"": {"night": 0.4, "day": 0.6}, "day": {None: 1.0}, "night": {None: 1.0}}


def table():
    return ImageTable("eyes", {"dark": DARK, "light": LIGHT, "blind": BLIND})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "programs").mkdir()
    for name, level in (("dark.png", 10), ("light.png", 240)):
        (tmp_path / "programs" / name).write_bytes(shade(level))
    return tmp_path / "programs"


def parsed(body, folder, head="program p() -> str:", **given):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return fkdsl.parse(f"{head}\n{lines}", folder=folder)(**given)


def measure(body, folder, **more):
    masses = exact_measure(parsed(body, folder, **more).feynman_kac(model=table()))
    return {k[1] if isinstance(k, tuple) else k: v for k, v in masses.items()}


def test_a_prompt_has_the_law_of_its_last_image(folder):
    body = "lm = prompt({}image('dark.png'))\nt ~ lm\nreturn str(t)"
    assert_same_masses(measure(body.format(""), folder), {"night": 0.8, "day": 0.2})
    both = measure(body.format("image('light.png'), "), folder)
    assert_same_masses(both, {"night": 0.8, "day": 0.2})
    other = measure("lm = chat(image('light.png'), '')\nt ~ lm\nreturn str(t)", folder)
    assert_same_masses(other, {"night": 0.1, "day": 0.9})


def test_which_image_is_a_latent_and_a_caption_is_observed(folder):
    body = """name ~ categorical(["dark.png", "light.png"], [0.5, 0.5])
lm = prompt(image(name))
observe "night" ~ lm
return name"""
    found = measure(body.replace('observe "night" ~ lm', "t ~ lm\ncondition t == 'night'"), folder)
    assert_same_masses(found, {"dark.png": 0.4, "light.png": 0.05})
    run = parsed(body, folder).run("exact", model=table())
    assert run.log_z == pytest.approx(math.log(0.45), abs=1e-9)


def test_a_choice_among_captions_and_the_contrast_with_no_image(folder):
    body = "s ~ choice(prompt(image('dark.png')), ['night', 'day'])\nreturn s"
    assert_same_masses(measure(body, folder), {"night": 0.8, "day": 0.2})
    body = """a = prompt(image('dark.png'))
b = prompt("")
t ~ a ** 2.0 * b ** -1.0
return str(t)"""
    night, day = 0.8**2 / 0.4, 0.2**2 / 0.6
    found = measure(body, folder)
    assert found["night"] / found["day"] == pytest.approx(night / day)


def test_an_image_is_a_parameter(folder, monkeypatch):
    from PIL import Image

    body = "lm = prompt('', photo)\nt ~ lm\nreturn str(t)"
    head = "program p(photo: image) -> str:"
    monkeypatch.chdir(folder.parent)
    for given in (
        "programs/dark.png", folder / "dark.png", shade(10), Image.new("RGB", (9, 5), (9, 9, 9)),
    ):  # fmt: skip
        found = measure(body, folder, head=head, photo=given)
        assert_same_masses(found, {"night": 0.8, "day": 0.2})
    for given in (7, b"no image", "programs/none.png", folder):
        with pytest.raises(CallError, match="photo"):
            parsed(body, folder, head=head, photo=given)


PROGRAM = """
program p(photo: image) -> str:
    same = [photo]
    name ~ categorical(["dark.png", "light.png"], [0.5, 0.5])
    other = image(name)
    a = prompt("", photo)
    b = prompt(other)
    t ~ a
    factor 0.3 if t == "day" and same[0] == other else -0.2
    u ~ b
    return name + str(t) + str(u)
"""


def test_a_trace_tells_each_image_once_and_a_run_goes_on_from_it(folder, tmp_path):
    program = fkdsl.parse(PROGRAM, folder=folder)(photo=shade(10))
    path, cut = tmp_path / "t.jsonl", tmp_path / "cut.jsonl"
    expected = program.run("smc", particles=6, seed=2, model=table())
    traced = program.run("smc", particles=6, seed=2, model=table(), trace=path)
    assert traced.posterior == expected.posterior
    told = [a["kind"] for s in read_trace(path).steps for a in s.get("attachments", {}).values()]
    assert told == ["prompt"] * 2
    raw = path.read_bytes()
    for name in ("dark.png", "light.png"):  # a resumed run needs no file for what a state holds
        (folder / name).rename(folder / f"_{name}")
    cut.write_bytes(b"".join(raw.splitlines(keepends=True)[:-1]))
    resumed = program.run("smc", particles=6, seed=2, model=table(), resume=cut)
    assert (resumed.posterior, resumed.log_z) == (expected.posterior, expected.log_z)


def test_images_travel_with_a_job(folder, tmp_path):
    from fkdsl.api.request import RunRequest

    program = fkdsl.parse(PROGRAM, folder=folder)(photo=shade(10))
    request = RunRequest.of(program, "smc", {"particles": 3}, model="tiny")
    job = job_of(request)
    (tmp_path / "there").mkdir()
    there = request_of_job(json.loads(job), tmp_path / "there", {})
    assert there.call
    assert sorted(os.listdir(tmp_path / "there")) == ["dark.png", "light.png"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("prompt(image('none.png'))", "cannot read the image 'none.png': No such file"),
        ("prompt(image('../secret.png'))", "outside the program's folder"),
        ("prompt(image('/etc/hostname'))", "outside the program's folder"),
        ("prompt(image('notes.png'))", "is no image that can be read"),
        ("prompt(image('moving.gif'))", "is animated"),
        ("prompt(image('cut.png'))", "is damaged"),
        ("prompt(image('dark.png'), source='x')", "images or a source"),
        ("prompt('a', image('dark.png'), model=m)", "m has no eyes"),
        ("chat('a', image('dark.png'), model=m)", "m has no eyes"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(folder, call, message):
    (folder.parent / "secret.png").write_bytes(shade(1))
    (folder / "notes.png").write_text("some text", "utf-8")
    (folder / "moving.gif").write_bytes(animation())
    (folder / "cut.png").write_bytes(shade(10, (300, 300))[:120])
    head = 'model m = table:\n    "" -> "x": 1.0\n\nprogram p() -> str:'
    text = f'{head}\n    lm = {call}\n    return ""\n'
    with pytest.raises(ProgramError, match=message) as caught:
        fkdsl.parse(text, folder=folder).run("smc", model=None if "model=m" in call else table())
    (d,) = caught.value.diagnostics
    assert (d.code, d.span.line) == ("FK417", 5)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("prompt(image(7))", "FK210"),
        ("prompt('a', 'b')", "FK208"),
        ("prompt(image(dark), 7)", "FK210"),
        ("prompt(image(dark), text='b')", "FK206"),
        ("chat(image(dark), 'b', 'c', system=1)", "FK210"),
    ],
)
def test_the_checker_knows_what_a_prompt_is_made_of(call, code):
    with pytest.raises(ProgramError) as caught:
        fkdsl.parse(f"program p(dark: str) -> str:\n    lm = {call}\n    return lm.text\n")
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_the_command_line_takes_a_path(folder, capsys):
    file = folder / "p.fk"
    file.write_text(
        'model m = table:\n    "" -> "x": 1.0\n\nprogram p(photo: image) -> str:\n'
        '    condition photo == image("dark.png")\n    t ~ prompt("", model=m)\n    return "yes"\n',
        "utf-8",
    )
    assert main(["run", str(file), "-p", f"photo={folder / 'dark.png'}"]) == 0
    assert "yes" in capsys.readouterr().out
    assert main(["run", str(file), "-p", f"photo={file}"]) == 2
    assert "is no image that can be read" in capsys.readouterr().err

"""`fkdsl train`: a model that `fkdsl run` takes, gone on with as if never stopped, and what a wrong
call is told."""

import re

import pytest

from fkdsl.base.errors import CallError
from fkdsl.cli.main import main
from fkdsl.models.registry import SHIPPED, model_info
from fkdsl.models.tiny.checkpoint import read_links, read_run
from fkdsl.models.tiny.files import read_model_file, write_model_file
from fkdsl.models.tiny.model import load_bytes

SMALL = [
    "--width",
    "16",
    "--layers",
    "2",
    "--heads",
    "2",
    "--hidden",
    "24",
    "--ahead",
    "2",
    "--context",
    "24",
]
SHORT = ["--rows", "2", "--warm-up", "2", "--save-every", "4", "--seed", "3", "--link-steps", "3"]


def call(capsys, *args):
    status = main(["train", *map(str, args)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\n\n".join(b"The %dth day. \xff" % i for i in range(60)))
    return path


@pytest.fixture
def trained(capsys, text, tmp_path):
    status, out, _ = call(
        capsys, "--text", text, "--out", tmp_path / "whole", "--steps", 12, *SMALL, *SHORT
    )
    assert status == 0
    return tmp_path / "whole", out


def test_the_curve_is_printed_and_the_model_runs(capsys, trained, tmp_path):
    folder, out = trained
    assert [int(n) for n in re.findall(r"^ +(\d+) ", out, re.MULTILINE)] == [4, 8, 12]
    assert re.search(r"held out +\+2\n", out)
    assert re.search(r"^links: heads 2 on at \d.*, 1\.\d\d tokens a round", out, re.MULTILINE)
    assert load_bytes(folder / "model.safetensors").with_heads().reach == 1
    assert "3 steps" in model_info(str(folder / "model.safetensors")).details["links"]
    program = tmp_path / "p.fk"
    program.write_text(
        f'model "{folder}/model.safetensors"\n\nprogram p() -> str:\n    lm = prompt("The ")\n'
        "    while not lm.done and lm.tokens < 5:\n        t ~ lm\n    return lm.text\n"
    )
    assert main(["run", str(program)]) == 0
    assert "log Z" in capsys.readouterr().out


def test_a_run_gone_on_with_is_the_uninterrupted_one_and_says_so(capsys, text, tmp_path):
    part = ["--text", text, "--out", tmp_path / "part", *SHORT]
    call(capsys, *part, "--steps", 5, "--cool-down", 0.4, *SMALL)
    status, _, err = call(capsys, *part, "--steps", 12, "--resume")
    assert status == 2
    assert "learning rate" in err
    call(
        capsys,
        "--text",
        text,
        "--out",
        tmp_path / "other",
        "--steps",
        8,
        "--cool-down",
        0,
        *SMALL,
        *SHORT,
    )
    call(capsys, "--text", text, "--out", tmp_path / "other", "--steps", 12, "--resume")
    call(
        capsys,
        "--text",
        text,
        "--out",
        tmp_path / "flat",
        "--steps",
        12,
        "--cool-down",
        0,
        *SMALL,
        *SHORT,
    )
    a, b = (read_run(tmp_path / name / "checkpoint.safetensors") for name in ("other", "flat"))
    weights = zip(a.model.parameters(), b.model.parameters(), strict=True)
    assert all((s == t).all() for s, t in weights)
    # What made it is told as the one command that makes it.
    commands = [
        model_info(str(tmp_path / n / "model.safetensors")).details["command"]
        for n in ("other", "flat")
    ]
    assert "--steps 12" in commands[0]
    assert "--cool-down 0.0" in commands[0]


def test_the_command_in_the_header_makes_the_same_weights(capsys, trained, tmp_path):
    folder, _ = trained
    command = model_info(str(folder / "model.safetensors")).details["command"].split()
    assert command[:2] == ["fkdsl", "train"]
    call(capsys, *command[2:], "--out", tmp_path / "again")
    again = read_run(tmp_path / "again" / "checkpoint.safetensors").model.parameters()
    first = read_run(folder / "checkpoint.safetensors").model.parameters()
    assert all((s == t).all() for s, t in zip(first, again, strict=True))
    links = [read_links(f / "model.safetensors").state_dict() for f in (folder, tmp_path / "again")]
    assert all(links[1][name].equal(t) and t.any() for name, t in links[0].items())


def test_links_are_fitted_again_at_the_end_of_a_run_gone_on_with(capsys, trained, text, tmp_path):
    folder, _ = trained
    weights = folder / "model.safetensors"
    first = read_links(weights).state_dict()
    for steps, name in ((0, None), (3, "links")):
        status, _, _ = call(
            capsys, "--text", text, "--resume", "--out", folder, "--link-steps", steps
        )
        assert status == 0
        assert (read_links(weights) is None) == (name is None)
        assert f"--link-steps {steps} " in model_info(str(weights)).details["command"]
    assert all(t.equal(first[name]) for name, t in read_links(weights).state_dict().items())
    status, out, _ = call(capsys, "--text", text, "--resume", "--out", folder, "--link-steps", -1)
    assert (status, out) == (2, "")


def test_evaluation_has_a_line_for_each_head_and_rival(capsys, trained, text):
    folder, _ = trained
    status, out, _ = call(capsys, "--text", text, "--evaluate", folder / "model.safetensors")
    assert status == 0
    table, drafts = out.split("\n\n")
    names = [line.rsplit(None, 1)[0].strip() for line in table.splitlines()[1:]]
    assert names == [
        "head 1 (byte +1)", "head 2 (byte +2)", "head 2, linked", "5-gram, Witten-Bell",
        "xz after the training text", "xz alone", "gzip alone",
    ]  # fmt: skip
    assert all(0 < float(line.split()[-1]) < 60 for line in table.splitlines()[1:])
    found = re.findall(r"^(.*?) +([\d.]+) +([\d.]+)$", drafts, re.MULTILINE)
    assert [name for name, _, _ in found] == ["heads alone", "heads and links"]
    # One head drafts: a round has one token, and one more as often as the draft is kept.
    assert all(abs(1 + float(kept) - float(tokens)) <= 0.002 for _, tokens, kept in found)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--text", "absent"], "no file or folder `absent`"),
        (["--text", "{empty}"], "no text to train on"),
        (["--text", "{text}", "--context", "9999"], "a window"),
        (["--text", "{text}", "--width", "30"], "does not go into 4 heads"),
        (["--text", "{text}", "--layers", "0"], "at least 1"),
        (["--text", "{text}", "--rate", "-1"], "--rate cannot be"),
        (["--text", "{text}", "--dtype", "int8"], "no training in `int8`"),
        (["--text", "{text}", "--documents", "word"], "kind `word`"),
        (["--text", "{text}", "--save-every", "0"], "--save-every 0"),
        (
            ["--text", "{text}", "--resume", "--out", "absent"],
            "no file `absent/checkpoint.safetensors`",
        ),
        (["--text", "{text}", "--evaluate", "{text}"], "not a safetensors file"),
        (["--text", "{text}", "--evaluate", "absent"], "no file `absent`"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(capsys, text, tmp_path, args, says):
    (tmp_path / "empty").write_bytes(b"\n\n")
    filled = [a.format(text=text, empty=tmp_path / "empty") for a in args]
    status, out, err = call(capsys, *filled)
    assert status == 2
    assert says in err
    assert out == ""


def test_a_checkpoint_is_held_to_its_text_its_flags_and_its_shape(capsys, trained, text, tmp_path):
    folder, _ = trained
    other = tmp_path / "other.txt"
    other.write_bytes(b"\n\n".join(b"another %d" % i for i in range(90)))
    cases = [
        (["--text", other], "another text"),
        (["--text", text, "--width", "32"], "has width 16, not 32"),
        (["--text", text, "--seed", "4"], "has seed 3, not 4"),
    ]
    for args, says in cases:
        status, _, err = call(capsys, *args, "--resume", "--out", folder)
        assert status == 2
        assert says in err
    file = folder / "checkpoint.safetensors"
    facts, _, tensors = read_model_file(file)
    facts["settings"]["seed"] = -1
    write_model_file(tmp_path / "wrong.safetensors", tensors, facts)
    with pytest.raises(CallError, match="--seed cannot be -1"):
        read_run(tmp_path / "wrong.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    status, _, err = call(capsys, "--text", text, "--resume", "--out", folder)
    assert status == 2
    assert "damaged" in err
    file.write_bytes(SHIPPED["tiny"].read_bytes())
    status, _, err = call(capsys, "--text", text, "--resume", "--out", folder)
    assert status == 2
    assert "no checkpoint of a training run" in err


def test_a_program_that_names_no_model_runs_on_tiny_and_says_so(capsys, tmp_path):
    program = tmp_path / "p.fk"
    program.write_text(
        'program p() -> str:\n    lm = prompt("To be")\n    t ~ lm\n    return lm.text\n'
    )
    assert main(["run", str(program)]) == 0
    assert "`tiny`" in capsys.readouterr().out
    assert main(["run", str(program), "--model", "tiny"]) == 0
    assert "`tiny`" not in capsys.readouterr().out

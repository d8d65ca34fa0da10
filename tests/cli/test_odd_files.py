"""Files that are no regular files, or far too long: refused before they are read, whatever names
them."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_file
from fkdsl.cli.main import main
from fkdsl.models.reference import check_folder

PROGRAM = (
    'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n\nprogram p() -> str:\n'
    '    lm = prompt("a", model=m)\n    t ~ lm\n'
)
WHOLE = PROGRAM + "    return lm.text\n"
DEFAULT = (
    'program p() -> str:\n    lm = prompt("a")\n    t ~ lm\n    return lm.text\n'
    "infer smc(particles=2)\n"
)
FAR = 1 << 40
"""Bytes of a sparse file, which take no room on a disk."""


def make_pipe(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_full(path):
    path.symlink_to("/dev/full")


def make_long(path):
    with path.open("wb") as file:
        file.truncate(FAR)


def make_folder(path):
    path.mkdir()


ODD = {
    "pipe": make_pipe,
    "device": make_device,
    "full": make_full,
    "long": make_long,
    "folder": make_folder,
}
NAMED = {
    "program": (["run", "{odd}"], None),
    "check": (["check", "{odd}"], None),
    "import": (["run", "p.fk"], 'import "odd"\n' + WHOLE),
    "resume": (["run", "p.fk", "--resume", "{odd}"], WHOLE),
    "trace": (["run", "p.fk", "--trace", "{odd}"], WHOLE),
    "replay": (["replay", "{odd}"], None),
    "prefill": (["run", "p.fk", "--prefill", "{odd}"], WHOLE),
    "schema": (
        ["run", "p.fk"],
        PROGRAM + '    condition valid_json(lm.text, schema="odd")\n    return lm.text\n',
    ),
    "grammar": (
        ["run", "p.fk"],
        PROGRAM + '    condition parses(lm.text, grammar="odd")\n    return lm.text\n',
    ),
    "schema at run time": (
        ["run", "p.fk"],
        PROGRAM
        + '    condition valid_json(lm.text, schema="od" + lower("D"))\n    return lm.text\n',
    ),
    "text": (["train", "--text", "{odd}"], None),
    "evaluated": (["train", "--text", "p.fk", "--evaluate", "{odd}"], WHOLE * 20),
    "tables": (["run", "p.fk", "--model", "odd.fk"], DEFAULT),
    "model": (["run", "p.fk", "--model", "./odd.gguf"], DEFAULT),
}


def call(args, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    status = main(args)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("way", NAMED)
def test_a_file_that_is_none_is_refused_before_it_is_read(way, kind, tmp_path, monkeypatch, capsys):
    args, text = NAMED[way]
    if way == "text" and kind == "folder":
        return  # a folder of texts
    if way in ("prefill", "model", "evaluated") and kind == "long":
        return  # weights are long; these have no header that fits, and are told by it
    odd = tmp_path / {"tables": "odd.fk", "model": "odd.gguf"}.get(way, "odd")
    ODD[kind](odd)
    if text is not None:
        (tmp_path / "p.fk").write_text(text)
    status, out, err = call([a.format(odd="odd") for a in args], tmp_path, monkeypatch, capsys)
    assert status in (1, 2), err
    assert out == ""
    assert "odd" in err
    assert "bug" not in err


@pytest.mark.parametrize("kind", ["pipe", "full", "folder"])
@pytest.mark.parametrize(
    "args", [["run", "p.fk", "--trace", "odd"], ["prefill", "p.fk", "--model", "tiny", "-o", "odd"]]
)
def test_an_answer_is_written_to_regular_files_only(args, kind, tmp_path, monkeypatch, capsys):
    ODD[kind](tmp_path / "odd")
    (tmp_path / "p.fk").write_text(DEFAULT)
    status, out, err = call(args, tmp_path, monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert "cannot write odd" in err or "odd is a folder" in err
    assert (tmp_path / "odd").exists()


def test_a_trained_model_does_not_replace_a_device(tmp_path):
    from fkdsl.models.tiny.files import write_model_file

    (tmp_path / "model.safetensors").symlink_to("/dev/full")
    with pytest.raises(CallError, match="it is a device, not a file"):
        write_model_file(tmp_path / "model.safetensors", {}, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(CallError, match="cannot write"):
        write_model_file(tmp_path / "file" / "model.safetensors", {}, {})


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "special_tokens_map.json", "chat_template.jinja"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "long"])
def test_a_model_folder_with_a_file_that_is_none_is_refused(name, kind, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    ODD[kind](tmp_path / name)
    with pytest.raises(CallError, match=f"has an unreadable {name}: it "):
        check_folder(tmp_path, "m")


def test_a_file_of_the_kernel_that_says_that_it_is_empty_is_read_up_to_the_bound():
    assert read_file(Path("/proc/self/status"), 1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="more than 10 bytes; at most 10 bytes are read"):
        read_file(Path("/proc/self/status"), 10)


def test_a_name_that_no_file_can_have_is_an_error_of_the_call(tmp_path):
    for name in ("a\0b", "a\ud800", "n" * 5000):
        with pytest.raises(CallError, match="cannot write"):
            check_target(tmp_path / name)


def test_a_program_on_a_pipe_is_refused_in_words():
    command = [sys.executable, "-m", "fkdsl", "exact", "/dev/stdin", "--json"]
    done = subprocess.run(
        command, input=WHOLE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "it is a pipe, not a file" in done.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_page_that_cannot_be_written_costs_no_answer(monkeypatch, tmp_path, capsys, flags):
    """The disk is full when the run has ended."""
    write_text = Path.write_text

    def full(self, *args, **options):
        if self.suffix == ".html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(self, *args, **options)

    (tmp_path / "p.fk").write_text(WHOLE)
    monkeypatch.setattr(Path, "write_text", full)
    page = str(tmp_path / "out.html")
    assert main(["run", str(tmp_path / "p.fk"), "--report", page, *flags]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["finished"] if flags else "log Z" in out
    assert f"error: cannot write {page}: No space left on device" in err


@pytest.mark.parametrize("command", ["tune", "prefill"])
def test_no_command_writes_over_a_program(tmp_path, capsys, command):
    program = tmp_path / "p.fk"
    program.write_text(WHOLE)
    assert main([command, str(program), "-o", str(program)]) == 2
    assert "is named like a program" in capsys.readouterr().err
    assert program.read_text() == WHOLE

"""What commands write: JSON always is JSON, every terminal shows the text, and a full disk is no
bug of ours."""

import io
import json
import shlex
import subprocess
import sys

import pytest

from fkdsl.base.errors import CallError
from fkdsl.cli.main import main
from fkdsl.cli.output import (
    check_file_target,
    check_folder_target,
    finish,
    json_text,
    prepare_streams,
)

TWO_BITS = "programs/two_bits.fk"
TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\n'


def strict(text):
    """What a reader makes of JSON that takes no NaN and no Infinity."""

    def refuse(name):
        raise ValueError(name)

    text.encode("utf-8")
    return json.loads(text, parse_constant=refuse)


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    return status, out, err


def write(tmp_path, text):
    (tmp_path / "p.fk").write_text(text)
    return str(tmp_path / "p.fk")


def test_an_infinite_value_is_null_and_a_note_says_so(capsys, tmp_path):
    text = (
        TABLE + 'program p() -> float:\n    lm = prompt("")\n    t ~ lm\n'
        '    return logprob(lm, "zebra")\n'
    )
    for command in ("run", "exact"):
        status, out, _ = call(capsys, command, write(tmp_path, text), "--json")
        found = strict(out)
        assert (status, found["posterior"][0]["value"]) == (0, None)
        assert any(
            "null stands for -inf" in note and "posterior[].value" in note
            for note in found["notes"]
        )


def test_numbers_that_json_has_not_are_named_once_for_each_place():
    found = strict(
        json_text(
            {"rows": [{"x": float("nan")}, {"x": float("nan")}, {"x": float("-inf")}], "y": 1.0}
        )
    )
    assert [row["x"] for row in found["rows"]] == [None, None, None]
    assert found["notes"] == [
        "null stands for nan, which JSON has not: rows[].x",
        "null stands for -inf, which JSON has not: rows[].x",
    ]


def test_half_a_character_is_escaped_in_json(monkeypatch):
    half = chr(0xD800)
    assert json_text({"x": half}) == '{"x": "\\ud800"}'
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert strict(json_text({"x": "é猫😀"})) == {"x": "é猫😀"}
    assert json_text({"x": "猫"}) == '{"x": "\\u732b"}'


def test_a_wrong_program_is_an_object_with_its_places(capsys, tmp_path):
    path = write(tmp_path, "program p() -> int:\n    x ~ bernouli(0.5)\n    return zz\n")
    for args in (["run", path], ["exact", path], ["compare", path], ["check", path]):
        status, out, err = call(capsys, *args, "--json")
        found = strict(out)
        assert (status, found["status"]) == (1, 1)
        first = found["diagnostics"][0]
        assert (first["code"], first["file"], first["line"], first["column"]) == (
            "FK204",
            path,
            2,
            9,
        )
        assert first["message"] == "unknown function `bernouli`"
        assert first["help"] == "did you mean `bernoulli`?"
        assert [d["code"] for d in found["diagnostics"]] == ["FK204", "FK203"]
        assert "unknown function" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "programs/none.fk"], "there is no file programs/none.fk"),
        (["run", TWO_BITS, "-p", "self=1"], "`two_bits` has no parameter `self`"),
        (["run", TWO_BITS, "-p", "parameters=1"], "`two_bits` has no parameter `parameters`"),
        (["run", TWO_BITS, "--particles", "many"], "takes a whole number"),
        (["run", TWO_BITS, "--nothing"], "no option --nothing"),
    ],
)
def test_a_wrong_call_is_an_object_too(capsys, args, message):
    status, out, _ = call(capsys, *args, "--json")
    found = strict(out)
    assert (status, found["status"], found["diagnostics"]) == (2, 2, [])
    assert message in found["error"]


def test_a_bug_of_ours_is_an_object_too(capsys, monkeypatch):
    def broken(args):
        raise BaseException("a panic")

    monkeypatch.setattr("fkdsl.cli.run.main", broken)
    status, out, err = call(capsys, "run", TWO_BITS, "--json")
    assert (status, strict(out)["status"]) == (70, 70)
    assert "a panic" in err


def test_a_run_that_ended_early_is_an_object_too(capsys):
    status, out, _ = call(capsys, "run", TWO_BITS, "--max-steps", "1", "--json")
    assert (status, strict(out)["status"]) == (3, 3)


def test_a_query_that_is_wrong_at_the_end_leaves_one_object(capsys, tmp_path):
    text = "program p() -> int:\n    x ~ uniform_int(0, 1)\n    return x\n"
    status, out, _ = call(capsys, "run", write(tmp_path, text), "--json", "--query", "1 / value")
    found = strict(out)
    assert status == found["status"] == 1
    assert found["diagnostics"][0]["code"] == "FK401"
    assert found["posterior"]


def test_a_parameter_nested_two_thousand_deep_is_a_wrong_call(capsys, tmp_path):
    path = write(tmp_path, "program p(xs: list[int]) -> int:\n    return len(xs)\n")
    status, _, err = call(capsys, "run", path, "-p", "xs=" + "[" * 2000 + "]" * 2000)
    assert status == 2
    assert "the parameter `xs` takes a `list[int]`" in err
    assert "xs=[5, 5]" in err
    assert len(err) < 500


def test_a_parameter_that_is_no_utf8_is_a_wrong_call(capsys, tmp_path):
    path = write(tmp_path, "program p(s: str) -> str:\n    return s\n")
    status, _, err = call(capsys, "run", path, "-p", "s=a" + chr(0xDCFF))
    assert status == 2
    assert "no text in UTF-8" in err


def test_without_a_command_the_help_is_printed(capsys):
    status, out, err = call(capsys)
    assert (status, err) == (0, "")
    assert "usage: fkdsl" in out
    assert "check     " in out


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
def test_every_terminal_shows_the_table(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    prepare_streams()
    print("0.36  ██  ± 猫 " + chr(0xDCFF))
    stream.flush()
    shown = stream.buffer.getvalue().decode(encoding)
    bar, sign = ("██", "±") if encoding == "utf-8" else ("##", "+-" if encoding == "ascii" else "±")
    cat = "猫" if encoding == "utf-8" else "\\u732b"
    assert shown == f"0.36  {bar}  {sign} {cat} \\udcff\n".replace(
        "\n", "\r\n" if "\r\n" in shown else "\n"
    )


def test_a_closed_stdout_is_a_wrong_call(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(CallError, match="standard output is closed"):
        prepare_streams()


class Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_no_bug_of_ours(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", err)
    assert finish(0) == 2
    assert err.getvalue() == "error: cannot write to standard output: No space left on device\n"
    monkeypatch.setattr(sys, "stderr", Full())
    assert finish(0) == 2


def test_a_process_whose_output_is_full_ends_with_status_2():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fkdsl", "check", TWO_BITS]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_place_at_which_nothing_can_be_written_is_refused_before_the_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x", "there is no folder"),
    ):
        with pytest.raises(CallError, match=message):
            check_file_target(path, "--out")
    for path in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(CallError, match="is a file, not a folder"):
            check_folder_target(path, "--out")
    check_folder_target(tmp_path / "new" / "newer", "--out")
    assert call(capsys, "prefill", TWO_BITS, "-o", str(tmp_path))[0] == 2
    assert call(capsys, "run", TWO_BITS, "--trace", str(tmp_path))[0] == 2
    assert call(capsys, "train", TWO_BITS, "--out", str(tmp_path / "file"))[0] == 2


def test_a_cache_folder_of_no_user_is_a_wrong_call(capsys, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", "~nosuchuser/x")
    status, _, err = call(capsys, "models", "list")
    assert status == 2
    assert "there is no such user" in err


def test_a_flag_of_another_method_than_the_files_says_how_to_choose_one(capsys, tmp_path):
    path = tmp_path / "a file.fk"
    path.write_text(
        "program p() -> int:\n    x ~ uniform_int(0, 1)\n    return x\n\ninfer exact()\n"
    )
    status, _, err = call(capsys, "run", str(path), "--particles", "5")
    assert status == 2
    assert "the file says `infer exact`, which has no option `particles`" in err
    # The help can be pasted as it stands, spaces in names and all.
    command = shlex.split(err.rpartition("choose a method: ")[2])
    assert command == ["fkdsl", "run", str(path), "--method", "smc", "--particles", "5"]
    assert call(capsys, *command[1:])[0] == 0


def test_a_mistake_in_a_built_in_is_told_at_the_users_line(capsys, tmp_path):
    text = (
        'model m = table:\n    "" -> EOS: 1\n\nprogram p() -> str:\n'
        '    lm = prompt("")\n    t ~ lm\n    w ~ word(lm)\n'
    )
    status, _, err = call(capsys, "run", write(tmp_path, text + "    return w\n"))
    assert "<prelude>" not in err
    assert status == 0 or "p.fk:7:5" in err

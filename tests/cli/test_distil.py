"""`fkdsl distil`: a surrogate of a table, the same file after a stop, and what a wrong call is
told."""

import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import fkdsl.api.distil as api
from fkdsl.api.engines import CALLER, Engines
from fkdsl.cli.main import main
from fkdsl.models.registry import load_model
from fkdsl.models.surrogate.files import read
from fkdsl.models.surrogate.shipped import cached_file, surrogate_for
from fkdsl.models.table import TableModel

TABLE = """model m = table:
    ""   -> "a": 0.5, "b": 0.4, EOS: 0.1
    "a"  -> "a": 0.1, "b": 0.8, EOS: 0.1
    "ab" -> "a": 0.6, "b": 0.3, EOS: 0.1
"""
SMALL = [
    "--tokens",
    "600",
    "--length",
    "12",
    "--states",
    "3",
    "--passes",
    "3",
    "--refine",
    "1",
    "--head",
    "1",
]


def call(capsys, *args):
    status = main(["distil", *map(str, args)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.fk"
    path.write_text(TABLE)
    return path


def test_a_surrogate_of_a_table_is_better_than_the_unigram(capsys, table, tmp_path):
    out = tmp_path / "s"
    status, text, _ = call(
        capsys, table, "--out", out, *SMALL, "--tokens", 4000, "--refine", 4, "--head", 4
    )
    assert status == 0
    nats = dict(re.findall(r"^ *(\w[\w ]*?)(?:,.*)? +(\d\.\d{3})", text, re.MULTILINE))
    assert float(nats["hmm"]) < float(nats["unigram"]) - 0.05
    assert float(nats["with its head"]) < float(nats["unigram"]) - 0.05
    surrogate = read(out)
    assert surrogate.states == 3
    assert surrogate.about["kind"] == "hmm"
    assert f"{surrogate.about['held-out tokens']} held-out tokens" in text
    # The work folder goes when the file is there.
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("s")] == ["s"]


def test_a_bigram_of_classes_is_of_the_same_form(capsys, table, tmp_path):
    kind = ("--kind", "bigram", "--head", 0)
    status, text, _ = call(capsys, table, "--out", tmp_path / "s", *SMALL, *kind)
    assert status == 0
    assert "bigram, 3 states" in text
    # Each token of the table is of one class.
    columns = read(tmp_path / "s").emission[:, :3]
    assert ((columns > 0.05).sum(axis=0) == 1).all()


def test_texts_of_one_token_make_a_surrogate(capsys, table, tmp_path):
    """No row follows a token there, so no context has a cluster."""
    flags = ["--tokens", "40", "--length", "1", "--states", "3", "--passes", "1"]
    assert call(capsys, table, "--out", tmp_path / "s", *flags)[0] == 0


def test_the_same_call_gives_the_same_file(capsys, table, tmp_path):
    for name in ("a", "b"):
        assert call(capsys, table, "--out", tmp_path / name, *SMALL)[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    call(capsys, table, "--out", tmp_path / "b", *SMALL, "--seed", 1)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def stopping(monkeypatch, name, at, error):
    """Has call number `at` of a function of fkdsl.api.distil fail; the earlier ones work."""
    work, calls = getattr(api, name), []

    def stops(*args, **keywords):
        calls.append(1)
        if len(calls) == at:
            raise error
        return work(*args, **keywords)

    monkeypatch.setattr(api, name, stops)


@pytest.mark.parametrize(("name", "at"), [("draw_batch", 1), ("draw_batch", 2), ("fitted", 1)])
def test_a_stopped_run_goes_on_to_the_same_file(capsys, monkeypatch, table, tmp_path, name, at):
    assert call(capsys, table, "--out", tmp_path / "whole", *SMALL)[0] == 0
    with monkeypatch.context() as patch:
        stopping(patch, name, at, KeyboardInterrupt())
        status, _, err = call(capsys, table, "--out", tmp_path / "s", *SMALL)
    assert status == 130
    assert "go on with --resume" in err
    assert not (tmp_path / "s").exists()
    assert call(capsys, table, "--out", tmp_path / "s", *SMALL, "--resume")[0] == 0
    assert (tmp_path / "s").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("stage", ["fit", "refined", "head"])
def test_a_run_that_died_in_the_fit_goes_on_from_its_last_pass(
    capsys, monkeypatch, table, tmp_path, stage
):
    flags = [*SMALL, "--refine", "3", "--head", "3"]
    assert call(capsys, table, "--out", tmp_path / "whole", *flags)[0] == 0
    passes = []

    def dies(self, name, tensors):
        save(self, name, tensors)
        passes.append(name)
        if sum(n.startswith(stage) for n in passes) == 2:
            raise KeyboardInterrupt

    save = api.Work.save
    with monkeypatch.context() as patch:
        patch.setattr(api.Work, "save", dies)
        assert call(capsys, table, "--out", tmp_path / "s", *flags)[0] == 130
    with monkeypatch.context() as patch:
        patch.setattr(api, "draw_batch", None)  # no text is drawn again
        patch.setattr(api, "head_tokens", None)
        patch.setattr(api, "begun", None)
        if stage != "fit":
            patch.setattr("fkdsl.models.surrogate.refining.refinement_begun", None)
        if stage == "head":
            patch.setattr("fkdsl.models.surrogate.head_fitting.head_begun", None)
        assert call(capsys, table, "--out", tmp_path / "s", *flags, "--resume")[0] == 0
    assert (tmp_path / "s").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_head_for_the_states_of_a_file(capsys, table, tmp_path):
    out = tmp_path / "s"
    assert call(capsys, table, "--out", out, *SMALL, "--head", 0)[0] == 0
    plain = read(out)
    assert plain.head is None
    made = tmp_path / "t"
    status, text, _ = call(capsys, table, "--out", made, "--from", out, *SMALL, "--states", 7)
    assert status == 0
    assert "with its head" in text
    assert read(made).states == 3
    assert read(made).head is not None
    assert read(made).about["passes"] == plain.about["passes"]
    (tmp_path / "other.fk").write_text(TABLE.replace('"b"', '"c"'))
    status, _, err = call(capsys, tmp_path / "other.fk", "--out", out, "--from", made)
    assert status == 2
    assert "--from is a surrogate of another vocabulary" in err


def test_texts_of_another_run_are_refused(capsys, table, tmp_path):
    assert call(capsys, table, "--out", tmp_path / "s", *SMALL, "--keep")[0] == 0
    more = ("--resume", "--seed", 5)
    status, _, err = call(capsys, table, "--out", tmp_path / "s", *SMALL, *more)
    assert status == 2
    assert "was made for another model, seed, length or corpus" in err
    part = next((tmp_path / "s.work").glob("sample-*"))
    part.write_bytes(part.read_bytes()[:-9])
    status, _, err = call(capsys, table, "--out", tmp_path / "s", *SMALL, "--resume")
    assert status == 2
    assert f"`{part}` is damaged" in err
    # Without --resume it begins again.
    assert call(capsys, table, "--out", tmp_path / "s", *SMALL)[0] == 0
    assert not (tmp_path / "s.work").exists()


def test_kept_texts_serve_a_fit_of_other_states(capsys, monkeypatch, table, tmp_path):
    out = tmp_path / "s"
    assert call(capsys, table, "--out", out, *SMALL, "--keep")[0] == 0
    monkeypatch.setattr(api, "draw_batch", None)
    assert call(capsys, table, "--out", out, *SMALL, "--resume", "--states", 2)[0] == 0
    assert read(out).states == 2


def test_texts_that_other_runs_have_kept_are_fitted_to_as_well(capsys, table, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for out, seed in ((one, 0), (two, 1)):
        assert call(capsys, table, "--out", out, *SMALL, "--keep", "--seed", seed)[0] == 0
    work, facts = tmp_path / "two.work", ("tokens", "held-out tokens")
    drawn = sum(read(out).about[name] for out in (one, two) for name in facts)
    more = ("--resume", "--keep", "--texts", work)
    assert call(capsys, table, "--out", one, *SMALL, *more)[0] == 0
    assert sum(read(one).about[name] for name in facts) == drawn
    for folder, message in ((tmp_path / "one.work", "are the run's own"), (tmp_path, "no texts")):
        status, _, err = call(capsys, table, "--out", one, *SMALL, "--resume", "--texts", folder)
        assert status == 2
        assert message in err
    more = ("--length", 3, "--texts", work)
    status, _, err = call(capsys, table, "--out", tmp_path / "three", *SMALL, *more)
    assert status == 2
    assert "was made for another model, seed, length or corpus" in err


def test_texts_go_on_from_the_lines_of_a_corpus(capsys, table, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.write_text("ab\n\nba\n")
    out = tmp_path / "s"
    assert call(capsys, table, "--out", out, *SMALL, "--corpus", corpus)[0] == 0
    assert read(out).about["prompts"] == "the empty one and 2 of the lines of a corpus"


def test_without_a_file_the_cache_has_it_and_the_model_finds_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    model = load_model("tiny")
    status, out, _ = call(
        capsys, "tiny", "--tokens", 48, "--length", 8, "--states", 4, "--passes", 1
    )
    assert status == 0
    assert str(cached_file(model)) in out
    surrogate = surrogate_for(model)
    assert surrogate.states == 4
    assert surrogate.fingerprint == model.vocabulary.fingerprint
    shutil.rmtree(tmp_path / "cache")
    assert surrogate_for(model).states == 256  # the one that ships with fkdsl


def test_a_byte_view_does_not_take_the_surrogate_of_its_model(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "table.fk").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    engines = Engines({}, CALLER)
    model, view = (engines.of_reference(name).model for name in ("table.fk", "bytes(table.fk)"))
    assert call(capsys, "table.fk", *SMALL)[0] == 0
    assert surrogate_for(model).states == 3
    assert surrogate_for(view) is None
    assert call(capsys, "bytes(table.fk)", *SMALL, "--states", 2)[0] == 0
    assert (surrogate_for(model).states, surrogate_for(view).states) == (3, 2)


def test_another_model_of_the_name_of_a_shipped_one_has_no_surrogate(monkeypatch, tmp_path):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    assert surrogate_for(TableModel("smollm2", {"": {"a": 1.0}})) is None
    assert surrogate_for(TableModel("tiny", {"": {"a": 1.0}})) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--states", "0"], "cannot have 0 states"),
        (["--states", "5000"], "cannot have 5000 states"),
        (["--tokens", "0"], "tokens 0 is too few"),
        (["--length", "0"], "length 0 is too few"),
        (["--length", "-1"], "length -1 is too few"),
        (["--passes", "0"], "passes 0 is too few"),
        (["--head", "-1"], "-1 passes are too few"),
        (["--from", "nowhere"], "there is no file `nowhere`"),
        (["--kind", "trigram"], "there is no kind `trigram`"),
        (["--corpus", "nowhere"], "--corpus nowhere cannot be read"),
        (["--out", "nowhere/s"], "there is no folder nowhere"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(capsys, table, tmp_path, flags, message):
    status, _, err = call(capsys, table, "--out", tmp_path / "s", *flags)
    assert status == 2
    assert message in err


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_file(capsys, table, tmp_path):
    flags = ["--tokens", "9000", "--length", "12", "--states", "3", "--passes", "40"]
    began = time.perf_counter()
    assert call(capsys, table, "--out", tmp_path / "whole", *flags)[0] == 0
    seconds = time.perf_counter() - began
    out, killed = tmp_path / "s", 0
    command = [sys.executable, "-m", "fkdsl", "distil", str(table), "--out", str(out), *flags]
    draw = np.random.default_rng(0)
    while not out.exists():
        # It is killed within half of the time that the whole takes after its first file.
        process = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL)
        parts = tmp_path / "s.work"
        before = len(list(parts.glob("*"))) if parts.exists() else 0
        while process.poll() is None and (
            not parts.exists() or len(list(parts.glob("*"))) == before
        ):
            time.sleep(0.01)
        time.sleep(float(draw.uniform(0, seconds / 2)))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed > 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()

"""Training: the order that saves memory has the same gradient, a resumed run is the uninterrupted
one, files are read and split as is said, and what is compared with is right."""

import math
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from fkdsl.base.errors import CallError
from fkdsl.models.tiny.checkpoint import read_model, read_run, save_run, save_weights
from fkdsl.models.tiny.data import Documents, check_length, read_documents, split_documents
from fkdsl.models.tiny.evaluation import gzip_bits, model_bits, ngram_bits, xz_bits
from fkdsl.models.tiny.training import (
    TrainingRun,
    TrainingSettings,
    backward_at_once,
    backward_by_heads,
    check_settings,
    longer,
    train,
)
from fkdsl.models.tiny.transformer import END, SYMBOLS, TinyShape, initialised

SHAPE = TinyShape(width=16, layers=2, heads=2, hidden=24, ahead=3, context=24)
SETTINGS = TrainingSettings(steps=12, rows=2, warm_up=3, seed=5)
TEXT = [f"line {i}: {'abc' * (i % 5)}".encode() for i in range(60)]
TRAINING, HELD_OUT = split_documents([TEXT], 0.2)


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_heads_in_turn_have_the_gradient_of_all_at_once(discount):
    found = []
    for backward in (backward_by_heads, backward_at_once):
        model = initialised(SHAPE, 1).double()
        symbols = torch.from_numpy(TRAINING.batch(0, 0, 4, 27))
        losses = backward(model, symbols, discount)
        found.append((losses, {n: p.grad for n, p in model.named_parameters()}))
    (losses, a), (others, b) = found
    assert np.abs(np.array(losses) - others).max() <= 1e-12
    for name, gradient in a.items():
        assert (gradient - b[name]).abs().max() <= 1e-12 * (1 + gradient.abs().max()), name
    assert all(g.abs().max() > 0 for g in a.values())  # every weight is trained


def test_a_trunk_cut_off_from_one_head_is_noticed():
    """The test above would catch an order that forgot a head's part of the trunk's gradient."""
    gradients = []
    for ahead in (3, 2):
        model = initialised(SHAPE, 1).double()
        symbols = torch.from_numpy(TRAINING.batch(0, 0, 4, 27))
        z = model.trunk(symbols[:, :24])
        torch.stack(
            [
                torch.nn.functional.cross_entropy(
                    model.head(k, z).flatten(0, 1), symbols[:, k : k + 24].flatten()
                )
                for k in range(1, ahead + 1)
            ]
        ).sum().backward()
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-4


# ------------------------------------------------------------------------- resuming


class Interrupted(Exception):
    pass


def trained(path, steps=12, stop=None, run=None, **options):
    """A run to its end, or to where it is interrupted; saved every four steps."""

    def watch(step, losses):
        if step == stop:
            raise Interrupted

    run = run or TrainingRun.begun(SHAPE, replace(SETTINGS, steps=steps), TRAINING.digest)
    try:
        return train(
            run,
            TRAINING,
            HELD_OUT,
            save=lambda r: save_run(r, path),
            every=4,
            observer=watch,
            **options,
        )
    except Interrupted:
        return read_run(path)


def same(a, b):
    tensors = zip(a.model.state_dict().items(), b.model.state_dict().items(), strict=True)
    return all(n == m and (s == t).all() for (n, s), (m, t) in tensors)


@pytest.mark.parametrize("stop", [5, 7, 11])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop, precision):
    settings = replace(SETTINGS, precision=precision)

    def fresh():
        return TrainingRun.begun(SHAPE, settings, TRAINING.digest)

    whole = trained(tmp_path / "whole", run=fresh())
    part = trained(tmp_path / "part", stop=stop, run=fresh())
    assert part.step == stop // 4 * 4
    part = trained(tmp_path / "part", run=part)
    assert same(whole, part)
    assert [(p.step, p.training, p.held_out) for p in whole.curve] == [
        (p.step, p.training, p.held_out) for p in part.curve
    ]


def test_a_run_made_longer_in_time_is_one_that_was_as_long_from_the_beginning(tmp_path):
    whole = trained(tmp_path / "whole", steps=20)
    part = trained(tmp_path / "part", steps=12, stop=8)
    part.settings = longer(part.settings, 20, part.step)
    assert same(whole, trained(tmp_path / "part", run=part))


def test_a_run_whose_rate_has_fallen_is_not_made_longer(tmp_path):
    run = trained(tmp_path / "run")
    with pytest.raises(CallError, match="learning rate"):
        longer(run.settings, 40, run.step)
    assert longer(run.settings, 12, run.step) == run.settings


def test_resuming_forgets_neither_the_optimizer_nor_the_windows(tmp_path):
    """Plants the two mistakes that the test of resuming is there for."""
    whole = trained(tmp_path / "whole")
    part = trained(tmp_path / "part", stop=5)
    part.optimizer.state.clear()
    assert not same(whole, trained(tmp_path / "part", run=part))
    part = trained(tmp_path / "part2", stop=5)
    part.settings = replace(part.settings, seed=6)
    assert not same(whole, trained(tmp_path / "part2", run=part))


def test_training_learns_and_every_head_does(tmp_path):
    run = trained(tmp_path / "run", steps=40)
    first, last = run.curve[0], run.curve[-1]
    assert all(b < a - 0.5 for a, b in zip(first.held_out, last.held_out, strict=True))
    assert len(last.training) == SHAPE.ahead


def test_the_rate_rises_stays_and_falls():
    s = TrainingSettings(steps=100, warm_up=10, cool_down=0.3, rate=1.0)
    rates = [s.rate_at(i) for i in range(100)]
    assert rates[0] == 0.1
    assert rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in pairwise(rates[70:]))
    assert rates[99] < 0.01
    assert s.windows_at(69, 60) == (18, 20)
    assert s.windows_at(70, 60) == (6, 60)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"rows": 0},
        {"rate": math.nan},
        {"cool_down": 2.0},
        {"seed": -1},
        {"short": 0},
        {"precision": "int8"},
    ],
)
def test_settings_that_no_run_can_have_are_call_errors(wrong):
    with pytest.raises(CallError):
        check_settings(replace(SETTINGS, **wrong))


def test_divergence_is_a_call_error(tmp_path):
    run = TrainingRun.begun(SHAPE, SETTINGS, TRAINING.digest)
    with torch.no_grad():
        run.model.lm_head.weight.fill_(math.nan)
    with pytest.raises(CallError, match="diverged"):
        trained(tmp_path / "run", run=run)


# ---------------------------------------------------------------------------- files


def test_weights_alone_are_the_runs(tmp_path):
    run = trained(tmp_path / "run")
    save_weights(run, tmp_path / "w", {}, torch.float32)
    x = torch.arange(20)[None]
    assert (read_model(tmp_path / "w")(x) == run.model(x)).all()
    assert (read_model(tmp_path / "run")(x) == run.model(x)).all()
    with pytest.raises(CallError, match="no checkpoint"):
        read_run(tmp_path / "w")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "w"]  # no scratch file is left


def test_a_write_that_breaks_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    run = trained(tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    monkeypatch.setattr(
        "os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(CallError, match="No space left"):
        save_run(run, tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_run_goes_on_with_its_own_text_only(tmp_path):
    run = trained(tmp_path / "run", stop=5)
    with pytest.raises(CallError, match="another text"):
        train(run, HELD_OUT, HELD_OUT, save=lambda r: None)


# ----------------------------------------------------------------------------- data


def test_documents_end_with_end_and_begin_after_it():
    found = Documents.of([b"ab", b"\xff", b"c"])
    assert found.symbols.tolist() == [END, 97, 98, END, 255, END, 99, END]
    assert found.starts.tolist() == [0, 3, 5]


def test_every_other_window_begins_a_document_and_the_others_reach_everything():
    documents = Documents.of([b"a" * 50, b"b" * 9])
    rows = np.concatenate([documents.batch(0, step, 6, 10) for step in range(200)])
    assert (rows[::2, 0] == END).all()
    begins = Counter("".join(chr(s) if s < 256 else "." for s in row) for row in rows[1::2])
    assert len(begins) == 13  # of 52 places, 40 alike within the first document
    assert (documents.batch(0, 3, 6, 10) == documents.batch(0, 3, 6, 10)).all()
    assert (documents.batch(0, 3, 6, 10) != documents.batch(0, 4, 6, 10)).any()


def test_files_and_folders_are_read_in_order_and_split_at_blank_lines(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "b.txt").write_bytes(b"\n\none\ntwo\n \n\nthree\r\n\r\nfour\n")
    (tmp_path / "folder" / "deep" / "a").write_bytes(b"\xff\xfe no UTF-8")
    (tmp_path / "last").write_bytes(b"")
    found = read_documents([tmp_path / "folder", tmp_path / "last"])
    assert found == [[b"one\ntwo", b"three", b"four"], [b"\xff\xfe no UTF-8"], []]
    assert read_documents([tmp_path / "folder"], "line")[0] == [b"one", b"two", b"three", b"four"]
    assert len(read_documents([tmp_path / "folder"], "file")[0]) == 2


def test_the_last_of_each_file_is_held_out():
    one, two = [b"x" * 10] * 20, [b"y" * 50, b"z" * 50]
    training, held_out = split_documents([one, two, [b"alone"], []], 0.1)
    assert len(training.starts) == 18 + 1 + 1
    assert bytes(s for s in held_out.symbols.tolist() if s < 256) == b"x" * 20 + b"z" * 50


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda d: read_documents([d / "absent"]), "no file or folder"),
        (lambda d: read_documents([d / "empty"]), "no text"),
        (lambda d: read_documents([d / "empty"], "word"), "kind `word`"),
        (lambda d: split_documents([[b"one"]], 0.1), "too few"),
        (lambda d: split_documents([[b"one", b"two"]], 1.5), "no share"),
        (lambda d: check_length(Documents.of([b"abc"]), 10, "training"), "has 4 bytes"),
    ],
)
def test_text_that_cannot_be_used_is_a_call_error(tmp_path, act, says):
    (tmp_path / "empty").write_bytes(b" \n\n ")
    with pytest.raises(CallError, match=says):
        act(tmp_path)


# ----------------------------------------------------------------------- evaluation


def test_bits_per_byte_count_each_symbol_once():
    model = initialised(replace(SHAPE, context=16), 2)
    documents = Documents.of([b"the sea " * 9])
    with torch.inference_mode():
        model.lm_head.weight.zero_()
    assert np.abs(np.array(model_bits(model, documents)) - math.log2(SYMBOLS)).max() <= 1e-5


@pytest.mark.parametrize("length", [5, 16, 17, 40, 71])
def test_windows_give_each_symbol_half_a_context(length):
    """Against one forward for each symbol, of the window that the docstring says."""
    model = initialised(replace(SHAPE, context=16), 2)
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    documents = Documents.of([bytes(range(60, 60 + length))])
    symbols = torch.from_numpy(documents.symbols.astype(np.int64))
    for k in range(1, 4):
        bits = []
        for i in range(len(symbols) - k):
            first = 0 if i < 16 else (i - 8) // 8 * 8
            if first > max(0, len(symbols) - 8 - 3):
                first -= 8
            if i - first >= 16:
                continue
            with torch.inference_mode():
                row = model.head(k, model.trunk(symbols[None, first : i + 1]))[0, -1].log_softmax(
                    -1
                )
            bits.append(-row[symbols[i + k]].item() / math.log(2))
        assert abs(model_bits(model, documents)[k - 1] - np.mean(bits)) <= 1e-5


def test_the_ngram_is_the_formula_counted_by_hand():
    training, held_out = Documents.of([b"abracadabra", b"bar"]), Documents.of([b"abra", b"xcab"])
    for n in (1, 2, 3, 5):
        counts, after = Counter(), defaultdict(set)
        seen = training.symbols.tolist()
        for i in range(1, len(seen)):
            for size in range(min(n, i + 1)):
                h = tuple(seen[i - size : i])
                counts[h, seen[i]] += 1
                after[h].add(seen[i])

        def p(h, x, counts=counts, after=after):
            total = sum(c for (g, _), c in counts.items() if g == h)
            lower = p(h[1:], x) if h else 1 / SYMBOLS
            return (
                lower
                if total == 0
                else (counts[h, x] + len(after[h]) * lower) / (total + len(after[h]))
            )

        tested = held_out.symbols.tolist()
        bits = [
            -math.log2(p(tuple(tested[max(0, i - n + 1) : i]), tested[i]))
            for i in range(1, len(tested))
        ]
        assert abs(ngram_bits(training, held_out, n) - np.mean(bits)) <= 1e-10


def test_compressors_gain_by_what_they_have_seen():
    rng = np.random.default_rng(0)
    text = [bytes(rng.integers(0, 256, 400, dtype=np.uint8)) for _ in range(4)]
    a, b = Documents.of(text), Documents.of(text[1:2])
    assert gzip_bits(b) > 8
    assert xz_bits(b) > 8
    assert xz_bits(b, a) < 2

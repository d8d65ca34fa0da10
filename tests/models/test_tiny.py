"""The byte-level model: the plain transformer, the fast decoder of its weights, and the model that
ships."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fkdsl.base.errors import CallError, ModelUnavailable
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import SHIPPED, list_models, load_model, model_info, pull
from fkdsl.models.tiny.checkpoint import read_model
from fkdsl.models.tiny.header import read_facts
from fkdsl.models.tiny.model import TINY_VOCABULARY, decoder_shape
from fkdsl.models.tiny.transformer import (
    END,
    SYMBOLS,
    TinyShape,
    attended,
    initialised,
    rotated,
    turns,
    weight_shapes,
)
from fkdsl.models.tokenized import ModelTexts

SHAPE = TinyShape(width=32, layers=3, heads=2, hidden=48, ahead=3, context=80)


def drawn(shape=SHAPE, seed=3):
    """A transformer whose rows are far from uniform, and its norms from one."""
    model = initialised(shape, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0) if p.ndim == 2 else p.add_(torch.randn_like(p) * 0.3)
        model.lm_head.weight.mul_(10.0)
    return model.eval()


def fast(model):
    decoder = Decoder(decoder_shape(model.shape), model.state_dict(), "float32")
    return DecoderModel(
        decoder,
        ModelTexts(TINY_VOCABULARY, lambda text: list(text.encode()), bos=END, prefix=(END,)),
    )


@pytest.mark.parametrize(
    "shape", [SHAPE, replace(SHAPE, heads=4, layers=1, ahead=1), replace(SHAPE, theta=300.0)]
)
def test_the_fast_decoder_is_the_plain_transformer(shape):
    model = drawn(shape)
    ids = [END, *random.Random(1).choices(range(256), k=shape.context - 1)]
    with torch.inference_mode():
        logits, _ = fast(model).decoder.forward(
            [ForwardRow(None, tuple(ids), tuple(range(len(ids))))]
        )
        plain = model(torch.tensor([ids]))[0]
    assert (plain - logits).abs().max() <= 1e-4 * plain.abs().max()
    assert (
        plain.softmax(-1).max() > 0.2
    )  # a wrong decoder could not meet it by being nearly uniform


def test_cached_is_uncached():
    model, rng = drawn(), random.Random(2)
    engine = CachedTransformer(fast(model))
    held = [engine.start("ab"), engine.start("")]
    for _ in range(12):
        rows = engine.log_probs(held)
        for context, row in zip(held, rows, strict=True):
            with torch.inference_mode():
                plain = model(torch.tensor([context.tokens]))[0, -1].log_softmax(-1).numpy()
            assert np.abs(np.exp(row) - np.exp(plain)).max() <= 1e-5
        held = [engine.extend(c, rng.choices(range(256), k=rng.choice((1, 1, 3)))) for c in held]
        held.append(engine.extend(rng.choice(held), (rng.randrange(256),)))
        held = held[-4:]


def test_attention_is_its_sum_written_out():
    q, k, v = torch.randn(
        3, 1, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).unbind()
    for h in range(2):
        for t in range(5):
            weights = torch.stack([torch.exp(q[0, h, t] @ k[0, h, s] / 2.0) for s in range(t + 1)])
            y = sum(w * v[0, h, s] for s, w in enumerate(weights / weights.sum()))
            assert (attended(q, k, v)[0, h, t] - y).abs().max() <= 1e-12


def test_products_of_rotated_vectors_depend_on_their_distance_alone():
    cos, sin = turns(SHAPE, 40)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0)).expand(
        2, 1, 1, 40, 16
    )
    products = rotated(q, cos, sin)[0, 0] @ rotated(k, cos, sin)[0, 0].T
    for distance in (1, 7):
        assert products.diagonal(distance).std() <= 1e-5 * products.abs().max()
    assert products[0].std() > 0.1 * products.abs().max()  # and they do depend on it


def test_no_head_sees_what_it_predicts():
    model = drawn()
    x = torch.randint(0, 256, (1, 20), generator=torch.Generator().manual_seed(1))
    y = x.clone()
    y[0, 12] += 1 if y[0, 12] < 255 else -1
    with torch.inference_mode():
        for k in range(1, 4):
            a, b = (model.head(k, model.trunk(s))[0] for s in (x, y))
            assert (a[:12] == b[:12]).all()
            assert (a[12:] != b[12:]).any()


def test_weights_have_the_names_and_shapes_that_files_are_held_to():
    assert weight_shapes(SHAPE) == {n: tuple(t.shape) for n, t in drawn().state_dict().items()}


def test_heads_differ():
    model = drawn()
    with torch.inference_mode():
        z = model.trunk(torch.arange(20)[None])
        first, second = model.head(1, z), model.head(2, z)
    assert (first - second).abs().max() > 0.1


# ------------------------------------------------------------------ the model that ships


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def test_every_byte_is_a_token_and_every_text_round_trips(tiny):
    text = "Größe, 大きさ, \x00\u200d🙂"
    assert tiny.vocabulary.size == SYMBOLS
    assert tiny.vocabulary.text(tiny.encode(text)) == text
    assert tiny.start(text) == (END, *text.encode())
    assert tiny.start("") == (END,)
    assert tiny.vocabulary.text(tiny.encode("é")[:1]) == ""  # half a character is held back
    assert tiny.vocabulary.ends == {END}


def test_the_shipped_weights_know_their_text(tiny):
    engine = CachedTransformer(tiny)
    text = "What, is the king abroad?"
    contexts = [engine.start(text[:i]) for i in range(len(text))]
    bits = [
        -row[b] / np.log(2)
        for row, b in zip(engine.log_probs(contexts), text.encode(), strict=True)
    ]
    assert np.mean(bits) < 3.0  # uniform: 8
    # A speech ends after its last full stop rather than in a word.
    ends = np.exp(
        [
            row[END]
            for row in engine.log_probs(
                [engine.start("ROMEO\nI do.\nAy."), engine.start("ROMEO\nI d")]
            )
        ]
    )
    assert ends[0] > 0.1
    assert ends[1] < 0.01


def test_the_shipped_decoder_is_the_shipped_transformer(tiny):
    model, ids = read_model(SHIPPED["tiny"]), (END, *b"The sea, my lord, is")
    row = tiny.forward([ForwardRow(None, ids, tuple(range(len(ids))))])[0].log_probs
    with torch.inference_mode():
        plain = model(torch.tensor([ids]))[0].log_softmax(-1).numpy()
    assert np.abs(row - plain).max() <= 1e-4


def test_the_shipped_file_tells_what_made_it():
    made = read_facts(SHIPPED["tiny"])["made"]
    assert made["command"].startswith("fkdsl train --text")
    assert "--seed" in made["command"]
    assert "public domain" in made["text"]
    assert SHIPPED["tiny"].stat().st_size < 5_000_000
    info = model_info("tiny")
    assert info.here
    assert info.kind == "shipped"
    assert info.details["command"] == made["command"]
    assert pull("tiny") == info
    assert "tiny" in [entry.name for entry in list_models()]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_precisions_are_near(tiny, dtype):
    row = ForwardRow(None, (END, *b"My lord,"), (8,))
    a, b = (m.forward([row])[0].log_probs for m in (tiny, load_model("tiny", dtype=dtype)))
    assert np.abs(np.exp(a) - np.exp(b)).max() <= 0.03


def test_a_run_on_tiny_needs_no_network_no_cache_and_no_heavy_import(tmp_path):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from fkdsl.cli.main import main\n"
        "assert main(['run', 'programs/short_words.fk', '--model', 'tiny']) == 0\n"
        "slow = {'transformers', 'tokenizers', 'huggingface_hub', 'torch._dynamo', 'sympy'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "FKDSL_CACHE": str(tmp_path / "none"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    # The trace that is kept of a run goes when the run has ended.
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_telling_about_tiny_imports_no_torch():
    code = (
        "from fkdsl.models.registry import model_info; model_info('tiny'); "
        "import sys; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_model_that_cannot_be_had_names_tiny_and_is_not_replaced_by_it(monkeypatch, tmp_path):
    from fkdsl.models.smollm2 import SMOLLM2

    def refuse(*args):
        raise OSError("no network")

    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path))
    monkeypatch.setitem(
        __import__("fkdsl.models.registry", fromlist=["ALIASES"]).ALIASES,
        "smollm2",
        replace(
            SMOLLM2, peak_bytes=0, sources=tuple(replace(s, fetch=refuse) for s in SMOLLM2.sources)
        ),
    )
    with pytest.raises(ModelUnavailable) as caught:
        load_model("smollm2")
    assert "--model tiny" in caught.value.help


# --------------------------------------------------------------------------- bad files


def changed(tmp_path, change):
    """The shipped file with its tensors or facts changed."""
    from fkdsl.models.tiny.files import read_model_file, write_model_file

    facts, _, tensors = read_model_file(SHIPPED["tiny"])
    change(facts, tensors)
    write_model_file(tmp_path / "changed.safetensors", tensors, facts)
    return tmp_path / "changed.safetensors"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f, t: f["shape"].update(width=64), "of another shape"),
        (lambda f, t: f["shape"].update(layers=6), "model.layers.5"),
        (lambda f, t: f["shape"].update(layers=10**9), "does not say of what shape"),
        (lambda f, t: f["shape"].update(heads=7), "does not go into"),
        (lambda f, t: f.update(shape=None), "does not say of what shape"),
        (lambda f, t: t.pop("lm_head.weight"), "lm_head.weight is not there"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path, change, says):
    with pytest.raises(CallError, match=says):
        load_model(str(changed(tmp_path, change)))


@pytest.mark.parametrize("keep", [0, 7, 500, 0.5])
def test_a_truncated_file_is_refused(tmp_path, keep):
    raw = SHIPPED["tiny"].read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(raw[: keep if isinstance(keep, int) else int(len(raw) * keep)])
    with pytest.raises(CallError, match=r"not a safetensors file|damaged"):
        load_model(str(path))
    assert model_info(str(path)).problem


def test_safetensors_of_someone_else_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CallError, match="not written by fkdsl train"):
        load_model(str(tmp_path / "other.safetensors"))

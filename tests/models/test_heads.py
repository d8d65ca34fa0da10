"""Heads in the fast decoder against the plain transformer, links by their formula, and what they
are for: drafts."""

import random
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow, HasHeads, Past
from fkdsl.models.linear import packs
from fkdsl.models.registry import SHIPPED, load_model
from fkdsl.models.tiny.checkpoint import read_links, read_model, save_links
from fkdsl.models.tiny.data import Documents
from fkdsl.models.tiny.evaluation import draft_quality, model_bits
from fkdsl.models.tiny.files import read_model_file, write_model_file
from fkdsl.models.tiny.links import ORDER, Links, fitted, link_shapes
from fkdsl.models.tiny.model import load_bytes
from fkdsl.models.tiny.training import backward_by_heads
from fkdsl.models.tiny.transformer import END, SYMBOLS, TinyShape, initialised

SHAPE = TinyShape(width=32, layers=3, heads=2, hidden=48, ahead=4, context=80)


def drawn(shape=SHAPE, seed=3):
    """A transformer whose rows are far from uniform, and its norms from one; and links as large."""
    model, links = initialised(shape, seed), Links(shape)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0) if p.ndim == 2 else p.add_(torch.randn_like(p) * 0.3)
        model.lm_head.weight.mul_(10.0)
        for p in links.parameters():
            p.normal_()
    return model.eval(), links


def saved(path, model, links=None):
    """A file of a model, in float32."""
    write_model_file(
        path, model.state_dict(), {"shape": vars(model.shape), "made": {"command": "none"}}
    )
    if links is not None:
        save_links(links, path, {"links": "drawn"})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(plain transformer, links, what `load_bytes` makes of their file)."""
    model, links = drawn()
    return (
        model,
        links,
        load_bytes(saved(tmp_path_factory.mktemp("heads") / "m.safetensors", model, links)),
    )


def plain_heads(model, ids):
    """(n, T, V) logits of all heads of the plain file."""
    with torch.inference_mode():
        z = model.trunk(torch.tensor([ids]))
        return np.stack([model.head(k, z)[0].numpy() for k in range(1, model.shape.ahead + 1)])


def close(a, b):
    return np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())


# --------------------------------------------------------------------------- the heads


def test_the_heads_are_the_plain_transformers(made):
    model, _, fast = made
    ids = (END, *random.Random(1).choices(range(256), k=60))
    (answer,) = fast.with_heads().forward([ForwardRow(None, ids, tuple(range(len(ids))))])
    plain = plain_heads(model, ids)
    assert close(np.asarray(answer.head_outputs), plain[1:].transpose(1, 0, 2))
    assert np.abs(plain[1] - plain[2]).max() > 1.0  # heads that were exchanged would be noticed


def test_looking_ahead_leaves_the_rows_as_they_are(made):
    _, _, fast = made
    heads_model, rng = fast.with_heads(), random.Random(2)
    rows = [
        ForwardRow(None, tuple(rng.choices(range(257), k=n)), wanted)
        for n, wanted in ((9, (2, 8)), (1, (0,)), (5, ()))
    ]
    for a, b in zip(fast.forward(rows), heads_model.forward(rows), strict=True):
        assert a.log_probs.shape == b.log_probs.shape
        assert np.abs(a.log_probs - b.log_probs).max(initial=0.0) <= 1e-4
        assert len(b.head_outputs) == len(b.log_probs)
    assert isinstance(fast, HasHeads)
    assert heads_model.reach == 3
    assert heads_model.describe() == fast.describe()


def test_any_split_into_past_and_new_has_the_same_heads(made):
    """Rows of several lengths in one batch, of which some positions, all or none are wanted."""
    model, _, fast = made
    heads_model, rng = fast.with_heads(), random.Random(4)
    texts = [tuple(rng.choices(range(257), k=24)) for _ in range(4)]
    plain = [plain_heads(model, ids)[1:] for ids in texts]
    pasts, at = [None] * 4, [0] * 4
    seen = 0
    while any(i < 24 for i in at):
        live = [i for i in range(4) if at[i] < 24]
        rows = []
        for i in live:
            new = min(24 - at[i], rng.choice((1, 1, 2, 7)))
            wanted = sorted(rng.sample(range(new), rng.randrange(new + 1)))
            rows.append(ForwardRow(pasts[i], texts[i][at[i] : at[i] + new], tuple(wanted)))
        for i, row, answer in zip(live, rows, heads_model.forward(rows), strict=True):
            for w, heads in zip(row.wanted, answer.head_outputs, strict=True):
                assert close(heads, plain[i][:, at[i] + w])
                seen += 1
            at[i] += len(row.tokens)
            pasts[i] = Past(answer.segment, len(row.tokens))
    assert seen > 20


def test_positions_that_nobody_wanted_are_seen_by_those_after_them(made):
    """The heads' own keys and values are written for all: without them this would differ by far."""
    model, _, fast = made
    ids = tuple(random.Random(5).choices(range(256), k=12))
    heads_model = fast.with_heads()
    (first,) = heads_model.forward([ForwardRow(None, ids[:11], ())])
    (second,) = heads_model.forward([ForwardRow(Past(first.segment, 11), ids[11:], (0,))])
    assert close(second.head_outputs[0], plain_heads(model, ids)[1:, 11])
    shuffled = (*ids[:11][::-1], ids[11])
    assert not close(second.head_outputs[0], plain_heads(model, shuffled)[1:, 11])


def test_the_engine_keeps_the_heads_with_their_row(made):
    model, _, fast = made
    engine = CachedTransformer(fast.with_heads())
    a = engine.start("ab")
    b = engine.extend(a, b"cd")
    engine.log_probs([b])
    engine.log_probs([a])
    for context in (a, b):
        assert close(engine.head_outputs(context), plain_heads(model, context.tokens)[1:, -1])
    engine.log_probs([engine.extend(b, b"e")])
    assert fast.with_heads().pool.used > 0
    del engine, a, b, context
    assert fast.with_heads().pool.used == 0  # its slots are its own, and go back


def test_a_forward_with_heads_costs_their_weights_and_planes(made):
    model, _, fast = made
    a, b = fast.cost, fast.with_heads().cost
    blocks = sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("heads.") and p.ndim == 2
    )
    unembeddings = 3 * SYMBOLS * SHAPE.width  # read once for each further head, though held once
    assert b.linear + b.head - a.linear - a.head == blocks + unembeddings
    assert b.weight_bytes - a.weight_bytes == 4 * blocks
    assert b.slot_bytes == fast.with_heads().pool.slot_bytes == 2 * a.slot_bytes


def test_a_file_with_one_head_cannot_look_ahead(tmp_path):
    fast = load_bytes(saved(tmp_path / "one.safetensors", drawn(replace(SHAPE, ahead=1))[0]))
    with pytest.raises(CallError, match="has one head") as caught:
        fast.with_heads()
    assert "--ahead 4" in caught.value.help


# --------------------------------------------------------------------------- the links


def test_drafts_are_the_formula(made):
    model, links, fast = made
    ids = tuple(b"The sea")
    heads_model = fast.with_heads()
    (answer,) = heads_model.forward([ForwardRow(None, ids, (4, 6))])
    tokens = [t for k in (1, 2, 3) for t in product((101, 32, END), repeat=k)]
    asked = [(heads, t) for heads in answer.head_outputs for t in tokens]
    found = heads_model.draft_log_probs(asked)
    plain, where = plain_heads(model, ids), [4] * len(tokens) + [6] * len(tokens)
    for at, (_, t), row in zip(where, asked, found, strict=True):
        k, table = len(t) + 1, links[str(len(t) + 1)].weight.detach().half().float().numpy()
        logits = plain[k - 1, at].astype(np.float64)
        for h in range(1, min(k - 1, 2) + 1):
            logits += table[h - 1, t[-h]]
        expected = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        assert row.shape == (SYMBOLS,)
        assert row.dtype == np.float32
        assert close(row, expected)
        assert abs(np.exp(row.astype(np.float64)).sum() - 1) <= 1e-5
    assert [r.tolist() for r in heads_model.draft_log_probs(asked[::-1])[::-1]] == [
        r.tolist() for r in found
    ]
    assert heads_model.draft_log_probs([]) == []


def test_links_in_training_are_those_of_drafts(made):
    """`Links.added` at a position gives the rows that `draft_log_probs` adds after the text's own
    tokens."""
    model, links, fast = made
    ids, T = tuple(random.Random(7).choices(range(257), k=20)), 14
    with torch.no_grad():
        added = {k: links.added(k, torch.tensor([ids]), T)[0].numpy() for k in (2, 3, 4)}
    heads_model = fast.with_heads()
    (answer,) = heads_model.forward([ForwardRow(None, ids, tuple(range(T)))])
    plain = plain_heads(model, ids)
    for k in (2, 3, 4):
        rows = heads_model.draft_log_probs(
            [(heads, ids[t + 1 : t + k]) for t, heads in enumerate(answer.head_outputs)]
        )
        logits = torch.from_numpy(plain[k - 1, :T] + added[k])
        assert (
            np.abs(np.stack(rows) - logits.log_softmax(-1).numpy()).max() <= 1e-2
        )  # of float16 in the file


def test_a_file_without_links_drafts_by_the_heads_alone(tmp_path):
    model, _ = drawn()
    fast = load_bytes(saved(tmp_path / "m.safetensors", model)).with_heads()
    (answer,) = fast.forward([ForwardRow(None, (END, 97), (1,))])
    (row,) = fast.draft_log_probs([(answer.head_outputs[0], (1, 2))])
    logits = torch.from_numpy(answer.head_outputs[0][1])
    assert close(row, logits.log_softmax(-1).numpy())
    assert read_links(tmp_path / "m.safetensors") is None


@cache
def toy(n=400, seed=0):
    """Words of two letters of which the second follows from the first: `qu`, `xy`, ...; a head that
    sees neither letter of the next word cannot know that they belong together."""
    rng = random.Random(seed)
    return Documents.of(
        [b" ".join(rng.choice((b"qu", b"xy", b"ab", b"mn")) for _ in range(8)) for _ in range(n)]
    )


def learned(steps, rate, **options):
    """(a model whose first head has learned the toy text, links fitted to it)."""
    shape = TinyShape(width=16, layers=1, heads=1, hidden=24, ahead=3, context=24)
    model = initialised(shape, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(60):
        optimizer.zero_grad()
        backward_by_heads(model, torch.from_numpy(toy().batch(0, step, 8, 27)), 1.0)
        optimizer.step()
    return model, fitted(model, toy(), steps=steps, rows=4, seed=2, rate=rate, **options)


def test_links_learn_what_the_heads_cannot_see():
    told = []
    model, links = learned(30, 0.5, observer=lambda step, kept: told.append((step, kept)))
    assert [step for step, _ in told] == list(range(1, 31))
    assert all(b > a + 0.1 for a, b in zip(told[0][1], told[-1][1], strict=True))
    zero, linked = draft_quality(model, [Links(model.shape), links], toy(60, seed=9))
    assert all(a < b - 0.5 for a, b in zip(linked.bits, zero.bits, strict=True))
    assert linked.tokens > zero.tokens + 0.2


def test_fitting_leaves_trunk_and_heads_alone_and_is_the_same_twice():
    model, links = learned(2, 0.5)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    again = fitted(model, toy(), steps=2, rows=4, seed=2, rate=0.5)
    assert all(t.equal(before[n]) for n, t in model.state_dict().items())
    assert all(a.equal(b) for a, b in zip(links.parameters(), again.parameters(), strict=True))
    other = fitted(model, toy(), steps=2, rows=4, seed=3, rate=0.5)
    assert not all(a.equal(b) for a, b in zip(links.parameters(), other.parameters(), strict=True))
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(CallError, match="is \\[nan"):
        fitted(model, toy(), steps=2, rows=4, seed=3)


def test_a_draft_is_measured_by_its_formula():
    """Accepted bytes and tokens a round, position by position; where a draft is p itself every byte
    is kept."""
    model, links = drawn(replace(SHAPE, context=20, ahead=3))
    documents = toy(6)
    symbols = documents.symbols.astype(np.int64)
    found = draft_quality(model, [Links(model.shape), links], documents)
    kept, tokens = [], []
    for first in range(0, len(symbols) - 10 - 3 + 1, 10):
        window = symbols[first : first + 20]
        p = (
            torch.from_numpy(plain_heads(model, window.tolist()))
            .double()
            .log_softmax(-1)
            .exp()
            .numpy()
        )
        for t in range(0 if first == 0 else 10, len(window) - 2):
            if first + t + 3 >= len(symbols):
                continue
            a = []
            for k in (2, 3):
                logits = np.log(p[k - 1, t])
                for h in range(1, k):
                    logits = (
                        logits
                        + links[str(k)].weight[h - 1, symbols[first + t + k - h]].detach().numpy()
                    )
                q = np.exp(logits) / np.exp(logits).sum()
                a.append(np.minimum(q, p[0, t + k - 1]).sum())
            kept.append(a)
            tokens.append(1 + a[0] + a[0] * a[1])
    assert np.abs(np.array(found[1].accepted) - np.mean(kept, axis=0)).max() <= 1e-5
    assert abs(found[1].tokens - np.mean(tokens)) <= 1e-5
    assert found[0].tokens != found[1].tokens
    short = draft_quality(model, [links], documents, most=60)[0]
    assert 1 < short.tokens < 3


# ----------------------------------------------------------------------- files and tiny


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t.update({"links.3.weight": t["links.3.weight"][:1].clone()}),
            "links.3.weight is",
        ),
        (
            lambda t: t.update({"links.2.weight": t["links.2.weight"][:, :256].clone()}),
            "links.2.weight is",
        ),
        (lambda t: t.pop("links.4.weight"), "links.4.weight is not there"),
    ],
)
def test_links_of_another_shape_are_refused(tmp_path, change, says):
    facts, _, tensors = read_model_file(SHIPPED["tiny"])
    change(tensors)
    write_model_file(tmp_path / "changed.safetensors", tensors, facts)
    with pytest.raises(CallError, match=says):
        load_bytes(tmp_path / "changed.safetensors")


def test_a_file_cut_off_in_its_links_is_refused(tmp_path):
    path = saved(tmp_path / "m.safetensors", *drawn())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CallError, match="damaged"):
        load_bytes(path)


def test_links_are_put_beside_weights_that_stay_as_they_are(tmp_path):
    model, links = drawn()
    path = saved(tmp_path / "m.safetensors", model)
    bare, before = read_model_file(path)[2], load_bytes(path).describe()["digest"]
    for table in (links, drawn(seed=8)[1]):  # the second in the first one's place
        save_links(table, path, {"links": "drawn"})
        facts, shape, tensors = read_model_file(path)
        assert set(tensors) == set(bare) | set(link_shapes(shape))
        assert all(tensors[n].equal(t) and tensors[n].dtype == t.dtype for n, t in bare.items())
        assert facts["made"] == {"command": "none", "links": "drawn"}
        kept = read_links(path).state_dict()
        assert all((kept[n] - t).abs().max() <= 1e-2 for n, t in table.state_dict().items())
    assert load_bytes(path).describe()["digest"] == before  # prefill files stay good


def test_the_shipped_heads_and_links_draft_the_plays():
    tiny = load_model("tiny")
    heads_model, model = tiny.with_heads(), read_model(SHIPPED["tiny"])
    ids = (END, *b"What, is the king abroad?")
    (answer,) = heads_model.forward([ForwardRow(None, ids, tuple(range(len(ids))))])
    assert (
        np.abs(
            np.asarray(answer.head_outputs) - plain_heads(model, ids)[1:].transpose(1, 0, 2)
        ).max()
        <= 1e-4
    )
    text = Documents.of(
        [b"My lord, I will not be gone, and the people shall\nnot know the king from his crown."]
    )
    zero, linked = draft_quality(model, [Links(model.shape), read_links(SHIPPED["tiny"])], text)
    assert all(a < b - 0.3 for a, b in zip(linked.bits, zero.bits, strict=True))
    assert linked.tokens > zero.tokens + 0.2
    assert (
        max(abs(a - b) for a, b in zip(zero.bits, model_bits(model, text)[1:], strict=True)) < 0.3
    )
    assert SHIPPED["tiny"].stat().st_size < 4_200_000
    assert len(read_links(SHIPPED["tiny"])["4"].weight) == ORDER


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "int8", "int4"])
def test_other_precisions_draft_alike(dtype):
    if not packs(dtype):
        pytest.skip(f"this machine has no linear maps in {dtype}")
    row, tokens = ForwardRow(None, (END, *b"My lord,"), (3, 8)), (32, 104)
    rows = []
    for model in (load_model("tiny"), load_model("tiny", dtype=dtype)):
        heads_model = model.with_heads()
        (answer,) = heads_model.forward([row])
        drafted = heads_model.draft_log_probs([(heads, tokens) for heads in answer.head_outputs])
        rows.append(np.exp(drafted))
    assert np.abs(rows[0] - rows[1]).max() <= (0.3 if dtype == "int4" else 0.05)
    assert np.abs(rows[1].sum(axis=1) - 1).max() <= 1e-5

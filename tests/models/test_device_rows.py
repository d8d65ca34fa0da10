"""Rows on a device: the same numbers as in this machine's memory, with one transfer a step. The
device here is the processor itself."""

import threading
import weakref

import numpy as np
import pytest
import torch

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.base.probability_blocks import BLOCK, ProbabilityBlocks
from fkdsl.base.random import KeyedRng
from fkdsl.models import registry, tokenized
from fkdsl.models.device import drawn as device_drawn
from fkdsl.models.device import masks as device_masks
from fkdsl.models.device import reads as device_reads
from fkdsl.models.device import transfer
from fkdsl.models.device.drawn import read_drawn
from fkdsl.models.device.masks import DeviceMasks
from fkdsl.models.device.reads import Wanted, read
from fkdsl.models.device.row_operators import PlainRowOperators, block_sums_of, unpacked
from fkdsl.models.device.rows import rows_on_device
from fkdsl.models.registry import load_model
from fkdsl.proposals import token_draws
from tests.models.test_decode_step import NoWaiting

V = 1000
"""Not a multiple of a block."""
PROGRAMS = {
    "masks of the token": 'while lm.tokens < 12 and not lm.done:\n        t ~ lm\n'
    "        condition all(letters(w) <= 5 for w in words(lm.text))",
    "no condition": "while lm.tokens < 12 and not lm.done:\n        t ~ lm",
    "an automaton": 's ~ text(lm, until="\\n", max_tokens=16)\n    condition len(words(s)) == 3',
    "options, and a text that is observed": 'c ~ choice(lm, [" A", " The"])\n'
    '    observe " man" ~ lm\n    factor logprob(lm, " is")',
}  # fmt: skip


def run(name, **options):
    text = f'model "tiny"\nprogram p() -> str:\n    lm = prompt("KING")\n    {PROGRAMS[name]}\n'
    return fkdsl.parse(text + "    return lm.text\n").run("smc", particles=8, seed=3, **options)


@pytest.fixture
def on_device(monkeypatch):
    def switch(on=True):
        monkeypatch.setattr(tokenized, "stays", lambda device: on)
        monkeypatch.setattr(transfer, "TRANSFERS", [0])
        return transfer.TRANSFERS

    return switch


@pytest.mark.parametrize(
    ("name", "lookahead"), [*((name, "none") for name in PROGRAMS), ("an automaton", "both")]
)
def test_a_run_is_the_same_to_the_last_digit_with_one_transfer_a_forward(
    name, lookahead, on_device, monkeypatch
):
    """With rows and sums in this machine's memory that the device's operators compute: numpy's
    differ in the last bit."""
    on_device(False)
    with monkeypatch.context() as patch:
        patch.setattr(tokenized, "log_softmax", log_softmax)
        patch.setattr(tokenized, "masked_block_sums", masked_block_sums)
        plain = run(name, lookahead=lookahead)
    transfers = on_device()
    there = run(name, lookahead=lookahead)
    assert there.log_z == plain.log_z
    assert there.posterior == plain.posterior
    # The last row of a text is read a token at a time where texts are scored.
    assert transfers[0] <= there.model_calls + (8 if "options" in name else 0)


def log_softmax(logits, fault, overwrite):
    log_p, sums = PlainRowOperators().normalised(torch.from_numpy(logits))
    return log_p.numpy(), sums.double().numpy()


def masked_block_sums(rows, masks):
    of_rows = torch.from_numpy(np.stack(rows)).exp_() * torch.from_numpy(np.stack(masks))
    return list(block_sums_of(of_rows).double().numpy())


def rows_of(n, seed=0, size=V):
    logits = torch.randn((n, size), generator=torch.Generator().manual_seed(seed)) * 3
    (some,) = rows_on_device(logits, lambda: CallError("NaN"), [n])
    return some, torch.log_softmax(logits, -1).numpy()


def test_it_is_used_like_an_array():
    some, plain = rows_of(3)
    row, expected = some[1], plain[1]
    ids = np.array([7, 999, 256])
    assert (len(row), row.shape, row.dtype, row.nbytes) == (V, (V,), np.float32, 4 * V)
    none = slice(600, 500)
    for part in (none, slice(256, 512), slice(768, V), slice(5, 900), slice(0, V, 7), ids, 3, -1):
        assert np.shape(row[part]) == np.shape(expected[part]), part
        assert np.allclose(row[part], expected[part], atol=2e-6), part
    assert np.allclose(np.exp(row) + row, np.exp(expected) + expected, atol=1e-5)
    assert np.allclose(row[: V // BLOCK * BLOCK].reshape(-1, BLOCK)[np.array([2, 0])],
                       expected[:768].reshape(-1, BLOCK)[[2, 0]], atol=2e-6)  # fmt: skip
    assert np.allclose(np.stack(some), plain, atol=2e-6)
    assert row.argmax() == expected.argmax()


def test_blocks_that_are_named_and_those_of_every_draw_of_a_row_are_read_at_once(on_device):
    some, plain = rows_of(2, size=40 * BLOCK + 3)
    transfers = on_device()
    streams = [0.0, 0.3, 0.999]
    read([Wanted(some[0], None, None, u, blocks=(40, 7)) for u in streams] + [Wanted(some[1])])
    assert transfers == [1]
    sums = ProbabilityBlocks.of_logs(some[0], some[0].sums).sums.cumsum()
    for k in (40, 7, *(int(sums.searchsorted(u * sums[-1], side="right")) for u in streams)):
        part = slice(k * BLOCK, (k + 1) * BLOCK)
        assert np.allclose(some[0][part], plain[0][part], atol=2e-6)
    assert transfers == [1]


def test_after_one_read_a_population_draws_without_another(on_device):
    some, plain = rows_of(40)
    rng = np.random.default_rng(5)
    masks = [None, rng.random(V) < 0.5, rng.random(V) < 0.9]
    streams = [KeyedRng(7).split(i) for i in range(40)]
    wanted = [Wanted(some[i], masks[i % 3], None, s.peek()) for i, s in enumerate(streams)]
    transfers = on_device()
    sums = read(wanted)
    assert transfers == [1]
    for i, (w, stream, masked) in enumerate(zip(wanted, streams, sums, strict=True)):
        p = np.exp(plain[i].astype(np.float64)) * (1.0 if w.mask is None else w.mask)
        blocks = (
            ProbabilityBlocks.of_logs(w.row, w.row.sums)
            if w.mask is None
            else ProbabilityBlocks.of_masked(w.row, w.mask, masked)
        )
        assert blocks.mass() == pytest.approx(p.sum(), rel=1e-5)
        assert stream.choice(blocks) == KeyedRng(7).split(i).choice(p)
    assert transfers == [1]


@pytest.mark.parametrize("name", ["masks of the token", "no condition"])
def test_draws_in_columns_are_those_of_each_row_also_where_another_block_was_read(
    name, on_device, monkeypatch
):
    on_device()
    monkeypatch.setattr(token_draws, "_read_in_columns", lambda *_: None)
    alone = run(name, lookahead="none")
    monkeypatch.undo()
    on_device()
    found = []

    def wrong(*asked):
        drawn = read_drawn(*asked)
        found.append(drawn is not None)
        return drawn and drawn._replace(numbers=(drawn.numbers + 1) % drawn.sums.shape[1])

    for how in (read_drawn, wrong):
        monkeypatch.setattr(device_drawn, "read_drawn", how)
        together = run(name, lookahead="none")
        assert (together.log_z, together.particles) == (alone.log_z, alone.particles)
    assert any(found)


def test_sums_that_are_of_another_draw_are_seen(on_device, monkeypatch):
    on_device()
    alone = run("masks of the token", lookahead="none")

    def wrong(*asked):
        drawn = read_drawn(*asked)
        return drawn and drawn._replace(sums=np.roll(drawn.sums, 1, axis=0))

    monkeypatch.setattr(device_drawn, "read_drawn", wrong)
    assert run("masks of the token", lookahead="none").particles != alone.particles


def test_nothing_waits_until_the_transfer(monkeypatch):
    """What would wait for a device is refused while rows are made, and until they are read."""
    some, _ = rows_of(3)
    mask = np.arange(V) % 2 == 0
    wanted = [Wanted(some[0], mask), Wanted(some[1]), Wanted(some[2], None, np.array([5]))]
    host = device_reads.to_host

    def read_after(*parts):
        waiting.__exit__(None, None, None)
        return host(*parts)

    monkeypatch.setattr(device_reads, "to_host", read_after)
    waiting = NoWaiting()
    waiting.__enter__()
    rows_of(3)
    read(wanted)


def test_few_tokens_and_whole_rows_come_with_the_same_transfer(on_device):
    some, plain = rows_of(4)
    indices = np.array([3, 500])
    transfers = on_device()
    assert read([Wanted(some[0], None, indices), Wanted(some[1], whole=True)]) == [None, None]
    assert np.allclose(some[0][indices], plain[0, indices], atol=2e-6)
    assert np.allclose(some[1].host(), plain[1], atol=2e-6)
    assert transfers == [1]


def test_rows_that_are_nan_are_an_error_when_they_are_read():
    logits = torch.zeros((2, V))
    logits[1, 3] = torch.nan
    (some,) = rows_on_device(logits, lambda: CallError("the model gives NaN"), [2])
    with pytest.raises(CallError, match="gives NaN"):
        read([Wanted(some[0])])


def drawn_by(monkeypatch, mask):
    """The number of transfers that 20 draws take, and whether each is that of the plain row."""
    some, plain = rows_of(20, seed=2)
    streams = [KeyedRng(9).split(i) for i in range(20)]
    wanted = [Wanted(row, mask, None, s.peek()) for row, s in zip(some, streams, strict=True)]
    monkeypatch.setattr(transfer, "TRANSFERS", [0])
    right = True
    for i, (w, masked) in enumerate(zip(wanted, read(wanted), strict=True)):
        found = streams[i].choice(ProbabilityBlocks.of_masked(w.row, mask, masked))
        right &= found == KeyedRng(9).split(i).choice(np.exp(plain[i].astype(np.float64)) * mask)
    return transfer.TRANSFERS[0], right


def test_planted_bugs_are_caught(monkeypatch):
    mask = np.arange(V) % 3 == 0
    monkeypatch.setattr(device_reads, "HEAVIEST", 1)
    assert drawn_by(monkeypatch, mask) == (1, True)
    with monkeypatch.context() as patched:  # the sums of all tokens for those that a mask leaves
        patched.setattr(
            PlainRowOperators, "masked_sums", lambda _, log_p, sums, rows, bits, masks: sums[rows]
        )
        assert not drawn_by(patched, mask)[1]
    with monkeypatch.context() as patched:  # a block that no draw falls into: slow, and right
        patched.setattr(torch, "searchsorted", lambda sums, *_, **__: sums[:, :1].long() * 0)
        transfers, right = drawn_by(patched, mask)
        assert right
        assert transfers > 1


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    for there, device in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert registry._device("auto") == device
    assert (registry._device(None), registry._device("cuda:1")) == ("cpu", "cuda:1")
    monkeypatch.undo()
    assert load_model("tiny", device="auto").describe()["device"] in ("cpu", "cuda")


def test_a_device_that_is_not_there_is_a_clear_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CallError, match="`cuda` cannot be used"):
        load_model("tiny", device="cuda")


def test_rows_of_two_vocabularies_are_read_apart(on_device):
    (few, plain), (many, _) = rows_of(2, size=300), rows_of(2)
    transfers = on_device()
    mask = np.arange(300) % 2 == 0
    none, masked, other = read([Wanted(many[0]), Wanted(few[1], mask), Wanted(many[1])])
    assert (none, other, transfers) == (None, None, [2])
    assert masked.sum() == pytest.approx(np.exp(plain[1])[mask].sum(), rel=1e-5)


def test_indices_whose_values_are_kept_are_kept_too():
    """Else another array might get their id, and their values."""
    some, _ = rows_of(1)
    indices = np.array([1, 2])
    some[0].keep_listed(indices, np.array([5.0, 6.0]))
    assert some[0][indices].tolist() == [5.0, 6.0]
    held = weakref.ref(indices)
    del indices
    assert held() is not None


def test_a_mask_is_moved_once_and_the_oldest_makes_room(monkeypatch):
    moved = []
    monkeypatch.setattr(
        device_masks, "to_device", lambda *a: moved.append(len(a[1])) or transfer.to_device(*a)
    )
    masks = DeviceMasks(20, torch.device("cpu"), most=3)
    rng = np.random.default_rng(0)
    some = [rng.random(20) < 0.5 for _ in range(6)]

    def there(*asked):
        places = masks.places(asked)
        for place, mask in zip(places, asked, strict=True):
            if mask is None:
                assert place == -1
            else:
                assert unpacked(masks.bits[place][None], 20)[0].bool().tolist() == mask.tolist()

    there(some[0], None, some[1], some[0])
    there(some[1], some[0])
    assert moved == [2]
    there(some[2], some[0])
    there(some[3])  # in the place of the second, which was used longest ago
    there(some[2], some[0], some[3])
    assert moved == [2, 1, 1]
    there(some[1])
    there(*some)  # more than it keeps, all at once
    assert len(masks.bits) == 12
    assert masks.bits.shape[1] == 3  # bytes
    there(*some)
    assert moved[:4] == [2, 1, 1, 1]
    assert len(moved) == 5


def test_arrays_reach_a_device_in_one_transfer_as_they_are():
    arrays = np.arange(3.0), np.arange(6).reshape(2, 3), np.arange(5, dtype=np.uint8), np.zeros(0)
    there = transfer.to_device(torch.device("cpu"), *arrays)
    for array, tensor in zip(arrays, there, strict=True):
        assert (tensor.numpy() == array).all()
        assert tensor.numpy().dtype == array.dtype
    column = torch.arange(6.0).view(2, 3)[:, 1]
    assert [a.tolist() for a in transfer.to_host(column, column[:1])] == [[1.0, 4.0], [1.0]]


def test_masks_of_another_thread_take_no_place_before_a_draw_has_read_it(monkeypatch):
    some, plain = rows_of(1)
    mine, *others = (np.arange(V) % 7 == i for i in range(3))
    there = DeviceMasks(V, torch.device("cpu"), most=2)
    monkeypatch.setattr(device_reads, "masks_of", lambda size, device: there)
    beside = []

    class Slow(PlainRowOperators):
        def masked_sums(self, *args):
            thread = threading.Thread(target=there.places, args=(others,))
            thread.start()
            thread.join(0.2)
            beside.append(thread)
            return super().masked_sums(*args)

    monkeypatch.setattr(device_reads, "operators_for", lambda device: Slow())
    (sums,) = read([Wanted(some.rows[0], mask=mine)])
    beside[0].join()
    assert sums.sum() == pytest.approx(np.exp(plain[0][mine]).sum(), rel=1e-5)

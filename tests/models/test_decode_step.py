"""Decode steps of static shapes: the rows of the library's own module, and nothing in a step that a
CUDA graph would not replay. The device here is the processor itself."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.compat import kernels
from fkdsl.models.device.decode_step import DecodeStep
from fkdsl.models.device.graphs import CudaCapture, Graphs
from fkdsl.models.device.operators import bucket
from fkdsl.models.device.step_inputs import StepBuffers, StepInputs, StepTables, shared_length
from fkdsl.models.interface import ForwardRow
from fkdsl.models.kv_pool import KVPool
from tests.models.test_decoder import CONFIGS, V, both

PROMPT = tuple(i * 7 % V for i in range(70))


def stepping(model):
    """The model with its decode steps as on a device."""
    model.step = DecodeStep(model.decoder)
    return model


def population(engine, steps=6, start=PROMPT, sizes=(9, 5, 20), between=lambda: None):
    """Rows of contexts that begin with a prompt, of several lengths and numbers, some of them
    forks."""
    rng = np.random.default_rng(3)
    held = [
        engine.extend(engine.root, start + tuple(rng.integers(V, size=n % 3))) for n in range(9)
    ]
    found = [*engine.log_probs(held)]
    for step in range(steps):
        if step == steps // 2:
            between()
        chosen = rng.integers(len(held), size=sizes[step % len(sizes)])
        held = [engine.extend(held[i], (int(rng.integers(V)),)) for i in chosen]
        found += engine.log_probs(held)
    return np.exp(np.stack(found))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("start", [PROMPT, PROMPT[:3]], ids=["shared", "apart"])
def test_steps_of_static_shapes_give_the_rows_of_the_librarys_module(name, start):
    plain, fast = both(name)
    rows = [population(CachedTransformer(m), start=start) for m in (plain, stepping(fast))]
    assert np.abs(rows[0] - rows[1]).max() <= 1e-4
    assert rows[0].max() > 0.1
    assert fast.pool.used == 0


class NoWaiting(TorchDispatchMode):
    """Refuses what would wait for the device, or bring numbers of the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        refused = ("_local_scalar_dense", "lift", "nonzero", "_unique", "masked_select", "equal")
        assert not func.name().removeprefix("aten::").startswith(refused), func.name()
        return func(*args, **(kwargs or {}))


def recorded(compute):
    """What a CUDA graph is: the operators that a call made, on the same tensors, and no Python."""
    with NoWaiting():
        compute()
    graph = make_fx(compute)()
    output = torch.empty_like(compute())
    return lambda: output.copy_(graph())


@pytest.fixture
def plain_maps(monkeypatch):
    """Linear maps by public operators, which can be recorded."""
    monkeypatch.setattr(kernels, "packs", lambda dtype: False)
    monkeypatch.setattr(kernels, "attends", lambda dtype: False)


def rows_of(capture, name="llama", first=1 << 12, grows=False, sizes=(9,)):
    """Rows of a population, each decode step replayed by what `capture` records; None for none.
    grows: the pool grows in its midst."""
    model = stepping(both(name)[1])
    model.step.buffers = StepBuffers(model.step.device, first)
    model.step.graphs = None if capture is None else Graphs(capture)
    engine, pool = CachedTransformer(model), model.pool

    def between():
        if grows:
            pool.take(pool.capacity)

    return population(engine, steps=8, sizes=sizes, between=between)


def differs(expected, *args, **kwargs):
    """Whether rows are others, or none: slots that nobody has written may hold anything."""
    try:
        return np.abs(rows_of(*args, **kwargs) - expected).max() > 1e-2
    except (IndexError, CallError):
        return True


def test_a_recorded_step_gives_what_the_step_gives(plain_maps):
    captured = []
    expected = rows_of(None, "qwen3", sizes=(9, 5))
    rows = rows_of(lambda c: captured.append(1) or recorded(c), "qwen3", sizes=(9, 5))
    assert 2 <= len(captured) <= 4
    assert np.abs(rows - expected).max() < 1e-6, np.abs(rows - expected).max()


def test_what_is_recorded_is_dropped_when_its_tensors_are_replaced(plain_maps, monkeypatch):
    """The pool grows in the midst of the population, and so do the tables."""
    expected = rows_of(None)
    monkeypatch.setattr("fkdsl.models.kv_pool.MOST_FIRST_SLOTS", 512)
    rows = rows_of(recorded, first=64, grows=True)
    assert np.abs(rows - expected).max() < 1e-6, np.abs(rows - expected).max()
    with monkeypatch.context() as patched:  # a planted bug: the pool grows and nothing is dropped
        patched.setattr(KVPool, "generation", property(lambda _: 0, lambda *_: None), raising=False)
        assert differs(expected, recorded, grows=True)
    with monkeypatch.context() as patched:  # another: inputs that lie elsewhere each time
        views = StepBuffers._inputs
        patched.setattr(
            StepBuffers,
            "_inputs",
            lambda *a: StepInputs(*(t.clone() for t in vars(views(*a)).values())),
        )
        assert differs(expected, recorded)


def test_a_device_that_records_nothing_decodes_all_the_same(plain_maps):
    def fails(compute):
        compute()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    expected = rows_of(None)
    with pytest.warns(UserWarning, match="without CUDA graphs.*is capturing$") as notes:
        assert np.array_equal(rows_of(fails), expected)
    assert len(notes) == 1


def test_what_tables_share_is_found():
    rng = np.random.default_rng(1)
    for n in (0, 31, 32, 50):
        tables = [
            np.array([*range(n), *(1000 * (i + 1) + np.arange(rng.integers(1, 60)))], np.int32)
            for i in range(5)
        ]
        assert shared_length(tables) == (n if n >= 32 else 0)
        found = StepTables.of(tables)
        for own, table in zip(found.own, tables, strict=True):
            assert [*found.shared, *own] == table.tolist()
    one = np.arange(40, dtype=np.int32)
    assert shared_length([one, one]) == 39  # a row's last token is its own
    assert shared_length([one]) == 0


def test_fillers_write_to_the_spare_slot_alone():
    tables = StepTables.of([np.array([4, 5, 6], np.int32), np.array([4, 9], np.int32)])
    inputs = StepBuffers(torch.device("cpu"), 64).fill(tables, [7, 8], [2, 1], 99, 4)
    assert inputs.ids.tolist() == [7, 8, 0, 0]
    assert inputs.positions.tolist() == [2, 1, 0, 0]
    assert inputs.slots.tolist() == [6, 9, 99, 99]
    assert inputs.shared.tolist() == [0]
    contexts = zip(inputs.starts.tolist(), inputs.lengths.tolist(), strict=True)
    assert [inputs.tables[a : a + n].tolist() for a, n in contexts] == [
        [4, 5, 6],
        [4, 9],
        [99],
        [99],
    ]


def test_steps_are_told_from_other_forwards():
    step = DecodeStep(both("llama")[1].decoder)
    past = None
    one = ForwardRow(past, (3,), (0,))
    assert step.fits([one, one])
    for other in (ForwardRow(past, (3, 4), (1,)), ForwardRow(past, (3,), ())):
        assert not step.fits([one, other])
    assert not step.fits([])
    assert [bucket(n) for n in (1, 2, 3, 9, 17, 33, 256, 257)] == [1, 2, 4, 16, 24, 48, 256, 384]


def test_a_graph_is_recorded_after_a_run_on_a_stream_of_its_own(monkeypatch):
    """The calls of torch.cuda that a recording makes, which no CPU can try."""
    calls = []

    class Stream:
        def wait_stream(self, other):
            calls.append("wait")

    class Graph:
        def replay(self):
            calls.append("replay")

    @contextmanager
    def within(name, **options):
        calls.append(f"{name} begins")
        yield
        calls.append(f"{name} ends")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "memory")
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: within("stream"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **options: within("graph"))
    output = torch.zeros(2)
    replay = CudaCapture()(lambda: calls.append("compute") or output)
    assert calls == ["wait", "stream begins", "compute", "stream ends", "wait", "graph begins",
                     "compute", "graph ends"]  # fmt: skip
    assert replay() is output
    assert calls[-1] == "replay"

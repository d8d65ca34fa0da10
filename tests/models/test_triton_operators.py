"""Triton's kernels against torch's public operators, run by Triton's interpreter; and what is used
where they do not work. The kernels need `pip install triton`."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.device import trial
from fkdsl.models.device.decode_step import DecodeStep
from fkdsl.models.device.operators import PlainOperators
from fkdsl.models.device.row_operators import PlainRowOperators
from tests.models.test_decode_step import population
from tests.models.test_decoder import both

TRITON = version("triton") if find_spec("triton") is not None else "0.0"
needs_triton = pytest.mark.skipif(
    tuple(map(int, TRITON.split(".")[:2])) < (3, 3),
    reason="Triton is not installed (pip install triton), or of a version, such as the 3.2 of "
    "torch 2.6, whose interpreter knows no functions that kernels call",
)


@pytest.fixture(scope="module")
def triton_operators():
    """The module of the operators, whose kernels are interpreted."""
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from fkdsl.models.device import triton_operators

        yield triton_operators
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]


@needs_triton
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("programs", [1, 32])  # tables whole, and in parts
@pytest.mark.parametrize(
    "name",
    [
        "llama",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("llama with one key for all", "llama with a key for each", "qwen3")
        ),
    ],
)
def test_kernels_give_what_public_operators_give(name, programs, triton_operators, monkeypatch):
    decoder = both(name)[1].decoder
    plain, fast = PlainOperators(decoder), triton_operators.TritonOperators(programs)
    assert trial.largest_difference(decoder, fast, plain) <= 1e-5
    if programs == 1:
        whole = triton_operators.attention
        monkeypatch.setattr(  # a planted bug: what rows share is left out
            triton_operators,
            "attention",
            lambda q, plane, inputs, n: whole(
                q, plane, SimpleNamespace(**{**vars(inputs), "shared": 0 * inputs.shared}), n
            ),
        )
        assert trial.largest_difference(decoder, fast, plain) > 0.05


@needs_triton
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_population_decoded_by_kernels_has_the_rows_of_the_librarys_module(
    name, triton_operators
):
    plain, fast = both(name)
    fast.step = DecodeStep(fast.decoder, triton_operators.TritonOperators(8))
    rows = [population(CachedTransformer(m), steps=3) for m in (plain, fast)]
    assert np.abs(rows[0] - rows[1]).max() <= 1e-4


@needs_triton
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_kernels_of_rows_give_what_public_operators_give(triton_operators):
    from fkdsl.models.device.triton_rows import TritonRowOperators

    device, plain, fast = torch.device("cpu"), PlainRowOperators(), TritonRowOperators()
    assert trial.largest_row_difference(device, fast, plain) <= 1e-6
    fast.masked_sums = lambda log_p, sums, rows, bits, masks: sums[rows]  # a planted bug
    assert trial.largest_row_difference(device, fast, plain) > 0.01
    logits = torch.zeros((2, 600))
    logits[1, 400] = torch.nan
    assert fast.normalised(logits)[1].isnan().all(-1).tolist() == [False, True]


COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fkdsl.models.device import triton_kernels as kernels

def compiled(kernel, kinds, **constants):
    signature = {name: kinds.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

ints = dict.fromkeys(("tables", "starts", "lengths", "slots"), "*i32")
scalars = {**dict.fromkeys(("rows", "parts", "n_before"), "i32"), "scale": "fp32"}
sums = dict.fromkeys(("before", "before_sums", "sums"), "*fp32")
shape = {"HEADS": 32, "KV": 8, "WIDTH": 64}
half = {"q": "*bf16", "plane": "*bf16", "out": "*bf16"}
for last in (False, True):
    text = compiled(
        kernels.attend, {**ints, **scalars, **sums, **half},
        **shape, PADDED=64, QUERIES=16, ROWS=1, KEYS=64, SHARED=False, LAST=last,
    )
    assert "mma" in text
compiled(
    kernels.rotate, {**ints, **half, "qkv": "*bf16", "rotations": "*fp32"}, **shape, PAIRS=32
)
sizes = dict.fromkeys(("size", "blocks", "mask_bytes"), "i32")
rows = {
    **dict.fromkeys(("tops", "sums", "log_totals", "log_p", "left"), "*fp32"), "logits": "*bf16",
    **dict.fromkeys(("rows", "masks"), "*i64"), "bits": "*u8", **sizes,
}
for kernel in (kernels.chunk_sums, kernels.masked_sums):
    compiled(kernel, rows, BLOCK=256, BLOCKS=8)
compiled(kernels.less, rows, TOKENS=2048)
compiled(
    kernels.join, {"parts": "*fp32", "sums": "*fp32", "out": "*bf16", "queries": "i32", "n": "i32"},
    WIDTH=64, PADDED=64,
)
"""


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_a_gpu_where_there_is_none():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_kernels_that_work_a_note_says_why(monkeypatch):
    decoder = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16)
    monkeypatch.setattr(trial, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="more slowly: Triton is not installed$"):
        assert isinstance(trial.operators_for(decoder), PlainOperators)
    monkeypatch.setattr(trial, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "fkdsl.models.device.triton_operators", None)
    with pytest.warns(UserWarning, match="more slowly: ModuleNotFoundError: import of "):
        assert isinstance(trial.operators_for(decoder), PlainOperators)
    decoder.dtype = torch.float64
    assert isinstance(trial.operators_for(decoder), PlainOperators)

"""Packed weights (fkdsl.models.compat.kernels) as bytes that can be kept, and packed weights over
bytes that were kept, which copies nothing.

    raw = bytes_of(packed)                             # valid as long as `packed`
    over(memory, (960, 576), torch.float32)            # a packed weight that reads `memory`

Only bytes of weights ever come from outside. How they are laid out this process asks torch itself,
by packing a small weight, and `layout_of` says whether another weight is laid out so. What is used
here is private to torch and oneDNN: `wraps` runs it once on numbers that are known, and where it
is missing or wrong, weights are packed anew at each start.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkdsl.models.compat.kernels import pack_weight, packed_linear, packs

LOW = 1088
"""Most outputs of the weight that `layout_for` packs to learn the layout of a larger one. It is a
multiple of every block of outputs, and should stand in a layout for their number alone; where it
stands for another size too, the layouts differ, and the weight is packed at each start."""

Shape = tuple[int, int]


def layout_of(packed: Tensor) -> bytes:
    """How a packed weight lies in memory, as oneDNN describes it. Bytes 1 to 3 say nothing: torch
    2.6 leaves there what was in the memory before."""
    layout: Tensor = torch.ops.mkldnn._get_mkldnn_serialized_md(packed)
    raw = bytes(layout.numpy())
    return raw[:1] + bytes(3) + raw[4:]


@cache
def layout_for(shape: Shape, dtype: torch.dtype) -> bytes:
    """The layout of a packed weight of a shape (out, in), from one of LOW outputs where it has
    more: blocks of outputs lie one behind the other, so only their number differs."""
    out, columns = shape
    low = min(out, LOW)
    layout = layout_of(pack_weight(torch.zeros((low, columns), dtype=dtype)))
    return layout.replace(low.to_bytes(8, "little"), out.to_bytes(8, "little"))


def bytes_of(packed: Tensor) -> memoryview:
    """The bytes of a packed weight, without a copy."""
    n: int = torch.ops.mkldnn._nbytes(packed)
    return memoryview((ctypes.c_char * n).from_address(torch.ops.mkldnn.data_ptr(packed)))


def addresses_of(weight: Tensor) -> tuple[int, int]:
    """The addresses of the first byte of a weight on a CPU, packed or not, and behind its last one.
    (0, 0) where torch does not say."""
    if not weight.is_mkldnn:
        return weight.data_ptr(), weight.data_ptr() + weight.nbytes
    try:
        begin = int(torch.ops.mkldnn.data_ptr(weight))
        return begin, begin + int(torch.ops.mkldnn._nbytes(weight))
    except (AttributeError, RuntimeError):
        return 0, 0


def over(memory: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """The packed weight whose bytes are `memory`, (n,) uint8, which the caller keeps alive.

    Raises ValueError if the memory has another size than such a weight.
    """
    layout = layout_for(shape, dtype)
    if memory.numel() != shape[0] * shape[1] * dtype.itemsize or memory.data_ptr() % 64:
        raise ValueError("the memory is not that of a packed weight")
    library, handle = _library(), ctypes.c_void_p()
    sizes, strides = (ctypes.c_int64 * 2)(*shape), (ctypes.c_int64 * 2)(1, 1)
    kinds = {
        torch.float32: library.aoti_torch_dtype_float32,
        torch.bfloat16: library.aoti_torch_dtype_bfloat16,
    }
    failed = library.aoti_torch_create_tensor_from_blob_v2(
        ctypes.c_void_p(memory.data_ptr()),
        ctypes.c_int64(2),
        sizes,
        strides,
        ctypes.c_int64(0),
        ctypes.c_int32(kinds[dtype]()),
        ctypes.c_int32(library.aoti_torch_device_type_cpu()),
        ctypes.c_int32(0),
        ctypes.byref(handle),
        ctypes.c_int32(library.aoti_torch_layout__mkldnn()),
        ctypes.c_char_p(layout),
        ctypes.c_int64(len(layout)),
    )
    if failed:
        raise RuntimeError("torch made no tensor over the memory")
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    packed: Tensor = torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr(
        capsule(handle, None, None)
    )
    return packed


@cache
def _library() -> Any:
    """torch's library on this machine, whose C functions AOTInductor's compiled models call."""
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


@cache
def wraps(dtype: torch.dtype) -> bool:
    """Whether packed weights of a dtype can be made over memory here, and are correct."""
    if sys.platform != "linux" or not packs(dtype):
        return False
    try:
        # Small whole numbers, whose products and sums are exact in both dtypes.
        w = ((torch.arange(2 * LOW * 64) % 7) - 3).to(dtype).view(2 * LOW, 64)
        x = ((torch.arange(3 * 64) % 5) - 2).to(dtype).view(3, 64)
        first = pack_weight(w)
        if layout_of(first) != layout_for((2 * LOW, 64), dtype):
            return False
        memory = _aligned(bytes_of(first))
        packed = over(memory, (2 * LOW, 64), dtype)
        return bool(packed.to_dense().equal(w) and packed_linear(x, packed, None).equal(x @ w.t()))
    except (AttributeError, OSError, RuntimeError, TypeError, ValueError):
        return False


def _aligned(raw: memoryview) -> Tensor:
    """A copy of bytes that begins at a multiple of 64."""
    room = torch.empty(len(raw) + 64, dtype=torch.uint8)
    begin = -room.data_ptr() % 64
    return room[begin : begin + len(raw)].copy_(torch.frombuffer(bytearray(raw), dtype=torch.uint8))

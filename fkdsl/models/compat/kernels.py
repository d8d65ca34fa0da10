"""torch's private operators on a CPU: linear maps by oneDNN's packed weights, plain and in eight
and four bits, and attention with the log-sums of its scores.

    if packs(torch.float32):
        packed = pack_weight(w)                 # (out, in), laid out for the machine
        linear_plus(x, packed, bias, y)         # xW' + b + y

They may change or disappear in any release of torch, and their results depend on the processor. So
`packs`, `eight_bit_levels`, `multiplies_four_bits` and `attends` run each of them once on numbers
whose results are known. If one is missing or wrong, torch's public operators are used; eight and
four bits have none, and are refused.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor

PACKED_ROWS = 64
"""The number of rows for which packed weights are laid out; they work for any number."""


def pack_weight(weight: Tensor) -> Tensor:
    """A weight (out, in), float32 or bfloat16, in oneDNN's layout; `to_dense` gives it back."""
    return _tensor(torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS))


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """xW' + b."""
    return _tensor(torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], ""))


def linear_swish(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """silu(xW' + b)."""
    return _tensor(torch.ops.mkldnn._linear_pointwise(x, packed, bias, "swish", [], ""))


def linear_plus(x: Tensor, packed: Tensor, bias: Tensor | None, y: Tensor) -> Tensor:
    """xW' + b + y."""
    return _tensor(torch.ops.mkldnn._linear_pointwise(x, y, packed, bias, "add"))


def linear_times(x: Tensor, packed: Tensor, bias: Tensor | None, y: Tensor) -> Tensor:
    """(xW' + b) * y."""
    return _tensor(torch.ops.mkldnn._linear_pointwise(x, y, packed, bias, "mul"))


def pack_levels(levels: Tensor) -> Tensor:
    """Weights (out, in) as int8 levels from -127 to 127, in oneDNN's layout."""
    return _tensor(torch.ops.onednn.qlinear_prepack(levels, [PACKED_ROWS, levels.shape[1]]))


def linear_levels(x: Tensor, zero: int, packed: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
    """(x - zero) W' in float32. x: (n, in) uint8. packed: of `pack_levels`. scale: (out,) the value
    of one level of each output's weights. zeros: (out,) int64 zeros."""
    return _tensor(
        torch.ops.onednn.qlinear_pointwise(
            x, 1.0, zero, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
    )


GROUP, OUTPUTS = 32, 16
"""In four bits a row's weights come in groups of so many, and the outputs are a multiple of so
many."""


PACKED_OUTPUTS = 64
"""In four bits so many outputs lie side by side, half as many on some processors."""
PACKED_AT_ONCE = 1 << 22
"""How many levels are packed at a time: the operator wants four bytes for each."""


def pack_four_bits(levels: Tensor) -> Tensor:
    """Weights (out, in) as levels from 0 to 15, in the layout of `linear_four_bits`."""
    rows = max(1, PACKED_AT_ONCE // levels.shape[1] // PACKED_OUTPUTS) * PACKED_OUTPUTS
    pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    return torch.cat([_tensor(pack(part.to(torch.int32), 1)) for part in levels.split(rows)])


def group_scales(scale: Tensor, low: Tensor) -> Tensor:
    """(in / GROUP, out, 2) bfloat16 of the values of one level and of level 0 of each group, (out,
    in / GROUP): the operator wants the value of level 8."""
    return torch.stack((scale, low + 8 * scale), -1).transpose(0, 1).contiguous().bfloat16()


def linear_four_bits(x: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
    """xW' in bfloat16. x: (n, in) bfloat16; packed: of `pack_four_bits`; scales: of
    `group_scales`."""
    return _tensor(torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, scales))


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(softmax(qk'/sqrt(width) + mask) v, (batch, heads, queries, width); the log-sums of the
    exponentiated scores, (batch, heads, queries), float32 or wider, nats). mask: (batch, 1, 1,
    keys), in the dtype of q."""
    if q.device.type == "cpu" and attends(q.dtype):
        return _flash(q, k, v, mask)
    return plain_attention(q, k, v, mask)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """`attention` by public operators, in float32 or wider."""
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    sums = scores.logsumexp(-1)
    return ((scores - sums[..., None]).exp() @ v.to(wide)).to(q.dtype), sums


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    y, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=mask)
    return _tensor(y), _tensor(sums)


# ------------------------------------------------------------------- trials


@cache
def attends(dtype: torch.dtype) -> bool:
    """Whether this build's attention with log-sums is there and correct for a dtype."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    try:
        q, k, v = (
            (torch.arange(2 * 3 * n * 16).view(2, 3, n, 16) % d / d - 0.5).to(dtype)
            for n, d in ((2, 7), (5, 5), (5, 11))
        )
        mask = torch.zeros((2, 1, 1, 5), dtype=dtype)
        mask[1, ..., 3:] = -torch.inf
        found, expected = _flash(q, k, v, mask), plain_attention(q, k, v, mask)
        return all(
            bool((a.float() - b.float()).abs().max() <= 0.02)
            for a, b in zip(found, expected, strict=True)
        )
    except (AttributeError, RuntimeError, TypeError):
        return False


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this machine's packed linear maps of a dtype are there and correct."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        # Small whole numbers, whose products and sums are exact in both dtypes.
        w = (torch.arange(8 * 16, dtype=dtype).view(8, 16) % 5) - 2
        x = (torch.arange(3 * 16, dtype=dtype).view(3, 16) % 3) - 1
        y, bias = torch.full((3, 8), 2.0, dtype=dtype), torch.arange(8, dtype=dtype)
        plain, packed = x @ w.t() + bias, pack_weight(w)
        swish = linear_swish(x, packed, bias) - torch.nn.functional.silu(plain)
        return bool(
            packed.to_dense().equal(w)
            and packed_linear(x, packed, bias).equal(plain)
            and linear_plus(x, packed, bias, y).equal(plain + y)
            and linear_times(x, packed, bias, y).equal(plain * y)
            and swish.abs().max() <= 0.1
        )
    except (AttributeError, RuntimeError, TypeError):
        return False


@cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16. Without them torch emulates
    such products: 2 to 7 times as long a token as in float32 was measured on AVX2.

    oneDNN says that it supports bfloat16 on any processor with AVX-512, where some emulate it too,
    so on x86 torch's own probes are asked; those that a release lacks count as a no.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def instructions() -> str:
    """What decides, on this processor and with these settings, which kernels torch and oneDNN take:
    torch's probes that say yes, and the variables that keep them to older instructions."""
    probes = [n for n in dir(torch.cpu) if n.startswith("_is_") and getattr(torch.cpu, n)()]
    taken = torch.backends.cpu.get_cpu_capability()
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return " ".join([platform.machine(), taken, *sorted(probes), most]).strip()


@cache
def eight_bit_levels() -> int:
    """The most levels of an activation on either side of zero for which the 8-bit linear maps are
    correct: 127, 63, or 0 if they never are.

    A processor without VNNI adds two products in 16 bits, which saturate at 32,767. 255 * 127 * 2
    is larger than that, 127 * 127 * 2 is not.
    """
    for most in (127, 63):
        try:
            if _adds_up(most):
                return most
        except (AttributeError, RuntimeError, TypeError):
            return 0
    return 0


@cache
def multiplies_four_bits() -> bool:
    """Whether this build's 4-bit linear maps are there and correct."""
    try:
        # Numbers that bfloat16 holds; it rounds sums by one part in 256.
        levels = (torch.arange(32 * 64).view(32, 64) * 7) % 16
        scale = torch.tensor([0.5, 2.0]).repeat(32, 1)
        low = torch.arange(64.0).view(32, 2) % 3 - 4
        x = torch.arange(3.0 * 64).view(3, 64) % 5 - 1
        weight = (levels.view(32, 2, 32) * scale[..., None] + low[..., None]).view(32, 64)
        packed, scales = pack_four_bits(levels), group_scales(scale, low)
        error = linear_four_bits(x.bfloat16(), packed, scales).float() - x @ weight.t()
        return bool((error.abs() <= 0.01 * (x.abs() @ weight.abs().t())).all())
    except (AttributeError, RuntimeError, TypeError):
        return False


def _adds_up(most: int) -> bool:
    """Whether the 8-bit maps are correct for the largest levels of both signs."""
    levels = torch.full((16, 64), 127, dtype=torch.int8)
    levels[1::2] = -127
    x = torch.full((3, 64), 2 * most + 1, dtype=torch.uint8)
    x[1] = 1
    ones, zeros = torch.ones(16), torch.zeros(16, dtype=torch.int64)
    expected = (x.double() - (most + 1)) @ levels.double().t()
    return bool(
        (linear_levels(x, most + 1, pack_levels(levels), ones, zeros).double() - expected)
        .abs()
        .max()
        <= 1.0
    )


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value

"""The precisions and devices that a model may be asked for by name, without torch."""

from __future__ import annotations

from fkdsl.base.errors import CallError

DTYPE_NAMES = ("auto", "float32", "bfloat16", "float16", "float64", "int8", "int4")
"""`auto` is bfloat16 where the processor or device has instructions for it, else float32."""


def verify_dtype(dtype: str | None) -> None:
    """Raises CallError for a dtype that no model can have."""
    if dtype is not None and dtype not in DTYPE_NAMES:
        raise CallError(
            f"there is no dtype `{dtype}` for models", f"use one of {', '.join(DTYPE_NAMES)}"
        )


DEVICE_KINDS = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "npu", "xla")
"""`auto`, and torch's kinds of devices that run transformers."""


def verify_device(device: str | None) -> None:
    """Raises CallError for a name that can be no device that computes, as torch writes them:
    `cuda`, `cuda:1`. Whether there is such a device torch says when a model is loaded."""
    if device is None:
        return
    kind, colon, number = device.partition(":")
    numbered = not colon or (number.isdecimal() and len(number) <= 4)
    if kind not in DEVICE_KINDS or not numbered:
        raise CallError(f"there is no device `{device}`", "use one of cpu, cuda, cuda:1, mps, auto")

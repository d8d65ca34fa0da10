"""The precisions that a model may be asked for by name, without torch."""

from __future__ import annotations

from fkdsl.base.errors import CallError

DTYPE_NAMES = ("float32", "bfloat16", "float16", "float64", "int8", "auto")
"""`auto` is bfloat16 where the processor or device has instructions for it, else float32."""


def verify_dtype(dtype: str | None) -> None:
    """Raises CallError for a dtype that no model can have."""
    if dtype is not None and dtype not in DTYPE_NAMES:
        raise CallError(
            f"there is no dtype `{dtype}` for models", f"use one of {', '.join(DTYPE_NAMES)}"
        )

"""Rows of the vocabulary in a processor's memory: log-probabilities from logits, sums over blocks,
and what masks leave of rows.

    log_p, sums = log_softmax(logits)              # (n, V) nats, (n, blocks)
    sums = masked_block_sums(rows, masks)          # (blocks,) of each row and mask

One row at a time goes through a few of numpy's operators, with what lies in between in one array
that stays in the processor's caches. With few particles that matters: a forward has just driven
everything else out, and an operator of torch then takes some 100 us, five times what it computes.
Many rows are shared among threads. A row's bits depend on nothing but its logits.
"""

from __future__ import annotations

import math
import os
import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.probability_blocks import BLOCK, share_blocks

Rows = NDArray[np.float32] | NDArray[np.float64]
LEAST, MOST = 1e-6, 1e30
"""Between these the sum of a row's exponentials is exact enough as it is: what is a 1e-30th of it
is still a normal number in single precision."""
NO_OVERFLOW = np.float32(80.0)
"""Logits are cut off here before they are exponentiated for the first time: so the sum is beyond
MOST, and finite."""
ROWS_A_THREAD = 4
"""Fewer rows than so many for each of two threads are computed by one."""
_BY_NUMPY = platform.machine().lower() in ("x86_64", "amd64")
"""Whether numpy's exp is vectorised, as it is with AVX2 and AVX-512; elsewhere torch's is."""
_scratch_arrays = threading.local()


def log_softmax(
    logits: Rows, fault: Callable[[], CallError], overwrite: bool = False
) -> tuple[Rows, NDArray[np.float64]]:
    """(n, V) log-probabilities (nats) of logits (n, V), in their dtype, and (n, blocks) the sums of
    the probabilities over blocks. overwrite: whether they may take the logits' place. Raises what
    `fault` gives where a row has no distribution.

    The sums over blocks also give the normaliser: so exp is computed once, and the rounding error
    is smaller than that of one sum over a long row, some 1e-5, which would add up over a text.
    """
    n, V = logits.shape
    log_p = logits if overwrite else np.empty_like(logits)
    sums = np.empty((n, -(-V // BLOCK)))

    def compute(begin: int, end: int) -> None:
        p, blocks = _scratch(V, logits.dtype)
        for i in range(begin, end):
            x, row_sums = logits[i], sums[i]
            np.minimum(x, NO_OVERFLOW, out=p)
            total = _sum(p, blocks, row_sums)
            if not LEAST < total < MOST:
                top = x.max()
                if not math.isfinite(top):
                    raise fault()
                x = np.subtract(x, top, out=log_p[i])
                p[:] = x
                total = _sum(p, blocks, row_sums)
            np.divide(row_sums, total, out=row_sums)
            _subtract(x, math.log(total), log_p[i])

    _on_threads(compute, n)
    return log_p, sums


def _sum(p: Rows, blocks: Rows, sums: NDArray[np.float64]) -> float:
    """Puts exp(p) into the place of p (V,), and the sums of its blocks into `sums`; their sum.
    blocks: (blocks, BLOCK), the same array as p, with zeros at its end."""
    _exp(p)
    sums[:] = np.add.reduce(blocks, axis=1)
    return float(np.add.reduce(sums))


def _subtract(x: Any, c: float, out: Any) -> None:
    """x - c in x's precision, as if c were not rounded to it: near c, where probabilities are
    large, the first difference is exact."""
    whole = round(c)
    np.subtract(x, x.dtype.type(whole), out=out)
    np.subtract(out, x.dtype.type(c - whole), out=out)


def masked_block_sums(
    rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.float64]]:
    """See SumsMaskedRows. A row is exponentiated once, whatever number of masks come with it."""
    if not rows:
        return []
    V, dtype = len(rows[0]), rows[0].dtype
    sums = np.empty((len(rows), -(-V // BLOCK)))
    factors = [share_blocks(mask) for mask in masks]
    order: Sequence[int] = (0,)
    if len(rows) > 1:  # one mask at a time stays in the caches
        first = {id(row): id(mask) for row, mask in zip(rows, masks, strict=True)}
        order = sorted(
            range(len(rows)), key=lambda i: (first[id(rows[i])], id(rows[i]), id(masks[i]))
        )

    def compute(begin: int, end: int) -> None:
        p, blocks = _scratch(V, dtype)
        exponentiated = None
        for i in order[begin:end]:
            if rows[i] is not exponentiated:
                p[:] = exponentiated = rows[i]
                _exp(p)
            sums[i] = np.einsum("ij,ij->i", blocks, factors[i])

    _on_threads(compute, len(rows))
    return list(sums)


def _exp(p: Rows) -> None:
    if _BY_NUMPY:
        np.exp(p, out=p)
    else:
        torch.from_numpy(p).exp_()


def _scratch(V: int, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """(V,) an array to work in, and the same as (blocks, BLOCK), with zeros at its end. Each thread
    keeps one, since fresh memory costs page faults."""
    kept: tuple[Any, Any] | None = getattr(_scratch_arrays, "kept", None)
    if kept is None or len(kept[0]) != V or kept[0].dtype != dtype:
        blocks = np.zeros((-(-V // BLOCK), BLOCK), dtype)
        kept = _scratch_arrays.kept = blocks.reshape(-1)[:V], blocks
    return kept


_pools: dict[int, ThreadPoolExecutor] = {}
"""By process: one that was forked has no threads of its own yet."""


def _on_threads(compute: Callable[[int, int], None], n: int) -> None:
    """compute(begin, end) for all of n rows, on as many threads as torch uses."""
    parts = n // ROWS_A_THREAD
    if parts < 2 or (parts := min(parts, torch.get_num_threads())) < 2:
        compute(0, n)
        return
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = _pools.setdefault(os.getpid(), ThreadPoolExecutor(os.cpu_count(), "fkdsl-rows"))
    ends = [n * k // parts for k in range(parts + 1)]
    others = [pool.submit(compute, *part) for part in pairwise(ends[1:])]
    try:
        compute(0, ends[1])
    finally:
        for other in others:
            other.exception()  # waits: they write to arrays of this call
    for other in others:
        other.result()

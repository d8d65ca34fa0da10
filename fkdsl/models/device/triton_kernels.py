"""Kernels of a decode step in Triton, which CUDA builds of torch bring along. Their callers are in
fkdsl.models.device.triton_operators, and those of long rows in triton_rows.

Attention reads the pool in place, by the tables of a step. It keeps a running maximum and a running
sum of exponentials (online softmax); parts of a table that several programs read are put together
by their log-sums (Dao et al. 2022, arXiv 2205.14135; Juravsky et al. 2024, arXiv 2402.05099).

Triton compiles the text of these functions, in which only constants of its own kind may stand.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def vectors(source, at, there, w, inside, WIDTH: tl.constexpr):
    """The vectors `at` of an array of vectors of WIDTH, zeros where they are not there or end."""
    return tl.load(
        source + at[:, None] * WIDTH + w[None, :],
        mask=there[:, None] & inside[None, :],
        other=0.0,
    )


@triton.jit
def joined(y, total, top, found, log_sum):
    """A running attention with a part put in. y: the sum of values, times the exponentials of their
    scores less top; total: that of the exponentials. found: the attention of the part, log_sum: of
    its exponentials, -inf where it has none."""
    higher = tl.maximum(top, log_sum)
    base = tl.where(higher == float("-inf"), 0.0, higher)
    old, new = tl.exp(top - base), tl.exp(log_sum - base)
    return y * old[:, None] + found * new[:, None], total * old + new, higher


@triton.jit(
    do_not_specialize=["rows", "parts", "n_before"],
    do_not_specialize_on_alignment=["tables", "starts", "lengths"],
)
def attend(
    q, plane, tables, starts, lengths, before, before_sums,
    out, sums, rows, parts, n_before, scale,
    HEADS: tl.constexpr, KV: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    QUERIES: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, SHARED: tl.constexpr,
    LAST: tl.constexpr,
):  # fmt: skip
    """The attention of ROWS rows' queries of one kv head to one of `parts` parts of a table: of
    what all rows share, or of the row's own, going on from `n_before` parts of the shared. Its
    result is the output if LAST, else its part, float32, with the log-sum of the exponentials."""
    block, kv, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    GROUP: tl.constexpr = HEADS // KV
    m, w = tl.arange(0, QUERIES), tl.arange(0, PADDED)
    row, head = block * ROWS + m // GROUP, kv * GROUP + m % GROUP
    asks = (m < ROWS * GROUP) & (row < rows)
    inside = w < WIDTH
    at = row * HEADS + head  # of a query among all
    queries = vectors(q, at, asks, w, inside, WIDTH)
    if SHARED:
        first, length = 0, tl.load(lengths)
    else:
        first, length = tl.load(starts + block), tl.load(lengths + block)
    each = tl.cdiv(tl.cdiv(length, parts), KEYS) * KEYS
    low = part * each
    high = tl.minimum(low + each, length)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    y = tl.zeros((QUERIES, PADDED), tl.float32)
    for i in range(n_before):
        from_part = i * rows * HEADS + at
        log_sum = tl.load(before_sums + from_part, mask=asks, other=float("-inf"))
        found = vectors(before, from_part, asks, w, inside, WIDTH)
        y, total, top = joined(y, total, top, found, tl.where(part == 0, log_sum, float("-inf")))
    for begin in range(low, high, KEYS):
        n = begin + tl.arange(0, KEYS)
        there = n < high
        slot = tl.load(tables + first + n, mask=there, other=0).to(tl.int64)
        token = slot * (2 * KV) + kv
        k = vectors(plane, token, there, w, inside, WIDTH)
        scores = tl.dot(queries, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(there[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        old = tl.exp(top - higher)
        p = tl.exp(scores - higher[:, None])
        v = vectors(plane, token + KV, there, w, inside, WIDTH)
        y = y * old[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        total = total * old + tl.sum(p, 1)
        top = higher
    y = y / tl.where(total > 0.0, total, 1.0)[:, None]
    if not LAST:
        at += part * rows * HEADS
        tl.store(sums + at, tl.where(total > 0.0, top + tl.log(total), float("-inf")), mask=asks)
    tl.store(
        out + at[:, None] * WIDTH + w[None, :],
        y.to(out.dtype.element_ty),
        mask=asks[:, None] & inside[None, :],
    )


@triton.jit(do_not_specialize=["queries", "n"])
def join(
    parts, sums, out, queries, n,
    WIDTH: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """One query's attention from its n parts, by the log-sums of their exponentials."""
    at = tl.program_id(0)
    w = tl.arange(0, PADDED)
    top = tl.load(sums + at)
    for i in range(1, n):
        top = tl.maximum(top, tl.load(sums + i * queries + at))
    y, total = tl.zeros((PADDED,), tl.float32), 0.0
    for i in range(n):
        share = tl.exp(tl.load(sums + i * queries + at) - top)
        y += share * tl.load(parts + (i * queries + at) * WIDTH + w, mask=w < WIDTH, other=0.0)
        total += share
    tl.store(out + at * WIDTH + w, (y / total).to(out.dtype.element_ty), mask=w < WIDTH)


@triton.jit(do_not_specialize_on_alignment=["slots"])
def rotate(
    qkv, rotations, slots, q, plane,
    HEADS: tl.constexpr, KV: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """One head of one token: a query is rotated; a key is rotated and a value copied into the
    plane."""
    row, head = tl.program_id(0), tl.program_id(1)
    pair = tl.arange(0, PAIRS)
    inside = pair < WIDTH // 2
    source = qkv + (row * (HEADS + 2 * KV) + head) * WIDTH + 2 * pair
    a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + 1, mask=inside, other=0.0).to(tl.float32)
    if head < HEADS + KV:
        factor = rotations + row * WIDTH + 2 * pair
        cos = tl.load(factor, mask=inside, other=0.0)
        sin = tl.load(factor + 1, mask=inside, other=0.0)
        a, b = a * cos - b * sin, a * sin + b * cos
    if head < HEADS:
        target = q + (row * HEADS + head) * WIDTH + 2 * pair
        tl.store(target, a.to(q.dtype.element_ty), mask=inside)
        tl.store(target + 1, b.to(q.dtype.element_ty), mask=inside)
    else:
        slot = tl.load(slots + row).to(tl.int64)
        kept = plane + (slot * (2 * KV) + head - HEADS) * WIDTH + 2 * pair
        tl.store(kept, a.to(plane.dtype.element_ty), mask=inside)
        tl.store(kept + 1, b.to(plane.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["size", "blocks"])
def chunk_sums(
    logits, tops, sums, size, blocks,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Of BLOCKS blocks of one row: their largest logit, and for each block the sum of the
    exponentials of its logits less that one."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    block = chunk * BLOCKS + tl.arange(0, BLOCKS)
    token = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    x = tl.load(logits + row * size + token, mask=token < size, other=float("-inf"))
    x = x.to(tl.float32)
    top = tl.max(tl.max(x, 1), 0)
    base = tl.where(top == float("-inf"), 0.0, top)
    tl.store(tops + row * tl.num_programs(1) + chunk, top)
    tl.store(sums + row * blocks + block, tl.sum(tl.exp(x - base), 1), mask=block < blocks)


@triton.jit(do_not_specialize=["size"])
def less(logits, tops, log_totals, log_p, size, TOKENS: tl.constexpr):
    """The logits of some tokens of a row less its largest one, less the logarithm of its sum."""
    row = tl.program_id(0).to(tl.int64)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    x = tl.load(logits + row * size + token, mask=token < size, other=0.0).to(tl.float32)
    y = x - tl.load(tops + row) - tl.load(log_totals + row)
    tl.store(log_p + row * size + token, y, mask=token < size)


@triton.jit(do_not_specialize=["size", "blocks", "mask_bytes"])
def masked_sums(
    log_p, sums, rows, bits, masks, left, size, blocks, mask_bytes,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Of BLOCKS blocks of the row of one draw: the sums of the probabilities that its mask leaves,
    or of all where it has none."""
    draw = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    row, mask = tl.load(rows + draw), tl.load(masks + draw)
    target = left + draw * blocks + block
    if mask < 0:
        whole = tl.load(sums + row * blocks + block, mask=block < blocks, other=0.0)
        tl.store(target, whole, mask=block < blocks)
    else:
        token = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
        there = token < size
        byte = tl.load(bits + mask * mask_bytes + token // 8, mask=there, other=0).to(tl.int32)
        counts = (byte >> (token % 8)) & 1
        x = tl.load(log_p + row * size + token, mask=there & (counts == 1), other=float("-inf"))
        tl.store(target, tl.sum(tl.exp(x), 1), mask=block < blocks)

"""A context of llama.cpp: its sequences' keys and values in single precision, grown as needed.

    context = Context(library, model, layers)
    context.fit(sequences=16, length=300)
    logits = context.decode([(0, 0, (17, 4), (1,))])     # sequence, position, tokens, wanted

Each sequence has a stream of its own (`kv_unified` false), so that attention sums over the same
numbers however many others are in the batch: with one buffer for all, rounding would depend on the
batch, and weights in a few bits make that visible. llama.cpp's own copy then moves a stream's whole
length, so lengths are kept short, in steps of STEP, and what fills less than half of its stream is
copied as a state, which has the tokens that are there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int8, c_int32, cast
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError, InternalError
from fkdsl.models.llamacpp.library import F32, Batch, Library, said

STEP = 256
"""llama.cpp rounds a sequence's length up to a multiple of this."""
MOST_TOKENS = 2048
"""Tokens of one call of llama_decode; more go in several."""
MOST_ROWS = 256
"""Rows that one call gives: they lie in a buffer of the library's."""
MICRO_BATCH = 256
"""Tokens that go through a layer at a time; the library's buffers are as large as that needs."""

Floats = NDArray[np.float32]
Run = tuple[int, int, tuple[int, ...], Sequence[int]]
"""(sequence, position of the first token, tokens, ascending indices of those whose rows are
wanted)."""


class Context:
    """Sequences of one model. count, length: how many there are, and the tokens that each has room
    for; 0 before the first `fit`."""

    def __init__(self, library: Library, model: int, vocabulary: int) -> None:
        self._library, self._model, self._vocabulary = library, model, vocabulary
        self.count = self.length = 0
        self._pointer = 0
        self._free: Any = None
        self._batch = _Arrays(MOST_TOKENS)
        self._threads = self._room = 0
        self._logits: tuple[int, Floats] = 0, np.zeros((0, vocabulary), np.float32)
        self.keeps_states = library.model_n_swa(model) <= 0
        """Whether a state has all tokens of a sequence. It lacks those that a sliding window has
        passed, which a text that goes on from an earlier token needs."""
        # A state goes through the processor's memory, which takes long from another device's.
        self._copies_states = self.keeps_states and not library.supports_gpu_offload()

    def fit(self, count: int, length: int, threads: int, kept: Sequence[int] = ()) -> None:
        """Makes room for `count` sequences of `length` tokens. kept: the sequences whose content is
        kept; the others are empty afterwards. Raises CallError if the memory does not suffice."""
        states = [(i, self._state(i)) for i in kept]
        before, self._pointer = self._free, 0
        if before is not None:
            before()
        parameters = self._library.context_default_params()
        parameters.n_ctx, parameters.n_seq_max = count * length, count
        parameters.n_batch = parameters.n_ubatch = MOST_TOKENS
        parameters.n_ubatch = MICRO_BATCH
        if hasattr(parameters, "n_outputs_max_per_seq"):
            parameters.n_outputs_max_per_seq = 0  # as many as there are tokens
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = F32
        parameters.flash_attn_type = 0  # the plain product is faster in single precision
        parameters.kv_unified = False
        said()
        pointer = self._library.init_from_model(self._model, parameters)
        if not pointer:
            raise CallError(
                f"llama.cpp makes no room for {count} sequences of {length} tokens: "
                f"{reason('it does not say why')}",
                "run with fewer particles",
            )
        self._pointer, self._free = pointer, finalize(self, self._library.free, pointer)
        self.count, self.length = count, int(self._library.n_ctx_seq(pointer))
        if self._library.n_seq_max(pointer) != count or self.length < length:
            raise InternalError(
                f"llama.cpp made {self._library.n_seq_max(pointer)} sequences of {self.length} "
                f"tokens, not {count} of {length}"
            )
        self._memory = self._library.get_memory(pointer)
        self._threads, self._room = threads, int(self._library.n_batch(pointer))
        self._logits = 0, self._logits[1][:0]
        for i, state in states:
            self._take_state(i, state)

    def _state(self, i: int) -> NDArray[np.uint8]:
        """The content of a sequence."""
        state = np.empty(self._library.state_seq_get_size(self._pointer, i), np.uint8)
        written = self._library.state_seq_get_data(self._pointer, state.ctypes, state.size, i)
        return state[:written]

    def _take_state(self, i: int, state: NDArray[np.uint8]) -> None:
        """Gives a sequence the content of another."""
        size = state.size
        if self._library.state_seq_set_data(self._pointer, state.ctypes, size, i) != size:
            raise InternalError("llama.cpp takes no sequence back that it gave")

    def close(self) -> None:
        """Frees the memory."""
        if self._free is not None:
            self._free()
        self.count = self.length = self._pointer = 0

    def copy(self, source: int, to: Sequence[int]) -> None:
        """Makes sequences equal to another."""
        if self._copies_states and 2 * self.tokens(source) <= self.length:
            state = self._state(source)
            for i in to:
                self._take_state(i, state)
            return
        for i in to:
            self._library.memory_seq_rm(self._memory, i, -1, -1)
            self._library.memory_seq_cp(self._memory, source, i, -1, -1)

    def cut(self, i: int, length: int) -> None:
        """Leaves the first `length` tokens of a sequence."""
        if not self._library.memory_seq_rm(self._memory, i, length, -1):
            raise InternalError("llama.cpp does not shorten a sequence")

    def tokens(self, i: int) -> int:
        """Tokens that a sequence holds."""
        return int(self._library.memory_seq_pos_max(self._memory, i)) + 1

    def decode(self, runs: Sequence[Run], threads: int) -> NDArray[np.float32]:
        """The (n, V) logits of all wanted positions, run after run, which the next call may
        overwrite. The sequences' numbers ascend. Raises CallError if llama.cpp cannot compute
        them."""
        if threads != self._threads:  # the library reports each call, by ours
            self._library.set_n_threads(self._pointer, threads, threads)
            self._threads = threads
        parts = _parts(runs, min(MOST_TOKENS, self._room))
        if len(parts) == 1:
            return self._decode(parts[0])
        return np.concatenate([self._decode(part).copy() for part in parts])

    def _decode(self, runs: Sequence[Run]) -> NDArray[np.float32]:
        rows = self._batch.fill(runs)
        said()
        failed = self._library.decode(self._pointer, self._batch.batch)
        if failed:
            raise CallError(
                f"llama.cpp computes no forward ({failed}): {reason('it does not say why')}",
                "leave the engine out: fkdsl then computes the model itself",
            )
        if not rows:
            return np.zeros((0, self._vocabulary), dtype=np.float32)
        address = int(self._library.get_logits(self._pointer))
        known, logits = self._logits
        if known != address or len(logits) < rows:
            logits = np.ctypeslib.as_array(
                cast(address, POINTER(c_float)), (rows, self._vocabulary)
            )
            self._logits = address, logits
        return logits[:rows]


class _Arrays:
    """The arrays of a batch, filled anew for each call."""

    def __init__(self, room: int) -> None:
        self.token, self.pos, self.sequence = (np.zeros(room, np.int32) for _ in range(3))
        self.one = np.ones(room, np.int32)
        self.wanted = np.zeros(room, np.int8)
        # For each token a list of sequences: here lists of one, one after another.
        self.lists = np.arange(room, dtype=np.uint64) * 4 + self.sequence.ctypes.data
        self.batch = Batch(
            0,
            self.token.ctypes.data_as(POINTER(c_int32)),
            None,
            self.pos.ctypes.data_as(POINTER(c_int32)),
            self.one.ctypes.data_as(POINTER(c_int32)),
            self.lists.ctypes.data_as(POINTER(POINTER(c_int32))),
            self.wanted.ctypes.data_as(POINTER(c_int8)),
        )

    def fill(self, runs: Sequence[Run]) -> int:
        """Enters the runs; how many rows they want."""
        at = rows = 0
        for sequence, position, tokens, wanted in runs:
            end = at + len(tokens)
            if end == at + 1:
                self.token[at], self.pos[at], self.sequence[at] = tokens[0], position, sequence
                self.wanted[at] = len(wanted)
                at, rows = end, rows + len(wanted)
                continue
            self.wanted[at:end] = 0
            self.token[at:end] = tokens
            self.pos[at:end] = range(position, position + len(tokens))
            self.sequence[at:end] = sequence
            for w in wanted:
                self.wanted[at + w] = 1
            at, rows = end, rows + len(wanted)
        self.batch.n_tokens = at
        return rows


def _parts(runs: Sequence[Run], most: int) -> list[list[Run]]:
    """The runs in parts of at most `most` tokens and MOST_ROWS rows; long runs are cut."""
    tokens, rows = sum([len(run[2]) for run in runs]), sum([len(run[3]) for run in runs])
    if tokens <= most and rows <= MOST_ROWS:
        return [list(runs)]
    parts: list[list[Run]] = [[]]
    tokens_left, rows_left = most, MOST_ROWS
    for sequence, position, ids, wanted in runs:
        at = 0
        while at < len(ids):
            here = [w for w in wanted if w >= at]
            end = min(len(ids), at + tokens_left)
            if len(here) > rows_left:
                end = min(end, here[rows_left])
            if end > at:
                taken = [w - at for w in here if w < end]
                parts[-1].append((sequence, position + at, ids[at:end], taken))
                tokens_left, rows_left = tokens_left - (end - at), rows_left - len(taken)
                at = end
            if at < len(ids):
                parts.append([])
                tokens_left, rows_left = most, MOST_ROWS
    return parts


def reason(otherwise: str) -> str:
    """What the library has said of an error, without the names of its functions."""
    lines = [line for line in said() if len(line) > 1]
    line = next((line for line in lines if "error" in line), lines[-1] if lines else otherwise)
    return re.sub(r"^(\w+: |error loading model: )+", "", line)[:300]

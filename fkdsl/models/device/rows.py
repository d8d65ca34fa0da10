"""Rows that stay on the device that computed them. A population's next tokens need little of a long
row: its sums over blocks, and the few blocks that a draw looks at. So these are computed there and
read for all particles in one transfer (reads.py); all else of a row is read when it is asked
for.

    answer, = rows_on_device(logits, fault, [3])    # no byte has moved
    answer[2][512:768]                              # (256,) of its third row, as of an array

A DeviceArray gives what the same numpy array gives, to the last bit; only when bytes move differs.
On a processor that is its own device all of this runs too, and tests hold it to plain arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK
from fkdsl.models.device.row_operators import PlainRowOperators, RowOperators
from fkdsl.models.device.transfer import NUMPY, to_device, to_host


def stays(device: torch.device) -> bool:
    """Whether rows are left on a device: on all but the processor's own memory."""
    return bool(device.type != "cpu")


def operators_for(device: torch.device) -> RowOperators:
    """What computes rows on a device."""
    if device.type != "cuda":
        return PlainRowOperators()
    from fkdsl.models.device.trial import row_operators_for

    return row_operators_for(device)


class DeviceArray(NDArrayOperatorsMixin):
    """An array of which parts are read from the device when they are first used. Nobody writes to
    it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, tensor: Tensor) -> None:
        self._begin(tuple(tensor.shape), np.dtype(NUMPY[tensor.dtype]))
        self.tensor = tensor

    def _begin(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Sets everything but the tensor, which subclasses may make when it is first used: there
        are many rows, and an index takes some microseconds."""
        self.shape, self.dtype = shape, dtype
        self._host: NDArray[Any] | None = None
        self._parts: dict[int, NDArray[Any]] = {}
        self._listed: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "tensor":
            self.tensor = tensor = self._tensor()
            return tensor
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.host(), name)

    def _tensor(self) -> Tensor:
        """The tensor of an object that was made without."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def host(self) -> NDArray[Any]:
        """All of it, read once."""
        if self._host is None:
            (self._host,) = to_host(self.tensor)
        return self._host

    def keep_listed(self, indices: NDArray[Any], part: NDArray[Any]) -> None:
        """Keeps what has been read at some indices, for whoever asks with the same array, which is
        held: no other gets its id."""
        self._listed[id(indices)] = indices, part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.host()
        return array.copy() if dtype is None else array.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [x.host() if isinstance(x, DeviceArray) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def reshape(self, *shape: int) -> DeviceArray:
        """The same numbers in another shape, still on the device."""
        return DeviceArray(self.tensor.reshape(*shape))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at: Any) -> Any:
        if self._host is not None:
            return self._host[at]
        if isinstance(at, slice) and self.ndim == 1:
            return self._slice(*at.indices(len(self)))
        if isinstance(at, np.ndarray) and at.dtype != np.bool_:
            entry = self._listed.get(id(at))
            if entry is not None:
                return entry[1]
            (index,) = to_device(self.tensor.device, at.astype(np.int64, copy=False))
            return to_host(self.tensor[index])[0]
        return self.host()[at]

    def _slice(self, start: int, stop: int, step: int) -> Any:
        """A part of one block is read, with its block; of more, nothing yet."""
        if step != 1:
            return self.host()[start:stop:step]
        if stop <= start:
            return np.empty(0, dtype=self.dtype)
        k = start // BLOCK
        if stop > (k + 1) * BLOCK:
            return DeviceArray(self.tensor[start:stop])
        block = self._block(k)
        if block is None:
            (block,) = to_host(self.tensor[k * BLOCK : (k + 1) * BLOCK])
            self._parts[k] = block
        return block[start - k * BLOCK : stop - k * BLOCK]

    def _block(self, k: int) -> NDArray[Any] | None:
        """Block k, if it has been read."""
        return self._parts.get(k)


class DeviceRows(DeviceArray):
    """The rows of one forward: (n, V) log-probabilities in nats. sums: (n, blocks) those of the
    probabilities of each block. fault: makes the error of rows that are NaN, which is raised when
    they are first read."""

    def __init__(self, log_p: Tensor, sums: Tensor, fault: Callable[[], Exception]) -> None:
        super().__init__(log_p)
        self.forward_sums, self._fault = sums, fault
        self._host_sums: NDArray[np.float64] | None = None
        self.rows = [DeviceRow(self, i) for i in range(len(log_p))]

    def sums(self) -> NDArray[np.float64]:
        """(n, blocks) float64, read once."""
        if self._host_sums is None:
            self.keep_sums(to_host(self.forward_sums)[0])
        assert self._host_sums is not None
        return self._host_sums

    def keep_sums(self, sums: NDArray[Any]) -> None:
        """Keeps the sums that have been read. Raises the error of NaN."""
        if np.isnan(sums).any():
            raise self._fault()
        self._host_sums = sums.astype(np.float64)

    @property
    def has_been_read(self) -> bool:
        """Whether its sums are at hand."""
        return self._host_sums is not None

    def column(self, i: int) -> NDArray[Any]:
        """(n,) what the rows say of token i, read once."""
        if i not in self._parts:
            (self._parts[i],) = to_host(self.tensor[:, i])
        return self._parts[i]

    @property
    def is_at_hand(self) -> bool:
        """Whether all of them have been read."""
        return self._host is not None

    def keep_all(self, log_p: NDArray[Any]) -> None:
        """Keeps the rows, all of which have been read."""
        self._host = log_p


class DeviceRow(DeviceArray):
    """One of the rows of a forward, (V,)."""

    def __init__(self, of: DeviceRows, i: int) -> None:
        self._begin(of.shape[1:], of.dtype)
        self.of, self.i = of, i
        self._blocks: tuple[list[int], NDArray[Any]] | None = None

    def _tensor(self) -> Tensor:
        return self.of.tensor[self.i]

    def keep_blocks(self, numbers: list[int], blocks: NDArray[Any]) -> None:
        """Keeps blocks that have been read, (len(numbers), BLOCK), the row's last one with anything
        behind its end; the first of them is kept with those of a later draw from the row."""
        if self._blocks is not None:
            (first, *_), before = self._blocks
            self._parts[first] = before[0][: len(self) - first * BLOCK]
        self._blocks = numbers, blocks

    def _block(self, k: int) -> NDArray[Any] | None:
        if self._blocks is not None and k in self._blocks[0]:
            block: NDArray[Any] = self._blocks[1][self._blocks[0].index(k)]
            return block[: len(self) - k * BLOCK]
        return self._parts.get(k)

    @property
    def sums(self) -> NDArray[np.float64]:
        """(blocks,) of its probabilities."""
        sums: NDArray[np.float64] = self.of.sums()[self.i]
        return sums

    def host(self) -> NDArray[Any]:
        """All of it, read together with the other rows of its forward."""
        self.of.sums()  # raises where they are NaN
        if self._host is None:
            self._host = self.of.host()[self.i]
        return self._host

    def __getitem__(self, at: Any) -> Any:
        if self.of.is_at_hand:
            return self.host()[at]
        if not isinstance(at, int | np.integer):
            return super().__getitem__(at)
        block = self._block(int(at) // BLOCK)
        # The other particles are likely to ask how likely the same token is to them.
        return self.of.column(int(at))[self.i] if block is None else block[int(at) % BLOCK]


class SomeRows(DeviceArray):
    """Rows of a forward that follow each other, as a model answers one request with."""

    def __init__(self, of: DeviceRows, begin: int, end: int) -> None:
        self._begin((end - begin, *of.shape[1:]), of.dtype)
        self.rows, self._of, self._first = of.rows[begin:end], of, begin

    def _tensor(self) -> Tensor:
        return self._of.tensor[self._first : self._first + len(self)]

    def host(self) -> NDArray[Any]:
        if not self.rows:
            return super().host()
        return np.stack([row.host() for row in self.rows])

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, int | np.integer):
            return self.rows[int(at)]
        return self.host()[at]


def rows_on_device(
    logits: Tensor, fault: Callable[[], Exception], counts: Sequence[int]
) -> list[SomeRows]:
    """The rows of a forward, `counts` of them for each request. logits: (n, V). Nothing waits for
    the device. fault: as in DeviceRows."""
    log_p, sums = operators_for(logits.device).normalised(logits)
    rows = DeviceRows(log_p, sums, fault)
    ends = np.cumsum(counts)
    return [SomeRows(rows, int(end) - n, int(end)) for end, n in zip(ends, counts, strict=True)]

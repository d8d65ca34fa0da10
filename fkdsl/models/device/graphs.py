"""CUDA graphs: the kernels of a decode step are recorded once and then started together, since
starting each of some hundreds takes longer than it runs.

    graphs = Graphs(captured)
    logits = graphs.run(key, generation, compute)    # recorded when a key comes the second time

What is recorded reads and writes the same addresses each time. So `compute` takes its inputs from
tensors that stay where they are, its shapes are functions of the key, and everything recorded is
dropped when one of these tensors is replaced, which a new `generation` says.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

Compute = Callable[[], Tensor]
MOST = 48
"""Graphs that are kept, the oldest of them dropped first."""


class Graphs:
    """Recorded computations. capture: records one, whose result is the function that replays it and
    gives its output, which the next replay writes over."""

    def __init__(self, capture: Callable[[Compute], Compute]) -> None:
        self._capture: Callable[[Compute], Compute] | None = capture
        self._generation: Hashable = None
        self._replays: dict[Hashable, Compute] = {}
        self._seen: set[Hashable] = set()
        self.recorded = 0  # in all

    def run(self, key: Hashable, generation: Hashable, compute: Compute) -> Tensor:
        """What `compute` gives. The first time for a key it runs plainly: many shapes never come
        again."""
        if generation != self._generation:
            self._replays.clear()
            self._generation = generation
        replay = self._replays.get(key)
        if replay is None:
            if self._capture is None or key not in self._seen:
                self._seen.add(key)
                return compute()
            try:
                replay = self._capture(compute)
            except RuntimeError as error:
                self._capture = None
                self._replays.clear()
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(
                    f"decode steps run without CUDA graphs, more slowly: {reason}", stacklevel=2
                )
                return compute()
            while len(self._replays) >= MOST:
                del self._replays[next(iter(self._replays))]
            self._replays[key] = replay
            self.recorded += 1
        return replay()


class CudaCapture:
    """Records on a GPU. All its graphs share the memory of what they compute in between."""

    def __init__(self) -> None:
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> Compute:
        # A run on another stream first, as torch asks for, so that libraries have their workspaces.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device meanwhile.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = compute()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay

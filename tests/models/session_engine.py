"""Takes the place of fkdsl.models.vllm.session.SessionEngine in tests: slots, memory and partial
reading as vLLM has them, and rows that are a random function of the whole text. It is strict: what
vLLM would take silently, or hang on, fails."""

from __future__ import annotations

import numpy as np
import torch

from fkdsl.models.vllm.model import VllmModel
from fkdsl.models.vllm.session import StepDone
from tests.engine.tiny import V, letters


def row_of(text):
    """(V,) the logits after a text."""
    seed = [len(text), *(t + 1 for t in text)]
    return np.random.default_rng(seed).normal(size=V).astype(np.float32) * 3


class ScriptedEngine:
    """memory: most tokens that all sessions hold together. budget: most tokens that a step reads;
    a session may so need several. begun: how many sessions were begun. computed: how many tokens
    were read."""

    def __init__(self, max_sessions=64, memory=10_000, budget=16):
        self.max_sessions, self.memory, self.budget = max_sessions, memory, budget
        self.max_length, self.vocabulary, self.block_size = 128, V, 8
        self.texts, self.read, self.ready, self.forks = {}, {}, [], {}
        self.fresh = set()  # sessions that were never ready: vLLM may interrupt them
        self.begun = self.steps = self.computed = 0

    def feed(self, name, tokens, *, new=False, from_cache=True, fork=None):
        assert tokens
        if fork is not None:
            assert new
            assert 0 < fork[1] < len(tokens)
            self.forks[name] = fork
        assert (name not in self.texts) == new
        if new:
            assert len(self.texts) < self.max_sessions, "vLLM would let it wait for ever"
            self.texts[name], self.read[name] = [], 0
            self.fresh.add(name)
            self.begun += 1
        assert self.read[name] == len(self.texts[name]), "the session still reads"
        self.texts[name] += tokens
        self.ready = []

    def step(self):
        self.steps += 1
        left, self.ready = self.budget, []
        for name, text in self.texts.items():
            self._take_over(name)
            more = min(len(text) - self.read[name], left)
            if more and sum(self.read.values()) + more <= self.memory:
                self.read[name] += more
                self.computed += more
                left -= more
                if self.read[name] == len(text):
                    self.ready.append(name)
        self.fresh.difference_update(self.ready)
        interrupted = [name for name in self.fresh if self.read[name]]
        if left == self.budget and interrupted and len(self.held) > 1:
            self.read[max(interrupted, key=int)] = 0
        return StepDone(list(self.ready), left < self.budget)

    def _take_over(self, name):
        """Gives a fork that has read nothing what its source has, where that is alive and there is
        room."""
        source, n = self.forks.get(name, (None, 0))
        room = self.memory - sum(self.read.values())
        if not self.read[name] and 0 < n <= min(self.read.get(source, 0), room):
            self.texts[name][:n] = self.texts[source][:n]
            self.read[name] = n

    def logits(self, names):
        assert all(name in self.ready for name in names)
        return torch.tensor(np.stack([row_of(self.texts[name]) for name in names]))

    def close(self, names):
        for name in names:
            del self.texts[name], self.read[name]
            self.forks.pop(name, None)
            self.fresh.discard(name)

    @property
    def held(self):
        return [name for name, read in self.read.items() if read]

    @property
    def sessions(self):
        return len(self.texts)

    @property
    def used(self):
        return sum(self.read.values()) / self.memory

    def shutdown(self):
        pass


def scripted(**bounds):
    """A VllmModel over a ScriptedEngine."""
    return VllmModel(ScriptedEngine(**bounds), letters("scripted", 128))

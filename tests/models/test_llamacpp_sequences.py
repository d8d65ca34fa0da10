"""The books of llama.cpp's sequences, against sequences that are lists of tokens: whatever is
asked, each row is computed behind exactly its own context. Needs no library."""

import random

import pytest

from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.llamacpp.sequences import Sequences, SequenceSegment, length_of, shared_missing


class Lists:
    """What llama.cpp would do: `contents[i]` are the tokens of sequence i."""

    def __init__(self, count):
        self.books, self.contents = Sequences(count), [[] for _ in range(count)]
        self.copies = self.computed = self.steps = 0

    def forward(self, rows):
        """The segments of the rows, each of which must have been computed behind its context."""
        found = {}
        if (ends := self.books.ends_of(rows)) is not None:
            self.books.tick()
            return [self.go_on(row, end) for row, end in zip(rows, ends, strict=True)]
        for segment in shared_missing(self.books.look(rows)):
            self.compute([ForwardRow(segment.past, segment.tokens, ())], [segment])
        pending = self.books.order(rows)
        while pending:
            wave, pending = pending[: len(self.books)], pending[len(self.books) :]
            segments = self.compute([rows[i] for i in wave])
            found.update(zip(wave, segments, strict=True))
        return [found[i] for i in range(len(rows))]

    def go_on(self, row, sequence):
        """The segment of a row of one token, whose sequence ends with its past."""
        assert self.contents[sequence] == text_of(row.past)
        self.contents[sequence].extend(row.tokens)
        self.computed, self.steps = self.computed + 1, self.steps + 1
        segment = SequenceSegment(row.past, row.tokens)
        self.books.went_on(sequence, segment)
        self.verify()
        return segment

    def compute(self, rows, again=None):
        plans = self.books.plan(self.books.look(rows))
        numbers = sorted(plan.sequence for plan in plans)
        assert numbers == list(range(numbers[0], numbers[0] + len(rows)))
        for plan in plans:
            if plan.copied_from is not None:
                self.contents[plan.sequence] = list(self.contents[plan.copied_from])
                self.books.prepare(plan)
                self.copies += 1
        for plan in plans:
            del self.contents[plan.sequence][plan.kept :]
            assert len(self.contents[plan.sequence]) == plan.kept
            self.books.cut(plan)
        made = {}
        for plan in plans:
            content = self.contents[plan.sequence]
            content.extend(plan.tokens)
            self.computed += len(plan.tokens)
            row = plan.row
            assert content == [*text_of(row.past), *row.tokens]
            wanted = [plan.tokens[w] for w in plan.wanted]
            assert wanted == [row.tokens[w] for w in row.wanted]
            segment = again[plan.index] if again else SequenceSegment(row.past, row.tokens)
            self.books.record(plan, segment)
            made[plan.index] = segment
        self.verify()
        return [made[i] for i in range(len(rows))]

    def verify(self):
        for i, content in enumerate(self.contents):
            assert self.books.length(i) == len(content)


def text_of(past):
    return [] if past is None else [*text_of(past.segment.past), *past.segment.tokens[: past.stop]]


def walk(count, seed, most=12, rounds=60):
    """A population that grows, forks, merges, dies and comes back to older contexts."""
    rng, lists = random.Random(seed), Lists(count)
    (prompt,) = lists.forward([ForwardRow(None, tuple(rng.choices(range(9), k=4)), (3,))])
    particles = [Past(prompt, 4)] * most
    for _ in range(rounds):
        kind = rng.random()
        if kind < 0.4:  # resampling: some die, others are there several times
            particles = rng.choices(particles, k=rng.randint(1, most))
        elif kind < 0.5:  # an earlier place of one of them
            past = rng.choice(particles)
            particles.append(Past(past.segment, rng.randint(1, past.stop)))
        elif kind < 0.55:
            particles.append(None)
        most_tokens = rng.choice((1, 3))
        rows = [
            ForwardRow(p, tuple(rng.choices(range(9), k=rng.randint(1, most_tokens))), (0,))
            for p in rng.sample(particles, rng.randint(1, len(particles)))
        ]
        segments = lists.forward(rows)
        for row, segment in zip(rows, segments, strict=True):
            particles[particles.index(row.past)] = Past(segment, segment.length)
    return lists


@pytest.mark.parametrize("count", [1, 2, 5, 12, 40])
@pytest.mark.parametrize("seed", range(6))
def test_each_row_is_computed_behind_its_own_context(count, seed):
    walk(count, seed)


@pytest.mark.parametrize("step", ["prepare", "cut"])
def test_a_planted_bug_is_caught(monkeypatch, step):
    monkeypatch.setattr(Sequences, step, lambda self, plan: None)
    with pytest.raises((AssertionError, IndexError, KeyError)):
        walk(5, seed=0)


def test_steps_of_contexts_that_go_on_are_planned_by_a_look():
    assert all(walk(12, seed).steps for seed in range(6))
    lists = Lists(2)
    (prompt,) = lists.forward([ForwardRow(None, (1, 2, 3), (2,))])
    behind = [ForwardRow(Past(prompt, n), (7,), (0,)) for n in (2, 3)]
    assert lists.books.ends_of(behind[1:]) == [0]
    assert lists.books.ends_of(behind[:1]) is None  # the sequence goes further
    assert lists.books.ends_of(behind[1:] * 2) is None  # one of them is a fork


def test_a_population_computes_each_token_once_and_copies_a_fork_once():
    lists, rng = Lists(16), random.Random(0)
    (prompt,) = lists.forward([ForwardRow(None, (1, 2, 3), (2,))])
    particles = [Past(prompt, 3)] * 16
    for step in range(30):
        rows = [ForwardRow(p, (i,), (0,)) for i, p in enumerate(particles)]
        segments = lists.forward(rows)
        assert lists.computed == 3 + 16 * (step + 1)
        ancestors = sorted(rng.choices(range(16), k=16))
        particles = [Past(segments[a], 1) for a in ancestors]
        copies = 16 - len(set(ancestors))
        del rows, segments
        before = lists.copies
        rows = [ForwardRow(p, (i,), (0,)) for i, p in enumerate(particles)]
        segments = lists.forward(rows)
        assert lists.copies - before == copies
        particles = [Past(s, 1) for s in segments]
        lists.computed -= 16


def test_those_that_go_on_are_moved_together_once():
    """llama.cpp runs only consecutive sequences in one batch."""
    lists = Lists(16)
    (prompt,) = lists.forward([ForwardRow(None, (1, 2), (1,))])
    segments = lists.forward([ForwardRow(Past(prompt, 2), (i,), (0,)) for i in range(16)])
    particles = [Past(segments[i], 1) for i in (0, 3, 4, 9, 14, 15)]
    copies = []
    for _ in range(3):
        before = lists.copies
        segments = lists.forward([ForwardRow(p, (7,), (0,)) for p in particles])
        particles = [Past(s, 1) for s in segments]
        copies.append(lists.copies - before)
    assert copies[0] <= 4
    assert copies[1:] == [0, 0]


def test_what_several_rows_lack_is_computed_once():
    lists = Lists(8)
    (prompt,) = lists.forward([ForwardRow(None, tuple(range(100)), (99,))])
    lists.books.clear()
    lists.contents = [[] for _ in lists.contents]
    lists.computed = 0
    lists.forward([ForwardRow(Past(prompt, 100), (i,), (0,)) for i in range(8)])
    assert lists.computed == 100 + 8
    assert length_of(Past(prompt, 100)) == 100

"""Which blocks a fork begins with, on stand-ins for vLLM's managers: vLLM need not be installed.
tests/models/test_vllm.py has the rows that come of it."""

from types import SimpleNamespace

import pytest

from fkdsl.models.vllm.forks import FORK, install

BLOCK = 4


class FullAttentionManager:
    """Blocks of 4 tokens, numbered; those that no window sees any more are null."""

    block_size = BLOCK

    def __init__(self, window=None):
        self.window, self.req_to_blocks = window, {}

    def get_num_skipped_tokens(self, n):
        return 0 if self.window is None else max(0, n - self.window + 1)


class SlidingWindowManager(FullAttentionManager):
    pass


class MambaManager(FullAttentionManager):
    pass


class Manager:
    """The prefix cache has the first block of everything."""

    def __init__(self, *groups):
        self.coordinator = SimpleNamespace(single_type_managers=groups)
        self.steps = 0

    def get_computed_blocks(self, request):
        return "cached", BLOCK, 0

    def new_step_starts(self):
        self.steps += 1

    def create_kv_cache_blocks(self, groups):
        return [[block.number for block in group] for group in groups]


def request(name, tokens, computed=0, fork=None):
    return SimpleNamespace(
        request_id=name,
        all_token_ids=list(tokens),
        num_computed_tokens=computed,
        sampling_params=SimpleNamespace(extra_args=fork and {FORK: list(fork)}),
    )


def scheduler(*groups, computed=11):
    """With one request, `s`, of tokens 0 to 10, `computed` of which it has read."""
    for group in groups:
        group.req_to_blocks["s"] = [SimpleNamespace(number=k, is_null=False) for k in range(3)]
    source = request("s", range(11), computed)
    made = SimpleNamespace(kv_cache_manager=Manager(*groups), requests={"s": source})
    made.installed = install(made)
    return made


def blocks(made, tokens, fork):
    return made.kv_cache_manager.get_computed_blocks(request("f", tokens, fork=fork))


@pytest.mark.parametrize("n", [5, 8, 11])
def test_a_fork_begins_with_the_blocks_of_its_source_and_part_of_the_last(n):
    made = scheduler(FullAttentionManager())
    assert made.installed
    assert blocks(made, [*range(n), 99], ("s", n)) == ([list(range(-(-n // BLOCK)))], n, 0)


def test_other_requests_and_shorter_forks_have_what_the_prefix_cache_has():
    made = scheduler(FullAttentionManager())
    assert blocks(made, range(9), None) == ("cached", BLOCK, 0)
    assert blocks(made, range(9), ("s", 4)) == ("cached", BLOCK, 0)


@pytest.mark.parametrize(
    ("tokens", "fork", "computed"),
    [
        ([*range(9), 99], ("gone", 9), 11),  # its source has ended
        ([*range(9), 99], ("s", 9), 8),  # or has not read so much
        ([*range(8), 77, 99], ("s", 9), 11),  # or another text
    ],
)
def test_a_source_that_has_not_the_forks_tokens_is_not_forked(tokens, fork, computed):
    made = scheduler(FullAttentionManager(), computed=computed)
    assert blocks(made, tokens, fork) == ("cached", BLOCK, 0)


def test_a_source_that_begins_in_the_same_step_is_not_forked():
    made = scheduler(FullAttentionManager())
    made.kv_cache_manager.get_computed_blocks(made.requests["s"])
    assert blocks(made, [*range(9), 99], ("s", 9)) == ("cached", BLOCK, 0)
    made.kv_cache_manager.new_step_starts()
    assert made.kv_cache_manager.steps == 1
    assert blocks(made, [*range(9), 99], ("s", 9))[1] == 9


def test_a_window_of_which_the_source_has_given_up_a_part_is_not_forked():
    groups = FullAttentionManager(), SlidingWindowManager(window=4)
    made = scheduler(*groups)
    groups[1].req_to_blocks["s"][0].is_null = True
    assert blocks(made, [*range(9), 99], ("s", 9)) == ([[0, 1, 2]] * 2, 9, 0)  # it sees 6 to 9
    assert blocks(made, [*range(6), 99], ("s", 6)) == ("cached", BLOCK, 0)  # it sees 3 to 6


def test_layers_with_a_state_are_not_forked():
    made = scheduler(FullAttentionManager(), MambaManager())
    assert not made.installed
    assert blocks(made, [*range(9), 99], ("s", 9)) == ("cached", BLOCK, 0)

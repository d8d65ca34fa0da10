"""Forks inside vLLM's memory: a session that begins with what a live one has read takes over its
keys and values, and computes its own tokens alone.

vLLM's prefix cache finds full blocks only, so a fork would read again up to a block of tokens. But
vLLM lets a request begin in the middle of a block of another: its workers copy such a block before
the step (copy-on-write, which it has for hybrid models). So it is enough to say which blocks a
request begins with: those of the session that it forks.

A fork is named in `extra_args` of its request. Where its source has ended, or vLLM has interrupted
it, the prefix cache gives what it has, as without a fork. So it does where the source begins in the
same step: it may begin with blocks that another request computes in that step, after the copy.
"""

from __future__ import annotations

from typing import Any

FORK = "fkdsl_fork"
"""Where a request's `extra_args` have [source, n]: it begins with n tokens that the session has
read."""
COPIED = ("FullAttentionManager", "SlidingWindowManager")
"""vLLM's managers whose blocks are keys and values of tokens in their order, so that a part of a
block may be shared."""


def install(scheduler: Any) -> bool:
    """Makes a scheduler of vLLM fork, where all layers of its model have keys and values; whether
    they have."""
    manager = scheduler.kv_cache_manager
    if any(type(m).__name__ not in COPIED for m in manager.coordinator.single_type_managers):
        return False
    cached_blocks, step_starts = manager.get_computed_blocks, manager.new_step_starts
    beginning: set[str] = set()

    def new_step_starts() -> None:
        """See KVCacheManager.new_step_starts, which a scheduler calls before it plans a step."""
        beginning.clear()
        step_starts()

    def computed_blocks(request: Any, *bound: Any) -> tuple[Any, int, int]:
        """See KVCacheManager.get_computed_blocks: blocks, how many tokens they hold, and 0. bound:
        None from 0.33 on, where nothing but keys and values is kept."""
        beginning.add(request.request_id)
        cached: tuple[Any, int, int] = cached_blocks(request, *bound)
        extra = getattr(request.sampling_params, "extra_args", None) or {}
        source, n = extra.get(FORK, (None, 0))
        if n <= cached[1] or source in beginning:
            return cached
        blocks = _blocks_of(manager, scheduler.requests.get(source), request, n)
        return cached if blocks is None else (manager.create_kv_cache_blocks(blocks), n, 0)

    manager.get_computed_blocks, manager.new_step_starts = computed_blocks, new_step_starts
    return True


def _blocks_of(manager: Any, source: Any, request: Any, n: int) -> tuple[list[Any], ...] | None:
    """By group of layers, the blocks that hold the first n tokens of a source; None where it has
    not got them, or they are not the request's."""
    if (
        source is None
        or source.num_computed_tokens < n
        or source.all_token_ids[:n] != request.all_token_ids[:n]
    ):
        return None
    groups = []
    for of_group in manager.coordinator.single_type_managers:
        blocks = of_group.req_to_blocks.get(source.request_id, [])[: -(-n // of_group.block_size)]
        seen = blocks[of_group.get_num_skipped_tokens(n) // of_group.block_size :]
        # A source that went on has given up blocks that no longer stand in its window.
        if len(blocks) * of_group.block_size < n or any(block.is_null for block in seen):
            return None
        groups.append(list(blocks))
    return tuple(groups)

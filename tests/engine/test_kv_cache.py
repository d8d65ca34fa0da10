"""The bookkeeping of a cache of keys, values and rows."""

import numpy as np

from fkdsl.engine.kv_cache import KVCache


def test_nodes_may_be_freed_while_rows_are_evicted():
    cache = KVCache()
    cache.row_budget = 8
    freed = []

    class Freeing(int):
        """A node that is looked up when Python's collector frees another one."""

        def __hash__(self):
            if freed:
                cache.release(freed.pop())
            return int.__hash__(self)

    for i in range(6):
        cache.put_row(Freeing(i), np.zeros(1))
        cache.keep_row(Freeing(i)) if i % 2 else None
    freed += [1, 2]
    cache.shrink()
    assert cache.row_nbytes == sum(row.nbytes for row in cache._rows.values()) <= 32
    assert {3, 5} <= set(cache._rows) <= {0, 3, 4, 5}

"""The law of which of several sequences of tokens the next tokens begin with.

>>> import math
>>> row = np.log([0.5, 0.3, 0.2])
>>> rows = {(): row, (0,): row}
>>> p = np.exp(log_probs_of_longest_beginning([(0,), (0, 1)], rows))
>>> [round(float(x), 3) for x in p]  # 0 without 1 behind it, 0 and then 1, anything else
[0.35, 0.15, 0.5]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.models.vocabulary import TokenIds


def log_probs_of_longest_beginning(
    paths: Sequence[TokenIds], rows: Mapping[TokenIds, Floats]
) -> Floats:
    """(paths + 1,) float64, the log-probability (nats) for each path that it is the longest one
    with which the next tokens begin; last, that the next tokens begin with none.

    paths: token ids, all different. rows: for each proper prefix of a path the row (V,) of the next
    token, log-probabilities in nats. The probability of leaving the tree of paths is summed at each
    node. So an impossible outcome has probability exactly 0, where 1 minus a sum would leave a
    rounding error.
    """
    place = {ids: i for i, ids in enumerate(paths)}
    children: dict[TokenIds, list[int]] = {}
    for node in dict.fromkeys(ids[: k + 1] for ids in paths for k in range(len(ids))):
        children.setdefault(node[:-1], []).append(node[-1])
    log_p = np.full(len(paths) + 1, -np.inf)
    todo: list[tuple[TokenIds, float, int]] = [((), 0.0, len(paths))]
    while todo:
        ids, log_reached, longest = todo.pop()
        longest = place.get(ids, longest)
        log_leaves = 0.0
        if ids in children:
            row, on = rows[ids], children[ids]
            todo += [((*ids, i), log_reached + float(row[i]), longest) for i in on]
            log_leaves = log_sum_exp(np.delete(row, on))
        log_p[longest] = np.logaddexp(log_p[longest], log_reached + log_leaves)
    return log_p

"""Links between the heads, by which a drafted symbol depends on the symbols drafted before it.

    links = fitted(model, training, steps=400, rows=6, seed=1)
    logits = model.head(k, z) + links.added(k, x, z.shape[1])

All heads read the same x[..t], so head k's p(x[t+k] | x[..t]) does not depend on x[t+1], ..,
x[t+k-1], which a draft has already chosen before x[t+k]. Without links the drafted symbols come
from different words: "t" and "h" of one, then "o" and "r" of another. A link adds to head k's
logits one row of a table for each of the last drafted symbols:

    logits_k + sum over h of table_{k,h}[x[t+k-h]],     h = 1 .. min(k - 1, ORDER)

The result is a product of experts: the head, which has read the text, and a bigram (h = 1) and a
skip-bigram (h = 2), which have read the draft. It costs an addition. DeepSeek-V3 (2024, section
2.2) chains whole layers for the same purpose, and Hydra heads (Ankner et al. 2024) read the
embeddings of the drafted symbols.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from fkdsl.base.errors import CallError
from fkdsl.models.tiny.data import Documents, check_length
from fkdsl.models.tiny.transformer import SYMBOLS, TinyShape, Transformer

ORDER = 2
"""Most symbols that a link reads before the predicted one. A third would add less than 0.01 tokens
a round to tiny's drafts."""
PREFIX = "links."
"""The prefix of the names of links' weights in a file."""
RATE = 0.1
"""Adam's learning rate at the first step of a fit; it falls to zero linearly."""
SPREAD = 0.1
"""The weight of the cross-entropy in a fit. Without it drafts are 0.01 tokens longer, but p/q
becomes heavy-tailed."""


class Link(nn.Module):  # type: ignore[misc]
    """The tables of one head. weight: (m, V, V); the row weight[h - 1, i] is added to the logits if
    symbol i stands h places before the predicted one."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(reads, SYMBOLS, SYMBOLS))


class Links(nn.ModuleDict):  # type: ignore[misc]
    """The links of heads 2..n, by number. New ones are zero, which changes no logits."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__({str(k): Link(min(k - 1, ORDER)) for k in range(2, shape.ahead + 1)})

    def added(self, k: int, symbols: Tensor, length: int) -> Tensor:
        """(B, length, V) the rows that are added to head k's logits at positions 0 to length - 1.
        symbols: (B, at least length + k - 1)."""
        tables = self[str(k)].weight
        reads = range(1, len(tables) + 1)
        return torch.stack(
            [embedding(symbols[:, k - h : k - h + length], tables[h - 1]) for h in reads]
        ).sum(0)

    def tables(self) -> Tensor:
        """(n - 1, ORDER, V, V) the tables of all heads, zero where a head has fewer."""
        padded = torch.zeros(len(self), ORDER, SYMBOLS, SYMBOLS)
        for row, link in zip(padded, self.values(), strict=True):
            row[: len(link.weight)] = link.weight.detach()
        return padded


def link_shapes(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    """The shapes of all links' weights, by name in a file."""
    return {
        f"{PREFIX}{k}.weight": (min(k - 1, ORDER), SYMBOLS, SYMBOLS)
        for k in range(2, shape.ahead + 1)
    }


def filled_links(shape: TinyShape, tensors: dict[str, Tensor]) -> Links:
    """The links among a file's tensors, in float32."""
    links = Links(shape)
    links.load_state_dict(
        {n: tensors.get(PREFIX + n, zero).float() for n, zero in links.state_dict().items()}
    )
    return links


def fitted(
    model: Transformer,
    training: Documents,
    *,
    steps: int,
    rows: int,
    seed: int,
    rate: float = RATE,
    half: torch.dtype | None = None,
    observer: Callable[[int, list[float]], None] = lambda step, kept: None,
) -> Links:
    """Links fitted to a model, whose weights stay as they are. Speculative sampling compares a
    draft with the first head's row p after the drafted symbols, so for each linked head q the loss
    is

        1 - sum_x min(p(x), q(x))  -  SPREAD sum_x p(x) log q(x)

    The first part is the probability that the draft is refused; the second keeps p/q from growing
    large. Each step reads `rows` windows, which depend on the seed and the step. half: the dtype of
    the model's matrix products. observer: called after each step with its number and the share of
    drafts kept of each head. Raises CallError if the loss is not finite.
    """
    T, n = model.shape.context, model.shape.ahead
    check_length(training, T, "training")
    links = Links(model.shape)
    L = T - n + 1  # positions for which the n rows of p from there on are in the window
    optimizer = torch.optim.Adam(links.parameters(), lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        symbols = torch.from_numpy(training.batch(seed, step, rows, T))
        with torch.no_grad(), torch.autocast("cpu", half, enabled=half is not None):
            z = model.trunk(symbols)
            p = model.head(1, z).float().softmax(-1)
            apart = {k: model.head(k, z).float()[:, :L] for k in range(2, n + 1)}
        kept = []
        for k, logits in apart.items():
            aims = p[:, k - 1 : k - 1 + L]
            log_q = (logits + links.added(k, symbols, L)).log_softmax(-1)
            overlap = torch.minimum(aims, log_q.exp()).sum(-1).mean()
            (1 - overlap - SPREAD * (aims * log_q).sum(-1).mean()).backward()
            kept.append(overlap.item())
        if not all(map(math.isfinite, kept)):
            raise CallError(
                f"the drafts' overlap is {kept} at step {step}",
                "the model's own rows are not finite: train it",
            )
        optimizer.step()
        optimizer.zero_grad()
        observer(step + 1, kept)
    return links

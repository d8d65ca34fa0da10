"""Links between the heads: what makes a drafted symbol depend on those drafted before it.

    links = fitted(model, training, steps=400, rows=6, seed=1)
    logits = model.head(k, z) + links.added(k, x, z.shape[1])

All heads read the same x[..t], so head k's p(x[t+k] | x[..t]) knows nothing of x[t+1], ..,
x[t+k-1], which a draft has by the time it comes to x[t+k]: drafted apart, "t" and "h" of the one
word meet "o" and "r" of another. A link adds to head k's logits a table's row for each of the last
symbols that come after t:

    logits_k + sum over h of table_{k,h}[x[t+k-h]],     h = 1 .. min(k - 1, ORDER)

That is the product of experts of the head, which has read the text, and of a bigram (h = 1) and a
skip-bigram (h = 2), which have seen the draft. It costs an addition. DeepSeek-V3 (2024, section
2.2) chains whole blocks to the same end, and Hydra heads (Ankner et al. 2024) read the drafted
symbols' embeddings.
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
"""Most symbols before the predicted one that a link reads; a third adds under 0.01 tokens a round
to tiny's drafts."""
PREFIX = "links."
"""What the names of links' weights begin with in a file."""
RATE = 0.1
"""Adam's learning rate at the first step of a fit; it falls to zero along a line."""
SPREAD = 0.1
"""Weight of the cross-entropy in a fit: without it drafts go 0.01 tokens further, and p/q becomes
heavy-tailed."""


class Link(nn.Module):  # type: ignore[misc]
    """weight: (m, V, V). weight[h-1, i] is added where i stands h places before the predicted
    symbol."""

    def __init__(self, reads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(reads, SYMBOLS, SYMBOLS))


class Links(nn.ModuleDict):  # type: ignore[misc]
    """The links of heads 2..n, by number; those of a new one, and of a file without any, are
    zero."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__({str(k): Link(min(k - 1, ORDER)) for k in range(2, shape.ahead + 1)})

    def added(self, k: int, symbols: Tensor, length: int) -> Tensor:
        """(B, T, V) what is added to head k's logits of positions 0..T-1. symbols: (B, at least T +
        k - 1)."""
        tables = self[str(k)].weight
        reads = range(1, len(tables) + 1)
        return torch.stack(
            [embedding(symbols[:, k - h : k - h + length], tables[h - 1]) for h in reads]
        ).sum(0)

    def tables(self) -> Tensor:
        """(n - 1, ORDER, V, V) all weights, zero where a head has no table."""
        padded = torch.zeros(len(self), ORDER, SYMBOLS, SYMBOLS)
        for row, link in zip(padded, self.values(), strict=True):
            row[: len(link.weight)] = link.weight.detach()
        return padded


def link_shapes(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    """The shapes of all links' weights, by their names in a file."""
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
    """Links for a model, which stays as it is. They are fitted to what a draft is judged by, the
    model's own row p of the first head once the drafted symbols are there: for each linked head q
    the loss is

        1 - sum_x min(p(x), q(x))  -  SPREAD sum_x p(x) log q(x)

    of which the first is how often speculative sampling refuses the draft, and the second keeps p/q
    from growing large. Each step sees `rows` windows, by seed and step. half: of the model's matrix
    products. observer: called after each step with its number and the share of drafts kept of each
    head. CallError where the loss is not finite.
    """
    T, n = model.shape.context, model.shape.ahead
    check_length(training, T, "training")
    links, L = (
        Links(model.shape),
        T - n + 1,
    )  # positions whose rows of p, up to n - 1 places on, are within the window
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

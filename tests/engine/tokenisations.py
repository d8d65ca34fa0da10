"""The probability of a string under a token model, by summing over its tokenisations one by one:
the oracle of byte views. Tokens cover a string if the last of them is begun before the string ends,
and ends there or later."""

import math

import numpy as np

from fkdsl.models.interface import ForwardRow


def covering(model, raw, ended=False, ids=()):
    """The mass of the token sequences that cover raw, its last token begun before raw ends; ended:
    that are raw, and then an end. One forward a sequence, nothing kept."""
    p = np.exp(
        model.forward([ForwardRow(None, ids, (len(ids) - 1,) if ids else ())])[0].log_probs[0]
    )
    if not raw:
        return sum(p[list(model.vocabulary.ends)]) if ended else 1.0
    found = 0.0
    for i in np.flatnonzero(p):
        token = model.vocabulary.tokens[i]
        if token and raw.startswith(token):
            found += p[i] * covering(model, raw[len(token) :], ended, (*ids, int(i)))
        elif token.startswith(raw) and not ended:
            found += p[i]
    return float(found)


def covering_rows(engine, raw, begins):
    """log of the mass of the sequences that cover raw, with rows from an engine, less tokens that
    stand for no bytes. begins: the context whose row is that of the first token."""
    tokens, ends = engine.model.vocabulary.tokens, engine.model.vocabulary.ends
    said = np.array([bool(token) or i in ends for i, token in enumerate(tokens)])
    covers = [np.array([token.startswith(raw[at:]) for token in tokens]) for at in range(len(raw))]
    spelt = {}
    for i, token in enumerate(tokens):
        spelt.setdefault(token, []).append(i)
    found, todo = 0.0, [(engine.root, 0, 1.0)]
    while todo:
        rows = engine.log_probs([begins if at == 0 else context for context, at, _ in todo])
        longer = []
        for (context, at, mass), row in zip(todo, rows, strict=True):
            p = np.where(said, np.exp(row.astype(np.float64)), 0.0)
            p *= mass / p.sum()
            found += float(p[covers[at]].sum())
            for n in range(1, len(raw) - at):
                for i in spelt.get(raw[at : at + n], ()):
                    longer.append((engine.extend(context, (i,)), at + n, float(p[i])))
        todo = longer
    return math.log(found)

"""A particle's state as JSON-able data and back: to write it to disk, to send it, to replay it.

    {"frames": [...], "contexts": [...]}    one that runs: where each function stands, and the
                                            tokens of each context
        "twist": [place, nats]              where a twist is to be taken back
        "guesses": {owner: nats}            guesses of fkdsl's own that are to be taken back
        "evidence": [v, ...]                documents that were drawn
        "block": [i, n]                     where it is in a block of drafted tokens
    {"value": v}                            one that has returned
    {"died": place}                         one that has died

    and of each, in the step that led to it:
        "drew": [[place, v], ...]           what it drew
        "charges": [[place, nats], ...]     what its lines weighed
        "alternatives": [...]               what else its draws might have given

Contexts are written as the ids of their tokens and attachments; what their model has cached of them
is not, and is computed again. Given the state that it came from, a state is written as what it adds
to that one, so that a history of states is as long as what happened in it. Numbers are exact:
integers as they are, floats by `float.hex`.

Law: a state that is read back has the same key and the same future
(tests/machine/test_state_json.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.engine.drafts import steps_from
from fkdsl.inference.interface import Charge
from fkdsl.machine.alternatives_json import read_alternatives, write_alternatives
from fkdsl.machine.places import Places
from fkdsl.machine.state import (
    ContextState,
    DraftBlock,
    DrawnValue,
    Frame,
    Guess,
    ProgramState,
    Status,
    TextGuess,
    Twist,
)
from fkdsl.machine.value_json import read_value, same, write_value
from fkdsl.models.attachments import Attachment, with_content
from fkdsl.values.documents import Document


def state_to_json(
    x: ProgramState, places: Places, base: ProgramState | None = None
) -> dict[str, Any]:
    """The state as dicts, lists, strings and numbers; where `base` is given, as what it adds to
    that state."""
    data: dict[str, Any] = {}
    match x.status:
        case Status.RUNNING:
            data["frames"] = [
                _write_frame(f, _item(base.frames, i) if base else None)
                for i, f in enumerate(x.frames)
            ]
            data["contexts"] = [
                _write_context(c, i, base.contexts if base else ())
                for i, c in enumerate(x.contexts)
            ]
        case Status.RETURNED:
            data["value"] = write_value(x.value)
        case Status.DEAD:
            assert x.died is not None
            data["died"] = places.write(x.died)
    if x.twist is not None:
        data["twist"] = [places.write(x.twist.place), x.twist.log_weight]
    if evidence := _evidence_since(x, base):
        data["evidence"] = [write_value(d) for d in evidence]
    if x.guesses:
        data["guesses"] = dict(x.guesses)
    if (block := _write_block(x)) is not None:
        data["block"] = block
    if x.drawn:
        data["drew"] = [[places.write(d.place), write_value(d.value)] for d in x.drawn]
    if x.charges:
        data["charges"] = [
            [places.write(c.place), log_weight_to_json(c.log_weight)] for c in x.charges
        ]
    if x.alternatives:
        data["alternatives"] = [write_alternatives(a, places) for a in x.alternatives]
    return data


def _evidence_since(x: ProgramState, base: ProgramState | None) -> tuple[Document, ...]:
    """The documents that were drawn since the base, whose own all come first."""
    return x.evidence[len(base.evidence) :] if base is not None else x.evidence


def state_from_json(
    data: Mapping[str, Any],
    engines: Mapping[str, CachedTransformer],
    places: Places,
    base: ProgramState | None = None,
    attachments: Mapping[int, Attachment] = MappingProxyType({}),
) -> ProgramState:
    """The state again, over a model's engines; `base` as it was when the state was written.
    attachments: those whose ids stand in its contexts. Raises ValueError for a token that a model
    has not, and for an attachment that is not among them."""
    charges = tuple(
        Charge(places.read(p), log_weight_from_json(w)) for p, w in data.get("charges", ())
    )
    drawn = tuple(DrawnValue(places.read(p), read_value(v)) for p, v in data.get("drew", ()))
    alternatives = tuple(read_alternatives(a, places) for a in data.get("alternatives", ()))
    evidence = (
        *(base.evidence if base is not None else ()),
        *(read_value(d) for d in data.get("evidence", ())),
    )
    told: dict[str, Any] = {
        "evidence": evidence,
        "charges": charges,
        "drawn": drawn,
        "alternatives": alternatives,
    }
    if "value" in data:
        return ProgramState(Status.RETURNED, value=read_value(data["value"]), **told)
    if "died" in data:
        return ProgramState(Status.DEAD, died=places.read(data["died"]), **told)
    frames = tuple(
        _read_frame(f, _item(base.frames, i) if base else None)
        for i, f in enumerate(data["frames"])
    )
    contexts = tuple(
        _read_context(c, i, engines, base.contexts if base else (), attachments)
        for i, c in enumerate(data["contexts"])
    )
    draft_block = _read_block(data["block"], contexts) if "block" in data else None
    twist = None
    if "twist" in data:
        place, log_weight = data["twist"]
        twist = Twist(float(log_weight), places.read(place))
    return ProgramState(
        Status.RUNNING,
        frames,
        contexts,
        twist=twist,
        guesses=tuple(Guess(o, float(w)) for o, w in sorted(data.get("guesses", {}).items())),
        draft_block=draft_block,
        **told,
    )


def _write_block(x: ProgramState) -> list[int] | None:
    """[i, n]: the block of drafted tokens began n tokens before the end of context i. One that no
    context continues is none that a draw could be in."""
    if x.draft_block is None:
        return None
    for i, c in enumerate(x.contexts):
        if (
            c.model == x.draft_block.model
            and (n := steps_from(c.node, x.draft_block.base)) is not None
        ):
            return [i, n]
    return None


def _read_block(data: list[int], contexts: tuple[ContextState, ...]) -> DraftBlock:
    c = contexts[data[0]]
    base = c.node
    for _ in range(data[1]):
        assert base.parent is not None
        base = base.parent
    return DraftBlock(c.model, base)


def log_weight_to_json(nats: float) -> float | None:
    """A log weight as a JSON number, which keeps all of a float64; -inf, a weight of zero, as
    null."""
    return None if nats == -math.inf else float(nats)


def log_weight_from_json(data: float | None) -> float:
    return -math.inf if data is None else float(data)


def _item(items: tuple[Any, ...], i: int) -> Any:
    return items[i] if i < len(items) else None


# ----------------------------------------------------------------------- frames


def _write_frame(f: Frame, base: Frame | None) -> dict[str, Any]:
    """{"function", "pc", "target", "slots"}; where the base has a frame of the function there, what
    differs: {"pc", "set"}."""
    if base is None or (base.function, base.target, len(base.slots)) != (
        f.function,
        f.target,
        len(f.slots),
    ):
        return {
            "function": f.function,
            "pc": f.pc,
            "target": f.target,
            "slots": [write_value(v) for v in f.slots],
        }
    data: dict[str, Any] = {} if f.pc == base.pc else {"pc": f.pc}
    changed = {
        str(i): _write_change(v, b)
        for i, (v, b) in enumerate(zip(f.slots, base.slots, strict=True))
        if not same(v, b)
    }
    if changed:
        data["set"] = changed
    return data


def _read_frame(data: Mapping[str, Any], base: Frame | None) -> Frame:
    if "function" in data:
        return Frame(
            data["function"], data["pc"], tuple(map(read_value, data["slots"])), data["target"]
        )
    assert base is not None
    slots = list(base.slots)
    for i, change in data.get("set", {}).items():
        slots[int(i)] = _read_change(change, slots[int(i)])
    return Frame(base.function, data.get("pc", base.pc), tuple(slots), base.target)


def _write_change(value: Any, base: Any) -> Any:
    """A text or list that goes on from the old one as {"more": the rest}, anything else as
    itself."""
    if isinstance(value, str) and isinstance(base, str) and base and value.startswith(base):
        return {"more": value[len(base) :]}
    if (
        isinstance(value, tuple)
        and isinstance(base, tuple)
        and base
        and same(value[: len(base)], base)
    ):
        return {"more": [write_value(v) for v in value[len(base) :]]}
    return write_value(value)


def _read_change(data: Any, base: Any) -> Any:
    if not isinstance(data, dict) or "more" not in data:
        return read_value(data)
    more = data["more"]
    return base + (more if isinstance(more, str) else tuple(map(read_value, more)))


# --------------------------------------------------------------------- contexts


def _write_context(c: ContextState, i: int, before: tuple[ContextState, ...]) -> dict[str, Any]:
    """{"model", "tokens", "start"}, or {"of", "keep", "add"}: the first `keep` tokens (all) of the
    base's context `of` (the i-th), and the tokens added; of both {"done", "pending", "guess"}."""
    of, keep = _nearest(c, i, before)
    if of is None:
        data: dict[str, Any] = {"model": c.model, "tokens": list(c.node.tokens), "start": c.start}
    else:
        data = {} if of == i else {"of": of}
        if keep < before[of].node.length:
            data["keep"] = keep
        if added := _tokens_after(c.node, keep):
            data["add"] = added
    if c.done:
        data["done"] = True
    if c.pending is not None:
        data["pending"] = c.pending
    if c.guess is not None:
        data["guess"] = list(c.guess)
    return data


def _nearest(c: ContextState, i: int, before: tuple[ContextState, ...]) -> tuple[int | None, int]:
    """The context of the base, beginning with the same prompt, that shares most of c's tokens, and
    how many."""
    best, most = None, 0
    for j in sorted(range(len(before)), key=lambda j: j != i):
        b = before[j]
        if (b.model, b.start) == (c.model, c.start):
            keep = _fork_of(b.node, c.node).length
            if keep >= c.start and (best is None or keep > most):
                best, most = j, keep
            if keep == b.node.length:
                break
    return best, most


def _fork_of(a: Context, b: Context) -> Context:
    """The longest sequence that begins both; as many steps as they differ by."""
    while a is not b:
        if a.length >= b.length and a.parent is not None:
            a = a.parent
        else:
            assert b.parent is not None
            b = b.parent
    return a


def _tokens_after(node: Context, keep: int) -> list[int]:
    tokens = []
    while node.length > keep:
        assert node.parent is not None
        tokens.append(node.token)
        node = node.parent
    return tokens[::-1]


def _read_context(
    data: Mapping[str, Any],
    i: int,
    engines: Mapping[str, CachedTransformer],
    before: tuple[ContextState, ...],
    attachments: Mapping[int, Attachment],
) -> ContextState:
    done, pending, guess = data.get("done", False), data.get("pending"), None
    if "guess" in data:
        power, log_h, since = data["guess"]
        guess = TextGuess(float(power), float(log_h), since)
    if "tokens" in data:
        engine = engines[data["model"]]
        tokens, start = _read_ids(engine, data["tokens"], attachments), data["start"]
        skip = len(engine.model.vocabulary.raw(tokens[:start]))
        return ContextState(
            data["model"], engine.extend(engine.root, tokens), start, skip, done, pending, guess
        )
    base = before[data.get("of", i)]
    node, keep = base.node, data.get("keep", base.node.length)
    while node.length > keep:
        assert node.parent is not None
        node = node.parent
    engine = engines[base.model]
    node = engine.extend(node, _read_ids(engine, data.get("add", ()), attachments))
    return ContextState(base.model, node, base.start, base.skip, done, pending, guess)


def _read_ids(
    engine: CachedTransformer, ids: Sequence[int], attachments: Mapping[int, Attachment]
) -> list[int]:
    size = engine.model.vocabulary.size
    if any(i >= size for i in ids):
        raise ValueError("a token that the model has not")
    return with_content(ids, attachments)

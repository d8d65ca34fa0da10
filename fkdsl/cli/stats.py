"""What the models' forwards took, as `--stats` prints it: prefill and decoding apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fkdsl.api.engines import token_engine
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.meter import ForwardWork
from fkdsl.models.attachments import EncoderWork


def stats_text(engines: Mapping[str, CachedTransformer]) -> str:
    """A line for what an encoder read; then two lines for each model and kind of work: tokens and
    time; operations and bytes, which follow from the model's shape, and their ratio."""
    lines = []
    for name, engine in _metered(engines):
        encoder = _encoder(engine)
        if encoder.passes:
            s = "es" if encoder.passes > 1 else ""
            lines.append(
                f"{f'encoder ({name})' if name else 'encoder':<8} {encoder.tokens} tokens in "
                f"{encoder.passes} pass{s}   {encoder.seconds:.3f} s of those below"
            )
        for kind, work in _kinds(engine).items():
            if work.forwards:
                title = f"{kind}{f' ({name})' if name else ''}"
                lines += [f"{title:<8} {_counts(work)}", f"{'':<8} {_rates(work)}"]
    return "\n".join(lines) + "\n" if lines else "no model was asked\n"


def stats_json(engines: Mapping[str, CachedTransformer]) -> dict[str, Any]:
    """The same as numbers, by the model's name; '' is the default model."""
    return {
        name: {kind: asdict(work) for kind, work in _kinds(engine).items()}
        | ({"encoder": asdict(_encoder(engine))} if _encoder(engine).passes else {})
        for name, engine in _metered(engines)
    }


def _metered(engines: Mapping[str, CachedTransformer]) -> list[tuple[str, CachedTransformer]]:
    """Each metered engine once, by its first name; a byte view counts as its model."""
    by_id: dict[int, tuple[str, CachedTransformer]] = {}
    for name, named in engines.items():
        engine = token_engine(named)
        if engine.meter is not None:
            by_id.setdefault(id(engine), (name, engine))
    return list(by_id.values())


def _kinds(engine: CachedTransformer) -> dict[str, ForwardWork]:
    assert engine.meter is not None
    return {"prefill": engine.meter.prefill, "decode": engine.meter.decode}


def _encoder(engine: CachedTransformer) -> EncoderWork:
    assert engine.meter is not None
    return engine.meter.encoder


def _counts(work: ForwardWork) -> str:
    s = "s" if work.forwards > 1 else ""
    parts = [
        f"{work.tokens} tokens in {work.forwards} forward{s} "
        f"of {work.rows / work.forwards:.1f} rows",
        f"{work.cached / work.rows:.0f} tokens cached a row",
        f"{work.seconds:.3f} s",
        f"{work.tokens / work.seconds:.0f} tokens/s" if work.seconds else "",
    ]
    return "   ".join(filter(None, parts))


def _rates(work: ForwardWork) -> str:
    if work.flops is None or work.bytes is None:
        return "operations and bytes: this model's shape is not known here"
    gflop, gb = work.flops / 1e9, work.bytes / 1e9
    intensity = f"{gflop:.3g} GFLOP / {gb:.3g} GB = {work.flops / work.bytes:.3g} FLOP a byte"
    if not work.seconds:
        return intensity
    rates = f"{gflop / work.seconds:.3g} GFLOP/s   {gb / work.seconds:.3g} GB/s"
    return f"{intensity}   {rates}"

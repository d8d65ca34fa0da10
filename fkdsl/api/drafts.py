"""A run's drafts: from the options `draft`, `block` and `verify` to what each model's tokens are
drafted by.

`draft` is `heads` (the model's own heads for further tokens), `ngram` (of the text so far), or a
model with the same vocabulary: the name of one that the file declares, or a reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.api.engines import Engines
from fkdsl.engine.drafts import Draft, HeadsDraft, ModelDraft, NgramDraft, check_vocabularies
from fkdsl.inference.methods import check_options
from fkdsl.proposals.speculative import Drafting, DraftOf

NGRAM, HEADS = "ngram", "heads"


def drafting_of(
    engines: Engines, names: Sequence[str], method: str, options: Mapping[str, Any]
) -> Drafting | None:
    """How the models of these names are drafted in a run; None for not at all, or where there are
    none. Loads them.

    Raises CallError for a model without heads, and for a draft with another vocabulary.
    """
    checked = check_options(method, options)
    by = checked.get("draft")
    if by is None or not names:
        return None
    weighs = checked["verify"] == "weigh"
    return Drafting(
        {name: DraftOf(draft_of(engines, name, by), checked["block"], weighs) for name in names}
    )


def draft_of(engines: Engines, name: str, by: str) -> Draft:
    """What drafts the tokens of the model that a program calls by a name."""
    if by == HEADS:
        return HeadsDraft(engines.with_heads(name))
    engine = engines[name]
    if by == NGRAM:
        return NgramDraft(engine.model.vocabulary.size)
    draft = engines.of_reference(by)
    check_vocabularies(draft, engine)
    return ModelDraft(draft, by)


def told(drafting: Drafting | None) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """(counts, notes) of what drafts have done in a run."""
    if drafting is None:
        return None, ()
    tally = drafting.tally
    counts = {
        "rounds": tally.rounds,
        "tokens": tally.draws,
        "drafted": tally.drafted,
        "kept": tally.kept,
    }
    rate = f"{tally.draws / tally.rounds:.2f} tokens a round" if tally.rounds else "no round"
    weighs = any(of.weighs for of in drafting.of.values())
    of = f"{tally.drafted} of {tally.draws} tokens drafted"
    kept = (
        "each weighed by p/q"
        if weighs
        else f"{tally.kept / max(1, tally.drafted):.0%} of them kept"
    )
    names = ", ".join(dict.fromkeys(of.draft.name for of in drafting.of.values()))
    return counts, (f"draft by {names}: {rate}, {of}, {kept}",)

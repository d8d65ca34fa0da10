"""A run's drafts: from the options `draft`, `block` and `verify` to a draft for each model.

`draft` is `heads` (the model's own heads for further tokens), `ngram` (of the text so far), or a
model with the same vocabulary: the name of one that the file declares, or a reference.
"""

from __future__ import annotations

from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest
from fkdsl.engine.drafts import Draft, HeadsDraft, ModelDraft, NgramDraft, check_vocabularies
from fkdsl.proposals.drafting import Drafting, DraftOf

NGRAM, HEADS = "ngram", "heads"


def drafting_of(request: RunRequest) -> Drafting | None:
    """How the program's models are drafted in a run; None for not at all, or where it has none.
    Loads them.

    Raises CallError for a model without heads, and for a draft with another vocabulary.
    """
    options, names = request.call.options, request.program.model_names()
    by = options.get("draft")
    if by is None or not names:
        return None
    weighs = options["verify"] == "weigh"
    drafts = {name: model_draft(request.engines, name, by) for name in names}
    return Drafting({name: DraftOf(d, options["block"], weighs) for name, d in drafts.items()})


def model_draft(engines: Engines, name: str, by: str) -> Draft:
    """The draft for the tokens of the model that a program calls by this name."""
    if by == HEADS:
        return HeadsDraft(engines.with_heads(name))
    engine = engines[name]
    if by == NGRAM:
        return NgramDraft(engine.model.vocabulary.size)
    draft = engines.of_reference(by)
    check_vocabularies(draft, engine)
    return ModelDraft(draft, by)


def draft_report(
    drafting: Drafting | None,
) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """(counts, notes): how many tokens of a run were drafted, and how many of those were kept."""
    if drafting is None:
        return None, ()
    tally = drafting.counts
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

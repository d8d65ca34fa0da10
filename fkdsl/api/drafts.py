"""A run's drafts: from the options `draft`, `block` and `verify` to a draft for each model.

`draft` is `heads` (the model's own heads for further tokens), `ngram` (of the text so far), or a
model with the same vocabulary: the name of one that the file declares, or a reference.
"""

from __future__ import annotations

from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.drafts import Draft, HeadsDraft, ModelDraft, NgramDraft, check_vocabularies
from fkdsl.proposals.drafting import DraftCounts, Drafting, DraftOf

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


@dataclass(frozen=True)
class DraftFacts:
    """What a run says of its drafts. names: of the drafts. weighs: whether drafted tokens are
    weighed by p/q."""

    counts: DraftCounts
    names: tuple[str, ...]
    weighs: bool

    @classmethod
    def of(cls, drafting: Drafting | None) -> DraftFacts | None:
        """Those of a drafting; None where nothing is drafted."""
        if drafting is None:
            return None
        of = drafting.of.values()
        names = tuple(dict.fromkeys(draft_of.draft.name for draft_of in of))
        return cls(drafting.counts, names, any(draft_of.weighs for draft_of in of))


def draft_report(
    facts: DraftFacts | None,
) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """(counts, notes): how many tokens of a run were drafted, and how many of those were kept."""
    if facts is None:
        return None, ()
    tally = facts.counts
    counts = {
        "rounds": tally.rounds,
        "tokens": tally.draws,
        "drafted": tally.drafted,
        "kept": tally.kept,
    }
    rate = f"{tally.draws / tally.rounds:.2f} tokens a round" if tally.rounds else "no round"
    of = f"{tally.drafted} of {tally.draws} tokens drafted"
    kept = (
        "each weighed by p/q"
        if facts.weighs
        else f"{tally.kept / max(1, tally.drafted):.0%} of them kept"
    )
    return counts, (f"draft by {', '.join(facts.names)}: {rate}, {of}, {kept}",)

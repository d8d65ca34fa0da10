"""A run's look-ahead by a surrogate: from `--lookahead` to what proposals and twists go by.

auto        both, by as much as a pilot finds (fkdsl.api.lookahead_pilot), where a surrogate of
            the model is at hand and the constraint needs it
none        only whether a text can still be completed, not how likely it is
proposal    draws are tilted towards tokens that lead to a text that is allowed
twist       particles are weighed on their way by how likely they come to one
both
FILE        both, by the surrogate of this file (`fkdsl distil`)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.method import MethodCall
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.reading import loops
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import ENOUGH, POWER, CompletionLookahead
from fkdsl.proposals.trust import DOUBTFUL

AUTO, NONE = "auto", "none"
USES = {"proposal": (True, False), "twist": (False, True), "both": (True, True)}
"""Whether draws are tilted, and particles twisted."""
CHOICES = (AUTO, NONE, *USES)
DISTIL = "make one: fkdsl distil MODEL --out FILE; then --lookahead FILE"

RAISED = "its probabilities are raised to the power {power:.2f}"
REASONS = {
    "exaggerates": "what it holds to be all but impossible comes about",
    "misled": "draws come {gain:.1f} nats nearer to the posterior without it",
    "partly": f"it exaggerates, so {RAISED}",
    "agrees": "it was right",
    "died": f"no particle lived either way, so {RAISED}",
    "far": f"no particle came near to what it expects, so {RAISED}",
}
"""Why a pilot has `auto` look ahead or not, by the nats that draws gain and the power of h."""
AGAINST = ("exaggerates", "misled")
"""The reasons for which it does not."""

LookaheadReference = str | Path | Surrogate
"""What a caller may give for `lookahead`: one of CHOICES, a surrogate's file, or a surrogate."""


@dataclass(frozen=True)
class LookaheadDecision:
    """What `auto` comes to in a run: both, by a power of h, or none.

    why: a key of REASONS, "" where no pilot was made. gain: nats by which draws are nearer to the
    posterior with look-ahead than without it, None where nothing said so. particles, tokens: of the
    pilot, 0 where none was made; tokens are those that it forwarded. power: b at most, the power of
    h that the run looks ahead by.
    """

    use: str
    why: str = ""
    gain: float | None = None
    particles: int = 0
    tokens: int = 0
    power: float = POWER

    def json(self) -> dict[str, Any]:
        """As a trace and a worker have it."""
        return asdict(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """The line on a pilot."""
        if not self.why:
            return ()
        does = "does not look" if self.use == NONE else "looks"
        why = REASONS[self.why].format(gain=abs(self.gain or 0.0), power=self.power)
        pilot = f"a pilot of {self.particles} particles, {self.tokens} tokens"
        return (f"auto {does} ahead by the surrogate: {why} ({pilot})",)


@dataclass(frozen=True)
class LookaheadChoice:
    """use: one of CHOICES. surrogate: what is used for every model of its vocabulary, None for the
    model's own. decided: what `auto` has come to in the run; where it is None, nobody has decided,
    and it looks ahead."""

    use: str = AUTO
    surrogate: Surrogate | None = None
    decided: LookaheadDecision | None = None

    @classmethod
    def of(cls, given: LookaheadReference | LookaheadChoice) -> LookaheadChoice:
        """The choice of a caller. Raises CallError for a word that is none of them, and for a file
        that is no surrogate."""
        from fkdsl.models.surrogate.files import read

        if isinstance(given, LookaheadChoice):
            return given
        if isinstance(given, Surrogate):
            return cls("both", given)
        if given in CHOICES:
            return cls(str(given))
        path = Path(given)
        if not path.exists() and (near := near_name(str(given), list(CHOICES))):
            raise CallError(
                f"a look-ahead cannot be `{given}`, and no file has that name",
                f"did you mean `{near}`?",
            )
        return cls("both", read(path))

    @property
    def in_force(self) -> str:
        """One of CHOICES: how the run looks ahead."""
        return self.use if self.decided is None else self.decided.use

    @cached_property
    def mark(self) -> str:
        """What tells it from other choices in a trace."""
        return self.use if self.surrogate is None else f"{self.use} by {digest(self.surrogate)}"


class Surrogates(Mapping[str, Surrogate]):
    """The surrogates of a program's models by the program's names of them, each found when it is
    first asked for; a model that has none is not in it. choice: a surrogate that it gives stands
    for all models of its vocabulary."""

    def __init__(self, engines: Mapping[str, CachedTransformer], choice: LookaheadChoice) -> None:
        self._engines, self._given = engines, choice.surrogate
        self._found: dict[str, Surrogate | None] = {}
        self._rough: dict[str, bool] = {}

    def __getitem__(self, name: str) -> Surrogate:
        if name not in self._found:
            self._found[name] = self._find(name)
        if (surrogate := self._found[name]) is None:
            raise KeyError(name)
        return surrogate

    def _find(self, name: str) -> Surrogate | None:
        from fkdsl.models.surrogate.shipped import surrogate_for

        model = self._engines[name].model
        if self._given is None:
            return surrogate_for(model)
        fits = (self._given.fingerprint, self._given.vocabulary_size) == (
            model.vocabulary.fingerprint,
            model.vocabulary.size,
        )
        return self._given if fits else None

    def is_rough(self, name: str) -> bool:
        """Whether the surrogate of a model is one that ships, and no good imitation of it."""
        from fkdsl.models.surrogate.shipped import has_own, is_trusted

        if name not in self._rough:
            model = self._engines[name].model
            ships = self._given is None and not has_own(model)
            self._rough[name] = ships and not is_trusted(model)
        return self._rough[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, surrogate in self._found.items() if surrogate is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def lookahead_of(
    choice: LookaheadChoice,
    program: CalledProgram,
    call: MethodCall,
    surrogates: Surrogates,
) -> CompletionLookahead | None:
    """How draws of constrained texts look ahead in a run; None where none do. Loads no model."""
    drafted = call.options.get("draft", "none") != "none"
    if (
        choice.in_force == NONE
        or (choice.use == AUTO and drafted)  # a draft is to save time, which h costs
        or not call.method.looks_ahead
        or not constrains_texts(program)
    ):
        return None
    proposal, twist = USES.get(choice.in_force, USES["both"])
    power = POWER if choice.decided is None else choice.decided.power
    ahead = CompletionLookahead(surrogates, proposal, twist, power)
    if choice.use == AUTO:
        ahead.enough, ahead.is_rough = ENOUGH, surrogates.is_rough
    return ahead


def verify_surrogates(
    choice: LookaheadChoice, program: CalledProgram, lookahead: CompletionLookahead
) -> None:
    """Raises CallError where look-ahead is asked for and none of the program's models has a
    surrogate. Loads them."""
    names = program.model_names()
    if choice.use == AUTO or not names or any(name in lookahead.surrogates for name in names):
        return
    if choice.surrogate is not None:
        raise CallError("the surrogate is of another vocabulary than the program's model", DISTIL)
    raise CallError("there is no surrogate of the program's model to look ahead by", DISTIL)


def constrains_texts(program: CalledProgram) -> bool:
    """Whether conditions on some text guide draws of it, and how far these go is known."""
    return bool(_guided(program.ir()))


def constrains_one_text(program: CalledProgram) -> bool:
    """Whether it is one text, drawn once: no loop and no second call draws another."""
    code = program.ir()
    guided = _guided(code)
    if len(guided) != 1:
        return False
    ((function, at),) = guided
    if _loops_around(function, at) > 1:  # the text's own
        return False
    for _ in code.functions:
        if function.name == code.entry:
            return True
        calls = [
            (f, pc)
            for f in code.functions.values()
            for pc, i in enumerate(f.body)
            if isinstance(i, ir.Call) and i.function == function.name
        ]
        if len(calls) != 1 or _loops_around(*calls[0]):
            return False
        ((function, _),) = calls
    return False  # it calls itself


def _guided(code: ir.Program) -> list[tuple[ir.Function, int]]:
    """The draws that conditions on a text guide, and how far these go is known."""
    return [
        (function, pc)
        for function in code.functions.values()
        for pc, i in enumerate(function.body)
        if isinstance(i, ir.Draw)
        and i.plan is not None
        and (
            i.plan.completion is not None
            or (i.plan.prefix is not None and i.plan.prefix.stop is not None)
            or i.plan.words is not None
        )
    ]


def _loops_around(function: ir.Function, at: int) -> int:
    return sum(first < at < last for first, last in loops(function))


@dataclass(frozen=True)
class LookaheadFacts:
    """What a run says of its look-ahead. draws: of tokens of constrained texts; tilted: those of
    them that looked ahead; left_out: why others did not. proposal, twist: what it was used for.
    drift: nats that the surrogate was wrong by at a token (fkdsl.proposals.trust)."""

    draws: int
    tilted: int
    left_out: tuple[str, ...]
    proposal: bool
    twist: bool
    drift: float

    @classmethod
    def of(cls, lookahead: CompletionLookahead | None) -> LookaheadFacts | None:
        """Those of a look-ahead so far; None where there is none."""
        if lookahead is None:
            return None
        return cls(
            lookahead.draws,
            lookahead.tilted,
            tuple(lookahead.left_out),
            lookahead.proposal,
            lookahead.twist,
            lookahead.drifts.largest,
        )


def lookahead_notes(
    choice: LookaheadChoice, call: MethodCall, lookahead: LookaheadFacts | None
) -> tuple[str, ...]:
    """What a run says of it: what a pilot has decided, how many draws looked ahead, and why others
    did not."""
    decided = choice.decided.notes if choice.decided is not None else ()
    return (*decided, *_counted(choice, call, lookahead))


def _counted(
    choice: LookaheadChoice, call: MethodCall, lookahead: LookaheadFacts | None
) -> tuple[str, ...]:
    if lookahead is None:
        if choice.use not in USES:
            return ()
        reason = (
            "no text of the program is constrained"
            if call.method.looks_ahead
            else f"{call.method.name} does not"
        )
        return (f"no draw looked ahead by a surrogate: {reason}",)
    if not lookahead.tilted and choice.use == AUTO:
        return ()
    use = next(use for use, of in USES.items() if of == (lookahead.proposal, lookahead.twist))
    why = f" ({'; '.join(lookahead.left_out)})" if lookahead.left_out else ""
    said = (
        f"look-ahead by a surrogate ({use}): "
        f"{lookahead.tilted} of {lookahead.draws} draws of constrained tokens{why}"
    )
    return (said, *doubts(lookahead.drift))


def doubts(drift: float) -> tuple[str, ...]:
    """What is said beside log Z where its error, and those of the percentages, are in doubt. drift:
    nats that the surrogate was wrong by at a token."""
    if drift < DOUBTFUL:
        return ()
    return (
        "the errors of log Z and of the percentages are in doubt: the surrogate is wrong here by "
        f"a factor of {math.exp(min(drift, 700.0)):.3g} at each token, so the run may have hurried "
        "to the nearest end and missed texts that weigh more. Compare with --lookahead none, and "
        "trust that where they differ",
    )


def digest(surrogate: Surrogate) -> str:
    """A hash of its numbers."""
    hashed = blake2b(surrogate.fingerprint.encode(), digest_size=16)
    for array in (surrogate.start, surrogate.transition, surrogate.emission.T):
        hashed.update(np.ascontiguousarray(array).tobytes())
    if surrogate.head is not None:
        head = surrogate.head
        for part in (head.tokens, head.weights, head.bias, np.array([head.share])):
            hashed.update(np.ascontiguousarray(part).tobytes())
    return hashed.hexdigest()

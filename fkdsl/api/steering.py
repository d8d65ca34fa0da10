"""The Feynman-Kac model of a run: the program's, with the proposals that its method needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fkdsl.api.request import RunRequest
from fkdsl.api.twist_file import twist_for
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.machine.clock import Clock
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.drafting import Drafting
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.steering.learned_twist import LearnedTwist
from fkdsl.steering.particle_step import Guesser


def steering_model(
    request: RunRequest,
    engines: Mapping[str, CachedTransformer],
    drafting: Drafting | None = None,
    lookahead: CompletionLookahead | None = None,
    guessers: Sequence[Guesser] = (),
) -> SteeringModel:
    """(s0, {M_t}, {G_t}) as the request's method draws from it. engines: the request's, or what a
    trace has recorded of them. drafting: how tokens are drafted, lookahead: how draws look ahead by
    a surrogate; None for not at all. guessers: who guess at the end of each step what is to
    come."""
    method = request.call.method
    proposals = ProposalSettings(
        rejection=not method.one_choice,
        local=method.forgets_mass,
        force="force" not in request.program.off,
        drafting=drafting,
        lookahead=lookahead,
        alternatives=request.alternatives,
    )
    proposals.clock = Clock() if request.blame else None
    return request.program.feynman_kac(engines=engines, proposals=proposals, guessers=guessers)


def guessers_of(request: RunRequest) -> tuple[tuple[LearnedTwist, ...], list[str]]:
    """Who guess what is to come in a run, its learned twist or nobody, and notes on them."""
    if request.twist is None:
        return (), []
    twist, note = twist_for(request.twist, request.program, request.engines)
    return (twist,), [note] if note else []

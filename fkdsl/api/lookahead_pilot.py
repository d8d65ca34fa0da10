"""What `--lookahead auto` comes to in a run: a pilot draws a few particles with look-ahead by the
surrogate and a few without it, and says which the run is to take.

The pilot's particles are drawn from a stream of its own, which no draw of the run has, and are no
part of the answer. So given the decision, whatever it is, the run is one of mean Z, and
E[Z_hat] = Z exactly. (To take particles of the pilot into the answer would be biased: what makes a
way look good would then be in it.) A wrong decision costs variance. It depends on the seed alone,
like a draw.

**What decides.** Two halves, smc of n particles each. Each path compares what the surrogate
expected after each of its tokens with what came (fkdsl.proposals.trial). The slope of the one
against the other is the power b of h that the model agrees with: about 1 where the surrogate knows
the model, and small where it holds each token of a text to be unlikely that the model is sure of.
Then texts that are nearer to their end seem better by far than they are, so that resampling
hurries. The run takes that b, up to POWER. It is found by least squares, of the half that found
more weight, with a normal prior: b is POWER to within SPREAD, and what comes of a path is uncertain
by NOISE nats. So a pilot of one path each way moves b far where the surrogate is tens of nats off,
and hardly where it expects a few nats and cannot mislead by much. Where the surrogate exaggerates,
what it says of the difference of two texts is worse than what it says of either, since texts that
are as likely may be at different places; so a slope that is far below POWER is halved. An h of a
small power still tells which texts are better, so draws do not look ahead only where b is below
LEAST_POWER.

**When it ends.** At each token a path has its y of what came so far, with b log h for what is still
to come. So b is known long before a text's end. A pilot of a program that draws one text ends once
each path has drawn EVIDENCE tokens of it, and

- b is within CLOSE of POWER by both halves, while at most UNRESOLVED nats are still expected, of a
  text of which FEW nats or more were expected at the beginning, or
- b is lower by the half that looks ahead, of which all but a RESOLVED share of what was expected at
  the beginning has come, where that was at most UNRESOLVED nats.

Where it ends is a function of the pilot's own draws, so nothing else changes. b is then that of the
half that looks ahead, and `gain` is not known. (A half that looks ahead hurries to the nearest end,
and there agrees with itself: so that it agrees is not enough. And of a text of which little is
expected what comes first agrees with anything.)

Where no particle lives, or those that do weigh far less than the surrogate expected, their paths
went where nobody should go, and say nothing of h. Conditions that no automaton says have ended
them, or masks have forced them; the model may come to what is asked by ways that the surrogate
thinks little of, or by those that it points to. Then b is MIDDLE.

A surrogate may be right in the mean and wrong from text to text. Of every particle it is known by
how many nats r_i it would have weighed more by the draws of the other half. Under the posterior the
mean of the log weight of a path is log Z plus the divergence KL(posterior || law of the draws), so

    gain = - sum w_i r_i / sum w_i

estimates by how much look-ahead lessens that divergence. Where b is about POWER, that of the pilot,
look-ahead is given up if the gain is below GAIN, the half without it has found more weight, and its
masks have left not too little: where no particle comes near to what is asked, the weights of all
say nothing, and look-ahead is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from fkdsl.api.lookahead import AGAINST, AUTO, NONE, LookaheadDecision, constrains_one_text
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import guessers_of, steering_model
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import ProgramError
from fkdsl.base.logspace import Floats, effective_sample_size, log_sum_exp, normalised
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng, Rng
from fkdsl.inference.interface import FeynmanKac
from fkdsl.inference.samplers.adaptive import LEAST as LEAST_ISLANDS
from fkdsl.inference.samplers.resampling import RESAMPLING
from fkdsl.models.surrogate.shipped import has_own, is_trusted
from fkdsl.proposals.completion import ENOUGH, POWER
from fkdsl.proposals.trial import PathRng, TrialLookahead, TrialPath

LEAST, SHARE = 8, 8
"""Particles of a run, of all islands and sweeps, below which no pilot pays; and from twice as many
on the pilot has one particle for so many of the run's."""
MOST = 4
"""Particles of each half of a pilot, at most."""
ESS = 0.75
"""Share of a half's particles below which its effective number may fall before it is resampled."""
SPREAD, NOISE = 0.3, 1.25
"""How far b is from POWER, and nats by which what comes of a path is uncertain: the standard
deviations of the prior and of the observations from which b is found."""
MIDDLE, FAR = 0.35, 10.0
"""The power of h where a pilot says nothing of it; and nats by which the heaviest particle weighs
less than the surrogate expected of a text, from which on it does not."""
LEAST_POWER = 0.01
"""The power of h below which draws do not look ahead."""
CLOSE = 0.05
"""A b that is lower than POWER by less is not spoken of."""
EVIDENCE = 4
"""Tokens of a text before which a pilot does not end."""
UNRESOLVED = 20.0
"""Nats that may still be expected of a text where a pilot ends because what came agrees, and at the
beginning where it ends because it does not: of more, the whole text is seen."""
FEW = 2.0
"""Nats that were expected of a text at its beginning, below which a pilot does not end because what
came agrees: b log h of what is still to come is about all that it has seen."""
RESOLVED = 0.1
"""Share of the nats that were expected of a text which may still be, where a pilot ends because
what came does not agree."""
GAIN = -12.0
"""The gain down to which look-ahead is taken whatever weighs more."""
MASS = -10.0
"""Nats that masks leave of a text without look-ahead, below which it is taken: what comes so seldom
by itself is what look-ahead is for."""


def may_look_ahead(request: RunRequest) -> bool:
    """Whether it is for a pilot, or for what is known of the surrogate, to say how the run looks
    ahead. Loads no model."""
    choice = request.lookahead
    undecided = choice.use == AUTO and choice.decided is None
    return undecided and request.completion_lookahead() is not None


class Decided(NamedTuple):
    """A decision. prompts: holds what the pilot has computed of the program's prompts in the cache,
    as long as it is kept."""

    decision: LookaheadDecision
    prompts: object = None


def decide(request: RunRequest, particles: int) -> Decided:
    """How a run for which `may_look_ahead` holds looks ahead. Its models are loaded. particles: of
    the run, as particles_of gives them.

    Without a surrogate, none; by one that is trusted, both; by another as a pilot finds, and in a
    run of too few particles for a pilot both if the user has made it, else none. Raises
    DeadlinePassed.
    """
    names = request.program.model_names()
    models = [request.engines[name].model for name in names if name in request.surrogates]
    if not models:
        return Decided(LookaheadDecision(NONE))
    if all(map(is_trusted, models)):
        return Decided(LookaheadDecision("both"))
    made = all(has_own(model) or is_trusted(model) for model in models)
    untried = LookaheadDecision("both" if made else NONE)
    if particles < LEAST:
        return Decided(untried)
    return _piloted(request, min(MOST, max(1, particles // (2 * SHARE))), untried)


def particles_of(request: RunRequest) -> int:
    """Those that the run will move, of all its islands and sweeps; where the islands are yet to be
    found, of the fewest."""
    options = request.call.options
    islands = LEAST_ISLANDS if request.known_islands is None else request.islands
    return int(options.get("particles", 1)) * int(options.get("sweeps", 1)) * islands


def _piloted(request: RunRequest, n: int, untried: LookaheadDecision) -> Decided:
    """What a pilot of halves of n particles decides; as untried where no draw looks ahead, and
    where the program fails in it, of which the run itself tells."""
    surrogates = request.surrogates
    trial = TrialLookahead(
        surrogates, True, True, POWER, enough=ENOUGH, is_rough=surrogates.is_rough
    )
    plain = replace(request, blame=False, alternatives=0)
    guessers, _ = guessers_of(request)
    before = request.engines.counts()[1]
    model = steering_model(plain, request.engines, lookahead=trial, guessers=guessers)
    rng = pilot_rng(KeyedRng(request.seed))
    # Of several texts, the first would speak for all.
    ends_early = constrains_one_text(request.program)
    try:
        paths = trial_paths(model, rng, n, request.max_steps, trial, ends_early)
    except ProgramError:
        return Decided(untried, model.s0)
    if not trial.tilted:
        return Decided(untried, model.s0)
    tokens = request.engines.counts()[1] - before
    return Decided(replace(paths.decision(), particles=2 * n, tokens=tokens), model.s0)


@dataclass
class TrialPaths:
    """The particles of a pilot, (2n,) each, the first n of them drawn without look-ahead.
    log_weights: nats. ended_early: whether it has ended before they did."""

    log_weights: Floats
    paths: Sequence[TrialPath]
    ended_early: bool = False

    def decision(self) -> LookaheadDecision:
        """What they come to; the caller counts them."""
        why, power = self.reason(), self.power()
        if why in AGAINST:
            return LookaheadDecision(NONE, why, self.gain())
        return LookaheadDecision("both", why, self.gain(), power=power)

    def reason(self) -> str:
        """A key of REASONS (fkdsl.api.lookahead); one of AGAINST where the run is not to look
        ahead."""
        power, heaviest = self.power(), self.log_weights.max()
        if heaviest == -np.inf:
            return "died"
        if not self.ended_early and heaviest < self._expected() - FAR:
            return "far"
        if power < LEAST_POWER:
            return "exaggerates"
        if power < POWER - CLOSE:
            return "partly"
        gain = self.gain()
        if gain is None or gain >= GAIN:
            return "agrees"
        return "misled" if self._plain_is_heavier() and self._mass() >= MASS else "agrees"

    def power(self) -> float:
        """The power of h that what came agrees with, up to POWER; MIDDLE where nothing did."""
        if not self.ended_early and self.log_weights.max() < self._expected() - FAR:
            return MIDDLE
        return self._power(looks=self.ended_early or not self._plain_is_heavier())

    def _expected(self) -> float:
        """What the surrogate expected the texts to weigh at their beginnings: the mean over paths,
        nats."""
        return math.fsum(path.begun for path in self.paths) / len(self.paths)

    def _power(self, looks: bool) -> float:
        """That by one half."""
        lived = self._lived(looks)
        prior = (NOISE / SPREAD) ** 2
        squares = prior + math.fsum(path.mean_square() for path in lived)
        products = prior * POWER + math.fsum(path.mean_product() for path in lived)
        slope = min(max(products / squares, 0.0), POWER)
        return slope * (1.0 + (slope / POWER) ** 2) / 2.0

    def _lived(self, looks: bool) -> list[TrialPath]:
        """Those of a half that live."""
        n = len(self.paths) // 2
        half = range(n, 2 * n) if looks else range(n)
        return [self.paths[i] for i in half if self.log_weights[i] > -np.inf]

    def suffices(self) -> bool:
        """Whether what has come so far of paths in the midst of their text says their b."""
        plain, looking = self._lived(looks=False), self._lived(looks=True)
        if not looking or any(path.points <= EVIDENCE for path in (*plain, *looking)):
            return False
        left, before = (
            -math.fsum(nats) / len(looking)
            for nats in ([path.last for path in looking], [path.first for path in looking])
        )
        if self._power(looks=True) < POWER - CLOSE:
            return left <= RESOLVED * before and before <= UNRESOLVED
        agrees = self._power(looks=False) >= POWER - CLOSE
        return agrees and before >= FEW and left <= UNRESOLVED

    def gain(self) -> float | None:
        """Nats by which look-ahead brings draws nearer to the posterior; None where no particle
        lives, or their weights are not all known."""
        if self.ended_early or log_sum_exp(self.log_weights) == -np.inf:
            return None
        ratios = np.array([path.log_ratio for path in self.paths])
        return -float(normalised(self.log_weights) @ ratios)

    def _plain_is_heavier(self) -> bool:
        n = len(self.paths) // 2
        return bool(log_sum_exp(self.log_weights[:n]) > log_sum_exp(self.log_weights[n:]))

    def _mass(self) -> float:
        """Nats that masks have left of the paths without look-ahead, which weigh something."""
        n = len(self.paths) // 2
        masses = np.array([path.log_mass for path in self.paths[:n]])
        return float(normalised(self.log_weights[:n]) @ masses)


def pilot_rng(rng: Rng) -> Rng:
    """The stream of the pilot of a run. rng: of the run's seed; no draw of the run is below the
    pilot's."""
    return rng.split("look-ahead pilot")


def trial_paths(
    model: FeynmanKac[Any],
    rng: Rng,
    n: int,
    max_steps: int | None,
    trial: TrialLookahead,
    ends_early: bool = False,
) -> TrialPaths:
    """Two halves of n particles, without look-ahead and with it, each resampled for itself.
    ends_early: whether to end once what they say suffices, and not with them."""
    paths = [TrialPath(looks=i >= n) for i in range(2 * n)]

    def streams(name: str, t: int, of: Sequence[int]) -> list[PathRng]:
        return [PathRng(rng.split(name, t, i), paths[i]) for i in of]

    states, log_G0 = model.initial(streams("initial", 0, range(2 * n)))
    log_w = np.array(log_G0)
    for t in count(1):
        check_deadline()
        for half in (np.arange(n), np.arange(n, 2 * n)):
            lw, of_half = log_w[half], rng.split("resample", t, int(half[0]))
            if log_sum_exp(lw) > -np.inf and effective_sample_size(lw) < ESS * n:
                A = half[RESAMPLING["systematic"](of_half, normalised(lw), n)]
                copies = [(states[a], paths[a].copy()) for a in A]
                for i, (x, path) in zip(half.tolist(), copies, strict=True):
                    states[i], paths[i] = x, path
                log_w[half] = log_sum_exp(lw) - math.log(n)
        moving = [i for i in range(2 * n) if log_w[i] > -np.inf and not model.finished(states[i])]
        unguided = trial.draws > 0 and not trial.tilted  # the first text, so likely the others too
        if not moving or unguided or (max_steps is not None and t > max_steps):
            break
        rngs = streams("mutate", t, moving)
        after, log_G = model.step(rngs, [states[i] for i in moving])
        for i, x, g in zip(moving, after, log_G, strict=True):
            states[i], log_w[i] = x, log_w[i] + g
        found = TrialPaths(log_w, paths, ended_early=True)
        if ends_early and found.suffices():
            return found
    return TrialPaths(log_w, paths)

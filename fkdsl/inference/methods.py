"""The inference methods by name, with their options: what `infer name(option=...)` and the command
line may say.

>>> check_options("smc", {"particles": 64})
{'particles': 64, 'ess': 0.5, 'resampling': 'multinomial', 'moves': 0}
>>> check_options("smc", {"particels": 64})
Traceback (most recent call last):
...
fkdsl.base.errors.CallError: smc has no option `particels`
  = help: did you mean `particles`?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.inference.samplers.resampling import RESAMPLING


@dataclass(frozen=True)
class Option:
    """An option's default and bounds; its type is the default's."""

    default: bool | int | float | str
    least: float = 1
    most: float = 1e12
    one_of: tuple[str, ...] = ()
    doc: str = ""

    @property
    def reader(self) -> Callable[[str], Any]:
        """From a text on the command line to the value that it says; ValueError if it says none."""
        return boolean if isinstance(self.default, bool) else type(self.default)


def boolean(text: str) -> bool:
    """true or false, as the language writes them."""
    return ("false", "true").index(text) == 1


@dataclass(frozen=True)
class Method:
    """available: False for what a later version will run."""

    options: Mapping[str, Option]
    doc: str
    available: bool = True


MOST = 1_000_000
_PARTICLES = Option(16, 1, MOST, doc="size of the population")
METHODS: dict[str, Method] = {
    "smc": Method(
        {
            "particles": _PARTICLES,
            "ess": Option(
                0.5, 0, 1, doc="resample when the effective sample size falls below this share"
            ),
            "resampling": Option("multinomial", one_of=tuple(RESAMPLING), doc="resampling scheme"),
            "moves": Option(0, 0, 1000, doc="moves of each path; in smc, after steps 1, 2, 4, ..."),
        },
        "sequential Monte Carlo",
    ),
    "steer": Method(
        {
            "particles": Option(8, 1, MOST, doc="size of the population"),
            "factor": Option(3, 1, 1000, doc="draws for each particle"),
        },
        "SMC transformer steering: expand, weigh, keep the best by optimal resampling",
    ),
    "importance": Method(
        {"particles": Option(64, 1, MOST, doc="independent runs")},
        "importance sampling, no resampling",
    ),
    "rejection": Method(
        {
            "samples": Option(
                16,
                2,
                MOST,
                doc="accepted runs wanted; of other methods, draws from the posterior to print, one a line",
            ),
            "attempts": Option(10_000, doc="runs (for alive, draws of a step) tried at most"),
        },
        "exact samples by rejection; potentials at most 1",
    ),
    "pgibbs": Method(
        {
            "particles": Option(16, 2, MOST, doc="size of the population"),
            "sweeps": Option(20, 1, MOST, doc="sweeps of conditional SMC"),
            "ancestors": Option(
                True, doc="whether the past of the reference is drawn anew: true or false"
            ),
            "ess": Option(
                0.5, 0, 1, doc="resample when the effective sample size falls below this share"
            ),
        },
        "particle Gibbs with ancestor sampling, from a run of smc on",
    ),
    "tempered": Method(
        {
            "particles": _PARTICLES,
            "power": Option(
                2.0, 0.01, 1000, doc="power that the probability of a run's draws is raised to"
            ),
            "temperatures": Option(8, 1, 10_000, doc="equal steps from power 1 to it"),
            "moves": Option(1, 0, 1000, doc="moves of each path after each of them"),
            "ess": Option(
                0.5, 0, 1, doc="resample when the effective sample size falls below this share"
            ),
        },
        "whole runs by the power of their probability: smc, then an SMC sampler over temperatures",
    ),
    "alive": Method(
        {"particles": _PARTICLES, "attempts": Option(10_000, doc="draws tried at most in a step")},
        "the alive particle filter: at every step, draws until that many particles live",
    ),
    "exact": Method(
        {
            "max_states": Option(1_000_000, doc="states enumerated at most"),
            "max_tokens": Option(
                20_000, doc="tokens forwarded at most, about, on large vocabularies"
            ),
            "gap": Option(1e-4, 0, doc="nats to which log Z is to be known, on large vocabularies"),
        },
        "enumeration; on large vocabularies heaviest outcomes first, with bounds on Z",
    ),
    "beam": Method(
        {"width": Option(8, 1, MOST, doc="states kept at each level")}, "beam search: bounds on Z"
    ),
    "local": Method(
        {"particles": _PARTICLES},
        "mask, renormalise, forget the mass: what others ship, and biased",
    ),
}


NO_DRAFT = "none"
DRAFTS = {
    "draft": Option(
        NO_DRAFT,
        doc="what drafts blocks of tokens: heads, ngram, or a model with the same vocabulary",
    ),
    "block": Option(3, 1, 64, doc="tokens drafted at once at most"),
    "verify": Option(
        "sample",
        one_of=("sample", "weigh"),
        doc="speculative draws, or weights p/q: sample or weigh",
    ),
}
"""Options of the methods that draw each particle's tokens in turn: how they are drafted
(proposals/speculative.py)."""
UNWEIGHED = {
    "rejection": "whose weights p/q can be above 1",
    "local": "under which its answer would depend on the draft",
}
"""Methods that take drafts, but not as proposals, and why."""
DRAFTED = ("smc", "steer", "importance", "rejection", "alive", "local")


def options_of(name: str) -> dict[str, Option]:
    """A method's own options, then those of drafts where it takes them."""
    return {**METHODS[name].options, **(DRAFTS if name in DRAFTED else {})}


def check_method(name: str) -> Method:
    """The method of that name; CallError with a near name if there is none."""
    if name not in METHODS:
        near = near_name(name, list(METHODS))
        raise CallError(
            f"there is no inference method `{name}`",
            f"did you mean `{near}`?" if near else f"one of {', '.join(METHODS)}",
        )
    return METHODS[name]


def check_available(name: str) -> Method:
    """The method of that name; CallError if there is none, or if this version cannot run it."""
    method = check_method(name)
    if not method.available:
        *others, last = (m for m in METHODS if METHODS[m].available)
        raise CallError(f"`{name}` is not available yet", f"use {', '.join(others)} or {last}")
    return method


def moves_paths(method: str, options: Mapping[str, Any]) -> bool:
    """Whether a method puts other paths in the place of a particle's own, so that its ancestors do
    not tell its past. options: all of them, as check_options gives them."""
    return method == "pgibbs" or bool(options.get("moves"))


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method, given ones checked, the others at their defaults; those of drafts
    where one is given."""
    check_method(name)
    known_options = options_of(name)
    for given in options:
        if given not in known_options:
            near = near_name(given, list(known_options))
            known = ", ".join(known_options) or "none"
            raise CallError(
                f"{name} has no option `{given}`",
                f"did you mean `{near}`?" if near else f"it has: {known}",
            )
    found = {
        k: _check_value(name, k, options.get(k, o.default), o) for k, o in known_options.items()
    }
    if found.get("draft", NO_DRAFT) != NO_DRAFT:
        if found.get("moves"):
            raise CallError(
                f"{name}: moves of whole paths take no draft", "leave one of the two out"
            )
        if found["verify"] == "weigh" and name in UNWEIGHED:
            raise CallError(
                f"{name}: verify cannot be `weigh`, {UNWEIGHED[name]}", "leave verify out"
            )
        return found
    if alone := [k for k in ("block", "verify") if k in options]:
        raise CallError(
            f"{name}: {alone[0]} says how tokens are drafted, and nothing drafts them",
            'add draft="ngram"',
        )
    return {k: v for k, v in found.items() if k in METHODS[name].options}


def _check_value(method: str, name: str, value: Any, option: Option) -> Any:
    if option.one_of:
        if value not in option.one_of:
            near = near_name(str(value), option.one_of)
            help = f"did you mean `{near}`?" if near else f"one of {', '.join(option.one_of)}"
            raise CallError(f"{method}: {name} cannot be `{value}`", help)
        return value
    if isinstance(option.default, str):
        if not isinstance(value, str) or not value:
            raise CallError(f"{method}: {name} is a name in quotes, not {value!r}")
        return value
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise CallError(f"{method}: {name} is true or false, not {value!r}")
        return value
    whole = isinstance(option.default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise CallError(
            f"{method}: {name} is {'a whole number' if whole else 'a number'}, not {value!r}"
        )
    if not option.least <= value <= option.most:
        raise CallError(
            f"{method}: {name} must be between {option.least:g} and {option.most:g}, not {value}"
        )
    return value

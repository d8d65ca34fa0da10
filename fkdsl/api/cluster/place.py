"""The word that chooses what computes a run's islands: `--on ray`, `--on ray=ADDRESS,cpus=4`."""

from __future__ import annotations

import importlib.util

from fkdsl.api.cluster.ray_place import RayPlace
from fkdsl.api.cluster.workers import Workers
from fkdsl.base.errors import CallError

_known: dict[RayPlace, Workers] = {}
"""Workers stay, with their models, until this process ends."""


def workers_of(on: str | Workers | None) -> Workers | None:
    """What computes the islands: what is given, or what a word names; None for this process. Starts
    nothing. Raises CallError for another word, and where Ray is not installed."""
    if not isinstance(on, str):
        return on
    place = RayPlace.of(on)
    if importlib.util.find_spec("ray") is None:
        raise CallError(
            "--on ray needs the package ray", "pip install 'fkdsl[ray]', here and on every machine"
        )
    if place not in _known:
        from fkdsl.api.cluster.on_ray import RayWorkers

        _known[place] = RayWorkers(place)
    return _known[place]


def close_workers() -> None:
    """Ends all workers of this process, and frees what they have of their cluster."""
    for workers in _known.values():
        workers.close()

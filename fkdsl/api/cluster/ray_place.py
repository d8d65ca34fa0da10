"""Which Ray cluster, and how many workers of each machine, in the words of `--on`."""

from __future__ import annotations

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass

FORM = "write --on ray, --on ray=ADDRESS, or --on ray,cpus=4"


@dataclass(frozen=True)
class RayPlace:
    """A Ray cluster. address: None for the one that this machine is part of, or, where it is part
    of none, one that lives as long as this process. cpus: processor cores of each worker; None for
    one worker a GPU, or a machine that has none.

    >>> RayPlace.of("ray=10.0.0.1:6379,cpus=4")
    RayPlace(address='10.0.0.1:6379', cpus=4)
    """

    address: str | None = None
    cpus: int | None = None

    @classmethod
    def of(cls, text: str) -> RayPlace:
        """The place that a caller names. Raises CallError for another word."""
        first, *settings = text.split(",")
        name, _, address = first.partition("=")
        if name != "ray" or first == "ray=":
            raise CallError(f"islands are computed here or on ray, not on `{text}`", FORM)
        cpus = None
        for setting in settings:
            key, _, number = setting.partition("=")
            if key != "cpus" or not number.isdecimal() or not int(number):
                raise CallError(f"`{setting}` says nothing about workers on ray", FORM)
            cpus = int(number)
        return cls(address or None, cpus)

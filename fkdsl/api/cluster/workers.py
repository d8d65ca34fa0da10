"""What carries tasks to the processes that compute islands, and their messages back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """What a worker sent: JSON (fkdsl.api.cluster.messages); None where the worker has been lost,
    and its task with it. worker: its name, as people find it."""

    worker: str
    data: bytes | None


class Workers(Protocol):
    """Processes that compute islands, each with its models loaded.

    Laws: messages of one worker come in the order in which it sent them. A worker has one task at a
    time. After it is lost nothing more comes from it, and another may come in its place, under
    another name. No method but `messages` waits.
    """

    def start(self, job: bytes) -> None:
        """Has every worker make ready for a job, each of which then says so ("ready") or why it
        cannot ("error"); what comes in the place of a lost one makes ready for it too."""
        ...

    def submit(self, worker: str, task: bytes) -> None:
        """Hands a worker its next task."""
        ...

    def messages(self, seconds: float) -> Sequence[Message]:
        """What has come, after at most so many seconds."""
        ...

    @property
    def count(self) -> int:
        """How many workers live or are being started."""
        ...

    def close(self) -> None:
        """Ends the workers themselves; `start` makes others."""
        ...

    def stop(self) -> None:
        """Has every worker end the task that it is in, which then says that it was ended."""
        ...

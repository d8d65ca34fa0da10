"""A Ray cluster of several nodes on this machine: a `ray start` process each, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STARTED = 120.0
"""Seconds for a node to start on a busy machine."""
TRIES = 3


class Node:
    """A node in a process group of its own. head: where the cluster's first node listens; None for
    the first node itself."""

    def __init__(self, folder, port, head=None):
        self.log = Path(folder, f"node-{port}.log")
        where = (
            [
                "--head",
                f"--port={port}",
                f"--temp-dir={folder}/ray",
                "--include-dashboard=false",
                "--no-monitor",
            ]
            if head is None
            else [f"--address={head}"]
        )
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1",
            "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats",
            "--include-log-monitor=false", *where,
        ]  # fmt: skip
        self.command = command
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for _ in range(TRIES):
            if self._starts():
                return
            self.kill()
        raise AssertionError(self.log.read_text("utf-8", "replace"))

    def _starts(self):
        """Starts the process; whether the node then runs. On a busy machine Ray itself gives up
        after 30 seconds."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + STARTED
        while "Ray runtime started" not in self.log.read_text("utf-8", "replace"):
            if self.process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def processes(self, name=""):
        """The processes below this node whose command begins so."""
        found, todo, tree = [], [self.process.pid], children()
        while todo:
            for pid in tree.get(todo.pop(), ()):
                todo.append(pid)
                if command_of(pid).startswith(name):
                    found.append(pid)
        return found

    def kill(self):
        """Ends it by SIGKILL, and all that runs below it."""
        below = self.processes()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def children():
    """The processes of this machine by their parents."""
    tree = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        tree.setdefault(parent, []).append(int(path.parent.name))
    return tree


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


class Nodes:
    """A cluster of `count` nodes of one core each."""

    def __init__(self, count):
        # The path of a socket below it has at most 107 characters.
        self.folder = tempfile.TemporaryDirectory(prefix="fk-ray-", ignore_cleanup_errors=True)
        self.nodes = []
        try:
            port = free_port()
            self.nodes.append(Node(self.folder.name, port))
            self.address = f"{own_address(self.nodes[0].log)}:{port}"
            for i in range(1, count):
                self.nodes.append(Node(self.folder.name, f"{port}-{i}", self.address))
        except BaseException:
            self.close()
            raise

    def actors(self):
        """The processes of workers on all nodes."""
        return [pid for node in self.nodes for pid in node.processes("ray::_Actor")]

    def close(self):
        for node in reversed(self.nodes):
            node.kill()
        self.folder.cleanup()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def own_address(log):
    """The address that the first node says it has."""
    text = log.read_text("utf-8", "replace")
    return text.split("Local node IP: ")[1].split()[0]

"""What a worker does in tests of how it is ended."""

import ctypes
import os
import signal
import struct

from fkdsl.serve import worker


def hang_in_native_code(pipe, job):
    """Holds Python's lock in a call of C that heeds no signal but SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    worker.bound(job)
    ctypes.PyDLL(None).pause()


def die_twice(pipe, job):
    """Is killed by somebody else twice, after its first steps, and then runs."""
    count = job.folder / "tries"
    tries = int(count.read_text()) if count.exists() else 0
    count.write_text(str(tries + 1))

    class Dying:
        def send_bytes(self, message):
            pipe.send_bytes(message)
            if tries < 2 and b'"step"' in message:
                os.kill(os.getpid(), signal.SIGKILL)

        def recv(self):
            return pipe.recv()

    worker.work(Dying(), job)


def take_memory(pipe, job):
    worker.bound(job)
    held = []
    try:
        while True:
            held.append(bytearray(16 << 20))
    except MemoryError:
        del held
        os.abort()


def lie(pipe, job):
    """Sends what no worker sends, and then what is no message."""
    pipe.send_bytes(b'{"op": "forward", "model": 0, "rows": [[7, 1, [0], [0]]]}')
    assert "no model" in pipe.recv().message
    pipe.send_bytes(b"\x80\x04.")


def ask_and_die(pipe, job):
    """Asks for a thing, and is killed before it reads the answer; then again, and runs."""
    tries = len(list(job.folder.glob("tried*")))
    (job.folder / f"tried{tries}").touch()
    if tries < 2:
        pipe.send_bytes(b'{"op": "model", "name": "tiny"}')
        os.kill(os.getpid(), signal.SIGKILL)
    worker.work(pipe, job)


def die_within_a_message(pipe, job):
    """Is killed before the end of its first message; then it runs."""
    tries = job.folder / "tried"
    if not tries.exists():
        tries.touch()
        os.write(pipe.fileno(), struct.pack("!i", 100) + b'{"op": ')
        os.kill(os.getpid(), signal.SIGKILL)
    worker.work(pipe, job)

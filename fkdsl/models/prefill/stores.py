"""Where the blocks of prompts lie for many processes and machines: a folder, an object store by
fsspec (s3://, gs://, ...), or Redis.

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     store = open_store(folder)
...     store.put("ab12", b"bytes")
...     store.get("ab12", 100), store.get("cd34", 100)
(b'bytes', None)
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file, shown_size
from fkdsl.models.prefill.blocks import Damaged

PATIENCE = 10.0
"""Seconds that Redis has for one answer."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=::|://)")
PREFIX = "fkdsl:prefill:"
"""What the keys of entries begin with in Redis."""


class Unreachable(CallError):
    """A store that does not answer, or refuses."""


class Store(Protocol):
    """Bytes by key. Laws: `get` gives what was put last, whole, or None; a put that is cut off
    changes nothing; several processes may put one key at once."""

    @property
    def name(self) -> str:
        """As the user gave it, without a password."""
        ...

    def get(self, key: str, most: int) -> bytes | None:
        """The bytes of a key; None if there are none. Raises Damaged for more than `most` bytes,
        before they are read, and Unreachable."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Raises Unreachable."""
        ...


def open_store(url: str) -> Store:
    """The store of a folder or URL. Raises CallError for one that fkdsl cannot open."""
    scheme = SCHEME.match(url)
    if scheme is None:
        return FolderStore(Path(url))
    if scheme[0] in ("redis", "rediss", "unix"):
        return RedisStore(url)
    return FileSystemStore(url)


class FolderStore:
    """A folder, on a disk that the machines share."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        if folder.exists() and not folder.is_dir():
            raise CallError(
                f"{folder} is not a folder",
                "name a folder, s3://BUCKET/FOLDER or redis://HOST; a file is for --prefill",
            )

    def get(self, key: str, most: int) -> bytes | None:
        path = self._path(key)
        try:
            return read_file(path, most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(error.strerror or str(error)) from None

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        # Processes of several machines, or containers, may have one number.
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Unreachable(
                f"cannot write to {self.name}: {error.strerror}", "name a folder to write to"
            ) from None

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


class FileSystemStore:
    """A folder of an object store, by fsspec, whose puts are whole or nothing."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.name = _without_password(url)
        try:
            self.files, folder = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise CallError(
                f"{self.name} needs a package: {error}", "install it, or name a folder"
            ) from None
        except Exception as error:  # each protocol has errors of its own
            raise CallError(
                f"cannot open {self.name}: {error}",
                "name a folder, s3://BUCKET/FOLDER or redis://HOST",
            ) from None
        self.folder = folder.rstrip("/")

    def get(self, key: str, most: int) -> bytes | None:
        path = f"{self.folder}/{key[:2]}/{key}"
        with _reached(self.name):
            try:
                size = self.files.info(path)["size"] or 0
                if size <= most:
                    return bytes(self.files.cat_file(path))
            except FileNotFoundError:
                return None
        raise Damaged(f"it has {shown_size(size)}; at most {shown_size(most)} are read")

    def put(self, key: str, data: bytes) -> None:
        with _reached(self.name):
            self.files.pipe_file(f"{self.folder}/{key[:2]}/{key}", data)


class RedisStore:
    """Redis or Valkey. What it keeps how long is its own affair (`maxmemory-policy`), or that of
    `?ttl=SECONDS` in the URL."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError:
            raise CallError(
                "redis:// needs the package redis", 'pip install "fkdsl[redis]"'
            ) from None
        self.name = _without_password(url)
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        ttl = options.pop("ttl", None)
        try:
            self.ttl = None if ttl is None else max(1, int(ttl))
            self.client: Any = redis.Redis.from_url(
                urlunsplit(parts._replace(query=urlencode(options))),
                socket_timeout=PATIENCE,
                socket_connect_timeout=PATIENCE,
            )
        except (ValueError, TypeError) as error:
            raise CallError(
                f"cannot open {self.name}: {error}", "write redis://HOST:PORT/NUMBER?ttl=SECONDS"
            ) from None

    def get(self, key: str, most: int) -> bytes | None:
        with _reached(self.name):
            data = bytes(self.client.getrange(PREFIX + key, 0, most))
        if len(data) > most:
            raise Damaged(f"it is longer; at most {shown_size(most)} are read")
        return data or None

    def put(self, key: str, data: bytes) -> None:
        with _reached(self.name):
            self.client.set(PREFIX + key, data, ex=self.ttl)


@contextmanager
def _reached(name: str) -> Iterator[None]:
    """A context whose errors of a network are Unreachable."""
    try:
        yield
    except (FileNotFoundError, Damaged):
        raise
    except Exception as error:  # each client has errors of its own
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unreachable(
            f"the store {name} does not answer: {text}", "look whether it runs, and may be used"
        ) from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))

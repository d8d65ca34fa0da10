"""What every request passes first: the key, the host's name, the kind and the size of the body.

A page of a browser on this machine could otherwise ask a server on loopback: so a body must be
JSON, which a page of another origin may not send without leave, and without a key the host must be
this machine's name, which another name that leads here is not.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fkdsl.serve.failures import RequestError, failure
from fkdsl.serve.settings import Settings, is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health"})
"""Paths that need no key."""


Count = Callable[[str, int], None]
"""Called with the program, "" for none, and the status of each answer."""


class Guard:
    """An ASGI application around another. Refused requests are answered here, their bodies
    unread."""

    def __init__(self, app: App, settings: Settings, count: Count) -> None:
        self.app, self.settings, self.count = app, settings, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.count(scope.get("fkdsl.program", ""), message["status"])
            await send(message)

        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            self._check(scope, headers)
            body = await self._body(receive, headers)
        except RequestError as error:
            await refuse(counted, error)
            return

        first = True

        async def again() -> MutableMapping[str, Any]:
            """The body that was read, then what comes after it."""
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, again, counted)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises RequestError for a request that is not let in."""
        key = self.settings.key
        if key:
            if scope["path"] not in OPEN and not has_key(headers.get("authorization", ""), key):
                raise RequestError(
                    "this server asks for its API key",
                    "send the header `Authorization: Bearer KEY`",
                    status=401,
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Basic"},
                )
        elif not is_loopback(host_of(headers.get("host", ""))):
            raise RequestError(
                "without an API key the server answers to 127.0.0.1 and localhost alone",
                "ask it by that name, or start it with --api-key",
                status=403,
                code="wrong_host",
            )
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                raise RequestError(
                    "the body of a request is JSON",
                    "send the header `Content-Type: application/json`",
                    status=415,
                    code="unsupported_media_type",
                )

    async def _body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body. Raises RequestError where it is longer than the bound."""
        most = self.settings.limits.body
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise too_large(most)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("the client has left", status=499, code="client_left")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large(most)
            if not message.get("more_body", False):
                return b"".join(parts)


def too_large(most: int) -> RequestError:
    return RequestError(
        f"the body is larger than {most:,} bytes",
        "send less, or start the server with --max-body",
        status=413,
        code="body_too_large",
    )


def has_key(header: str, key: str) -> bool:
    """Whether an Authorization header has the key, as a bearer's or as the password of a browser.
    Takes the same time for every wrong key.

    >>> has_key("Bearer abc", "abc"), has_key("Bearer ab", "abc"), has_key("", "abc")
    (True, False, False)
    """
    scheme, _, given = header.partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("latin-1", "replace"), key.encode())


def host_of(header: str) -> str:
    """The name in a Host header, without the port.

    >>> host_of("127.0.0.1:8000"), host_of("[::1]:8000"), host_of("localhost")
    ('127.0.0.1', '::1', 'localhost')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


async def refuse(send: Send, error: RequestError) -> None:
    """Sends an error as an answer."""
    status, body = failure(error)
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})

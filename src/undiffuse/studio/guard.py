"""Closed doors: who may ask, from where, and how much he may send. It stands before everything else.

* The Host header must name this machine as it is listened on. Otherwise a page of any site could have its own name
  point here (DNS rebinding) and read everything.
* What changes something must come from this page or from no page: a foreign Origin is refused (cross-site requests).
* Beyond the loopback address everything needs a token, which is compared in constant time. The page carries it in a
  cookie that scripts cannot read, set by opening ``/?token=...`` once.
* A body is counted as it comes in, so that nothing grows beyond its limit, whatever its header says.
* Answers say that no other page may embed, read or script them.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undiffuse.studio.limits import Limits

COOKIE = "undiffuse_token"
SAFE = ("GET", "HEAD")
CONTENT_SECURITY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
UPLOADS = ("/v1/edits/", "/v1/restore")
DATA = "/v1/data"


class _TooLargeError(Exception):
    """The body grew beyond its limit; whoever reads it has no use for the rest."""


@dataclass(frozen=True)
class Doors:
    """What is listened on.

    Args:
        host: the address that was given.
        token: what strangers must show; '' for none.
        names: other names by which this machine may be called.
    """

    host: str = "127.0.0.1"
    token: str = ""
    names: tuple[str, ...] = ()

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        name = host_name(host)
        if name in ("localhost", "127.0.0.1", "::1", self.host, *self.names):
            return True
        if not self.token or not is_any(self.host):
            return False
        # Listening everywhere: by number, which no foreign name server can give away, or by the machine's own name.
        return is_address(name) or name == socket.gethostname().lower()

    def admits(self, shown: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(shown.encode(), self.token.encode())


def host_name(host: str) -> str:
    """The name of 'name:port' or '[address]:port'; '' for what is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").lower() if parts.netloc == host and "@" not in host else ""


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_any(host: str) -> bool:
    """Whether an address stands for all that the machine has."""
    return host == "" or (is_address(host) and ipaddress.ip_address(host).is_unspecified)


class Guard:
    """ASGI middleware; see the head of this file."""

    def __init__(self, app: ASGIApp, doors: Doors, limits: Limits) -> None:
        self.app, self.doors, self.limits = app, doors, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks through web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_headers(send)
        headers = _headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if self.doors.token:
            shown, from_address = self._shown(scope, headers)
            if not self.doors.admits(shown):
                await _answer(
                    send, 401, "This studio needs its token: open the address that it printed when it started"
                )
                return
            if from_address:
                await self._welcome(scope, send)
                return
        await self._counted(scope, receive, send, headers)

    def _refusal(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self.doors.knows(hosts[0]):
            return 403, "This is not a name of this studio; open it by the address that it printed when it started"
        if scope["method"] in SAFE:
            return None
        for origin in headers.get("origin", []):
            if urlsplit(origin).netloc != hosts[0] or urlsplit(origin).scheme not in ("http", "https"):
                return 403, "Only the studio's own page may change anything here"
        if any(site not in ("same-origin", "none") for site in headers.get("sec-fetch-site", [])):
            return 403, "Only the studio's own page may change anything here"
        return None

    def _shown(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[str, bool]:
        """The token that came, and whether it came in the address."""
        for value in headers.get("authorization", []):
            kind, _, token = value.partition(" ")
            if kind.lower() == "bearer":
                return token.strip(), False
        for value in headers.get("cookie", []):
            try:
                found = SimpleCookie(value).get(COOKIE)
            except CookieError:
                continue
            if found is not None and self.doors.admits(found.value):
                return found.value, False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return (query["token"][0], True) if scope["path"] == "/" and "token" in query else ("", False)

    async def _welcome(self, scope: Scope, send: Send) -> None:
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={self.doors.token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _counted(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, list[str]]) -> None:
        most = self._most(scope["path"])
        said = headers.get("content-length", ["0"])[0]
        if said.isdigit() and int(said) > most:
            await _answer(send, 413, _too_large(most))
            return
        taken, overflow, answered = 0, False, False

        async def counting() -> Message:
            nonlocal taken, overflow
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                overflow = True
                raise _TooLargeError
            return message

        async def watching(message: Message) -> None:
            nonlocal answered
            if overflow and not answered:
                return  # whatever the reader made of its body breaking off
            answered = True
            await send(message)

        with contextlib.suppress(_TooLargeError):
            await self.app(scope, counting, watching)
        if overflow and not answered:
            await _answer(send, 413, _too_large(most))

    def _most(self, path: str) -> int:
        if path == DATA:
            return self.limits.data_bytes + self.limits.json_bytes
        return self.limits.upload_bytes if path.startswith(UPLOADS) else self.limits.json_bytes


def _too_large(most: int) -> str:
    return f"That is too large: a request like this has at most {max(1, most >> 20)} MiB"


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in HEADERS if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

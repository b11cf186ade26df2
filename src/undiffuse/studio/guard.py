"""Closed doors: who may ask, from where, and how much he may send. It stands before everything else.

* The Host header must name this machine as it is listened on, and so must the name that a proxy passes on. Otherwise a
  page of any site could have its own name point here (DNS rebinding) and read everything.
* What changes something must come from this page or from no page: a foreign Origin is refused (cross-site requests);
  `doors` says which is foreign.
* Beyond the loopback address everything needs a token, which is compared in constant time. The page carries it in a
  cookie that scripts cannot read, set by opening ``/?token=...`` once.
* A body is counted as it comes in, so that nothing grows beyond its limit, whatever its header says.
* Answers say that no other page may embed, read or script them.

It is also where addresses begin: those behind a sub-path lose it here, those in answers are relative, and whatever
answers GET answers HEAD.
"""

from __future__ import annotations

import asyncio
import contextlib
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from undiffuse.studio.addresses import Doors, authority, forwarded_host, host_name
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
        if scope["method"] == "HEAD":
            send = _without_body(send)
        scope = self._below(scope)
        send = _with_headers(send, scope["path"])
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refused(*refusal)(scope, receive, send)
            return
        if self.doors.token:
            shown, from_address = self._shown(scope, headers)
            if not self.doors.admits(shown):
                sentence = "This studio needs its token: open the address that it printed when it started"
                await _refused(401, sentence)(scope, receive, send)
                return
            if from_address:
                await self._welcome(scope["scheme"])(scope, receive, send)
                return
        if scope["path"] == "":
            query = scope["query_string"].decode("latin-1")
            place = f"{self.doors.path.rpartition('/')[2]}/" + (f"?{query}" if query else "")
            # By hand, for RedirectResponse would quote the query, which goes on as it came.
            await Response(status_code=303, headers={"location": place})(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._headed(scope, receive, send)
        else:
            await self._counted(scope, receive, send, headers)

    def _below(self, scope: Scope) -> Scope:
        """The request as if the studio's sub-path were the root; a proxy may have taken it off already."""
        path = self.doors.path
        if not path or not (scope["path"] == path or scope["path"].startswith(f"{path}/")):
            return scope
        raw = scope.get("raw_path") or b""
        below = raw.removeprefix(path.encode()) if raw.startswith(path.encode()) else b""
        return {**scope, "path": scope["path"].removeprefix(path), "raw_path": below}

    async def _headed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET's answer without its body: a stream, which need not end, is left when it has begun."""
        begun = asyncio.Event()

        async def beginning(message: Message) -> None:
            if not begun.is_set():
                begun.set()
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        work = asyncio.ensure_future(self.app({**scope, "method": "GET"}, receive, beginning))
        waiting = asyncio.ensure_future(begun.wait())
        try:
            await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, waiting):
                task.cancel()
            _, failure = await asyncio.gather(waiting, work, return_exceptions=True)
        if isinstance(failure, Exception) and not begun.is_set():
            raise failure

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        passed_on = forwarded_host(headers)
        if len(hosts) != 1 or not all(map(self.doors.knows, [*hosts, *passed_on])):
            asked_for = (passed_on or hosts or [""])[0]
            return 403, (
                "This is not a name of this studio; open it by the address that it printed when it started, or start "
                f"it with --name {host_name(asked_for) or 'NAME'} if that is how a proxy calls it"
            )
        if scope["method"] in SAFE:
            return None
        sites = headers.getlist("sec-fetch-site")
        if any(site not in ("same-origin", "none") for site in sites):
            return 403, "Only the studio's own page may change anything here"
        for origin in headers.getlist("origin"):
            if not self.doors.is_own(origin, hosts[0], passed_on, "same-origin" in sites):
                return 403, _foreign(origin, self.doors)
        return None

    def _shown(self, scope: Scope, headers: Headers) -> tuple[str, bool]:
        """The token that came, and whether it came in the address."""
        for value in headers.getlist("authorization"):
            kind, _, token = value.partition(" ")
            if kind.lower() == "bearer":
                return token.strip(), False
        for value in headers.getlist("cookie"):
            try:
                found = SimpleCookie(value).get(COOKIE)
            except CookieError:
                continue
            if found is not None and self.doors.admits(found.value):
                return found.value, False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return (query["token"][0], True) if scope["path"] == "/" and "token" in query else ("", False)

    def _welcome(self, scheme: str) -> Response:
        # Without a path of its own it counts below the address that was opened, which under a proxy only the browser
        # knows: other applications of that host are not sent it.
        secure = "; Secure" if scheme == "https" else ""
        cookie = f"{COOKIE}={self.doors.token}; HttpOnly; SameSite=Strict{secure}"
        return RedirectResponse("/", 303, headers={"set-cookie": cookie, "cache-control": "no-store"})

    async def _counted(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        most = self._most(scope["path"])
        too_large = _refused(413, f"That is too large: a request like this has at most {max(1, most >> 20)} MiB")
        said = headers.get("content-length", "0")
        if said.isdigit() and int(said) > most:
            await too_large(scope, receive, send)
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
            await too_large(scope, receive, send)

    def _most(self, path: str) -> int:
        if path == DATA:
            return self.limits.data_bytes + self.limits.json_bytes
        return self.limits.upload_bytes if path.startswith(UPLOADS) else self.limits.json_bytes


def _with_headers(send: Send, path: str) -> Send:
    """Answers with the headers of all, and with addresses that hold wherever a proxy serves the studio."""

    def placed(name: bytes, value: bytes) -> tuple[bytes, bytes]:
        absolute = name.lower() == b"location" and value.startswith(b"/")
        return (name, _relative(value.decode("latin-1"), path).encode("latin-1")) if absolute else (name, value)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [placed(name, value) for name, value in message.get("headers", ())]
            present = {name.lower() for name, _ in own}
            message = {**message, "headers": [*own, *(pair for pair in HEADERS if pair[0] not in present)]}
        await send(message)

    return sending


def _relative(address: str, path: str) -> str:
    """An address of the studio as it is reached from another: /v1/samples/x from /v1/edits/vary is ../samples/x."""
    here, there = path.split("/")[:-1], address.split("/")
    while len(here) > 1 and len(there) > 2 and here[1] == there[1]:
        here, there = here[1:], there[1:]
    return "../" * (len(here) - 1) + "/".join(there[1:]) or "./"


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending


def _foreign(origin: str, doors: Doors) -> str:
    place = authority(origin)
    if place is None or not doors.knows(place[0]):
        return "Only the studio's own page may change anything here"
    name = f"[{place[0]}]" if ":" in place[0] else place[0]
    return (
        f"Only the studio's own page may change anything here, and nothing says that {origin[:200]} is its address: if "
        "a proxy serves it there, let the proxy pass Host on with its port, or start the studio with "
        f"--name {name}:{place[1]}"
    )


def _refused(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status, headers={"connection": "close"})

"""By which names and addresses this machine may be called, and which pages are the studio's own."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

PORTS = {"http": 80, "https": 443}
"""Of addresses that name none."""
FORWARDED = ("x-forwarded-host", "x-forwarded-port")
"""What a proxy says of the address that it was asked at."""


@dataclass(frozen=True)
class Doors:
    """The address that is listened on, and its names.

    Args:
        host: the address that was given.
        token: what strangers must show; '' for none.
        names: other names by which this machine may be called, as NAME or, of a proxy, NAME:PORT.
        port: that is listened on.
        path: below which a proxy serves the studio, such as '/tools/undiffuse'; '' for the root.
    """

    host: str = "127.0.0.1"
    token: str = ""
    names: tuple[str, ...] = ()
    port: int = 8000
    path: str = ""

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        name = host_name(host)
        if name in ("localhost", "127.0.0.1", "::1", self.host, *map(host_name, self.names)):
            return bool(name)
        if not self.token or not is_any(self.host):
            return False
        # Listening everywhere: by number, which no foreign name server can give away, or by the machine's own name.
        return is_address(name) or name == socket.gethostname().lower()

    def is_own(self, origin: str, host: str, passed_on: Sequence[str], same_origin: bool) -> bool:
        """Whether a page of this origin is the studio's own.

        Its name must be one of ours. Its port must be that of the Host header, or of the name that a proxy passes on.
        A proxy may have taken the port off, or have put another Host there; then something else must say that no page
        of another port asks, which may be anybody's:

        * the browser (Sec-Fetch-Site, which no script can set);
        * whoever started the studio (a name with its port);
        * the port that the studio itself listens on, of this machine's own names: nobody else listens there.

        Args:
            origin: of the page that asks, as in Origin.
            host: the Host header.
            passed_on: the names by which a proxy says that it was asked.
            same_origin: whether the browser says that the page is of the origin that it asks.
        """
        page = authority(origin)
        if page is None or not self.knows(origin.partition("://")[2]):
            return False
        scheme = origin.partition("://")[0]
        if page in [authority(f"{scheme}://{place}") for place in (host, *passed_on)] or same_origin:
            return True
        if page in [authority(f"{scheme}://{name}") for name in self.names if has_port(name)]:
            return True
        return page == (host_name(host), self.port) and not has_port(host) and is_loopback(page[0])

    def admits(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self.token.encode())


def host_name(host: str) -> str:
    """The name of 'name:port' or '[address]:port'; '' for what is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").lower() if parts.netloc == host and "@" not in host else ""


def has_port(host: str) -> bool:
    return bool(host_name(host)) and urlsplit(f"//{host}").port is not None


def authority(origin: str) -> tuple[str, int] | None:
    """Name and port of 'http://name:port' or the like; None for what is no origin of a page from the web."""
    scheme, _, host = origin.partition("://")
    name = host_name(host)
    if scheme not in PORTS or not name:
        return None
    return name, urlsplit(f"//{host}").port or PORTS[scheme]


def forwarded_host(headers: Headers) -> list[str]:
    """The name by which the proxy nearest to the browser was asked, where it says so.

    A page of another origin cannot send such headers without asking first, which is refused.
    """
    first = {name: [value.split(",")[0].strip() for value in headers.getlist(name)] for name in FORWARDED}
    hosts, ports = first["x-forwarded-host"], first["x-forwarded-port"]
    asked = hosts or headers.getlist("host")
    if len(asked) == len(ports) == 1 and not has_port(asked[0]):
        return [f"{asked[0]}:{ports[0]}"]
    return hosts


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

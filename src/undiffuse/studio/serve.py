"""From the command's options to a running server."""

from __future__ import annotations

import re
import socket
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from undiffuse.errors import UndiffuseError
from undiffuse.studio.addresses import Doors, host_name, is_any, is_loopback
from undiffuse.studio.app import make_app
from undiffuse.studio.studio import Studio

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
MOST = 65535
"""Largest port."""
WAITING = 1024
"""Connections that wait to be taken."""
PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class Address(Doors):
    """The address that a studio is to listen on, checked; port 0 stands for one that is free."""

    def __post_init__(self) -> None:
        if self.token and not TOKEN.fullmatch(self.token):
            raise UndiffuseError("A token has 16 letters or more, of A-Z, a-z, 0-9, '-' and '_'")
        if not 0 <= self.port <= MOST:  # the system would take the rest of a division
            raise UndiffuseError(f"A port is a whole number from 0 to {MOST}, not {self.port}")
        if not is_loopback(self.host) and not self.token:
            raise UndiffuseError(
                f"--host {self.host} can be reached from other machines, so the studio needs --token TEXT, a secret of "
                "16 letters or more"
            )
        for name in self.names:
            if not host_name(name):
                raise UndiffuseError(f"--name is the name of a machine, or NAME:PORT, as studio.example; got '{name}'")
        if not PATH.fullmatch(self.path):
            raise UndiffuseError(
                "--path is the part of the address below which a proxy serves the studio, as /tools/undiffuse, of "
                f"letters, digits and . _ ~ -; got '{self.path}'"
            )

    def bind(self) -> socket.socket:
        """A socket that listens there."""
        try:
            found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, place = found[0]
            listening = socket.socket(family, kind, protocol)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(WAITING)  # whoever reads the address may come at once, before the server is up
        except (OSError, UnicodeError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UndiffuseError(f"cannot listen on {self.host}:{self.port}: {reason}; try --port 0") from None
        return listening


def serve(
    address: Address,
    given: Sequence[Path] = (),
    runs: Path = Path("runs"),
    gallery: Path | None = None,
    device: str = "cpu",
    open_page: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Serve a studio until it is interrupted."""
    listening = address.bind()
    port = listening.getsockname()[1]
    shown = "localhost" if is_any(address.host) else f"[{address.host}]" if ":" in address.host else address.host
    url = f"http://{shown}:{port}{address.path}/" + (f"?token={address.token}" if address.token else "")
    app = make_app(Studio.of(given, runs, gallery, device), replace(address, port=port))
    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,  # addresses may hold the token
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,  # streams of events end when their readers do, which may be never
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    say(f"The studio is at {url}  (Ctrl-C ends it; trainings go on)")
    if open_page:
        webbrowser.open(url)
    with suppress(KeyboardInterrupt), listening:
        server.run(sockets=[listening])

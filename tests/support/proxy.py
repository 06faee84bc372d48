"""A TCP proxy on loopback that fails on command: the network between a worker and its server.

    passing    bytes go both ways
    away       open connections are reset and new ones refused, as by a server that is down
    silent     bytes are swallowed both ways and nothing is closed, as by a cable that was pulled

With a `delay`, whatever passes does so that many seconds late, each way.
`lose_reply` lets the server do what the client asked for next, and cuts the line at its first
answer, or in the middle of it: the client cannot know whether its commit took place.
`move_to` gives the address to another server, as a failover does.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Link:
    """One client's connection and the server's side of it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.doomed = False  # cut at the next answer
        self.part = 0.0  # of that answer which still passes

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Stands before one server; `url` is the server's URL by way of this proxy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.move_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        user, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))
        self.mode: Literal["passing", "away", "silent"] = "passing"
        self.lost_replies = 0
        self.delay = 0.0
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._start(self._accept)

    @staticmethod
    def _start(target, *args) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    # ---- faults

    def go_away(self) -> None:
        """Reset every connection and refuse new ones."""
        self.mode = "away"
        self.cut()

    def go_silent(self) -> None:
        """Swallow everything from now on."""
        self.mode = "silent"

    def come_back(self) -> None:
        """Pass bytes again; connections that were silent are cut, as they missed some."""
        was, self.mode = self.mode, "passing"
        if was == "silent":
            self.cut()

    def cut(self) -> int:
        """Reset every open connection; return how many there were."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.close()
        return len(links)

    def lose_reply(self, part: float = 0.0) -> None:
        """Cut each open connection at the next answer on it, of which a part still passes."""
        with self._lock:
            for link in self._links:
                link.part = part
                link.doomed = True

    def move_to(self, url: str) -> None:
        """Stand before another server from now on; what is open stays where it is."""
        parts = urlsplit(url)
        assert parts.hostname, "a server's URL has a host"
        assert parts.port, "a server's URL has a port"
        self._target = (parts.hostname, parts.port)

    def close(self) -> None:
        """End the proxy."""
        self._closing = True
        self._listener.close()
        self.cut()

    # ---- traffic

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "away":
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client, server)
            with self._lock:
                self._links.add(link)
            self._start(self._pump, link, client, server, False)
            self._start(self._pump, link, server, client, True)

    def _pump(self, link: Link, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(_CHUNK):
                if self.mode == "silent":
                    continue
                if self.delay:
                    threading.Event().wait(self.delay)
                if answers and link.doomed:
                    self.lost_replies += 1
                    sink.sendall(data[: int(len(data) * link.part)])
                    break
                sink.sendall(data)
        except OSError:
            pass
        with self._lock:
            self._links.discard(link)
        link.close()

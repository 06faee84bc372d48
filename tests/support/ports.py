"""Ports for servers of the tests: free, and kept so.

A port of the kernel's choice is one that it also gives to outgoing connections: between the look
for it and the server's bind, and whenever a killed server is down, anybody's connection may take it
(on loopback even one that is opened to that very port, which then is connected to itself). So ours
lie below those that the kernel gives away.
"""

from __future__ import annotations

import random
import socket

_FIRST, _LAST = 15_000, 32_000  # Linux gives away 32768 and above, others 49152 and above
_given: set[int] = set()


def free_port() -> int:
    """Return a port on loopback that nobody listens at and that was not given away here before."""
    while True:
        port = random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        _given.add(port)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port

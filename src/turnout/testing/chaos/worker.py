"""One supervisor under test.

It is the production supervisor over an application, with three things added:
every attempt is noted in the ledger, its host may bear another name, so that nobody looks up its
pids and only the lease tells whether it lives, and its clock may be moved from outside.
"""

from __future__ import annotations

import logging
import mmap
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from turnout import identity
from turnout.errors import ConfigError
from turnout.testing.chaos.ledger import Ledger, watch
from turnout.testing.chaos.probe import add_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.app import Turnout

_FORMAT = "%(asctime)s %(process)d %(levelname)s %(message)s"
_machine = time.time
_OFFSET = struct.Struct("d")


class Orders(msgspec.Struct, frozen=True):
    """What such a supervisor is told. Times in seconds."""

    target: str  # as `turnout worker` takes it
    ledger: str
    url: str = ""  # instead of the application's own
    processes: int = 1
    threads: int = 5
    concurrency: int = 20
    heartbeat: float = 0.5
    dead_after: float = 3.0
    grace: float = 25.0
    queues: str = ""
    host: str = ""  # the name of another machine
    clock: str = ""  # a file made by `Clock`
    probe: bool = False  # know the probe of `turnout chaos`


class Clock:
    """A clock that other processes can move: a file that holds how far it is off, in seconds."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_OFFSET.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _OFFSET.size)

    def jump(self, seconds: float) -> None:
        """Be that far off the machine's clock from now on, for all who read this file."""
        self._map[:] = _OFFSET.pack(seconds)

    def __call__(self) -> float:
        """Return the time, in seconds since the epoch, as this clock has it."""
        [offset] = _OFFSET.unpack(self._map[:])
        return _machine() + float(offset)


def supervise(app: Turnout, orders: Orders) -> int:
    """Run the supervisor until it is told to stop; the exit code.

    Raises ConfigError when another store is to be used and the application has opened its own.
    """
    from turnout.worker.options import WorkerOptions, parse_queues
    from turnout.worker.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    if orders.url:
        use_store(app, orders.url)
    if orders.clock:
        _use_clock(app, Clock(Path(orders.clock)))
    if orders.probe:
        add_probe(app)
    watch(app, Ledger(Path(orders.ledger)))
    if orders.host:
        _move_to(orders.host)  # now, when all that asks for it has been imported
    options = WorkerOptions(
        queues=parse_queues(orders.queues),
        processes=orders.processes,
        threads=orders.threads,
        concurrency=orders.concurrency,
        heartbeat=orders.heartbeat,
        dead_after=orders.dead_after,
        grace=orders.grace,
    )
    return Supervisor(app, options).run()


def use_store(app: Turnout, url: str) -> None:
    """Let an application use the store at `url`; it must not have opened another."""
    if app._store is not None and app.url != url:  # noqa: SLF001
        msg = f"the application has opened {app.config.location} already: it cannot use another"
        raise ConfigError(msg)
    app.config = msgspec.structs.replace(app.config, url=url)


def _use_clock(app: Turnout, clock: Callable[[], float]) -> None:
    """Set the clock of this machine, as far as this process sees it."""
    app.clock = time.time = clock
    store: Any = app.store
    if hasattr(store, "clock"):
        store.clock = clock


def _move_to(name: str) -> None:
    """Let this process believe that it runs on another machine."""
    before = identity.host
    for module in list(sys.modules.values()):
        if getattr(module, "host", None) is before:
            vars(module)["host"] = lambda: name

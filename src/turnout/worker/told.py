"""What a worker process is told: by signals on its machine, by orders from anywhere else.

TERM, order stop    stop within the grace          INT      the same, and a second one hurries
TSTP, order quiet   take no more jobs              USR2     the same, and end when idle
TTIN, order dump    write the stack of every thread to stderr; the order: of jobs, to the store too
"""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.job import Orders
    from turnout.worker.process import WorkerProcess

log = logging.getLogger("turnout.worker")


def listen(worker: WorkerProcess) -> None:
    """Heed the signals; main thread of the main interpreter only."""
    signal.signal(signal.SIGTERM, lambda *_: worker.stop(hurry=False))
    signal.signal(signal.SIGINT, lambda *_: worker.stop())
    if hasattr(signal, "SIGTSTP"):
        signal.signal(signal.SIGTSTP, lambda *_: worker.quiet())
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, lambda *_: worker.retire())
    if hasattr(signal, "SIGTTIN"):
        faulthandler.register(signal.SIGTTIN, file=sys.stderr, all_threads=True)


def obey(worker: WorkerProcess, orders: Orders) -> None:
    """Carry out what an operator ordered by way of the store."""
    if orders.quiet and not worker.crew.quiet:
        log.info("told to take no more jobs")
        worker.quiet()
    if orders.stop and not worker.crew.stopping:
        log.info("told to stop")
        worker.stop(hurry=False)
    if orders.dump:
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        worker.hasten("stacks")

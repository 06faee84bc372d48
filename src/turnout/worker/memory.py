"""How much memory this process holds."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def rss() -> int | None:
    """Return the resident bytes of this process, shared pages included; None where nobody tells.

    Linux tells what it holds now. Elsewhere the peak must do, which never sinks.
    """
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

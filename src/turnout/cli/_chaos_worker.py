"""The program that a supervisor under faults runs: `python -m turnout.cli._chaos_worker JSON`.

The invariant: it differs from `turnout worker` only by what `turnout.testing.chaos.worker` adds.
"""

from __future__ import annotations

import sys

import msgspec

from turnout.cli.locate import find_app
from turnout.testing.chaos.worker import Orders, supervise


def command(orders: Orders) -> list[str]:
    """Return the command line that starts a supervisor by these orders."""
    return [sys.executable, "-m", "turnout.cli._chaos_worker", msgspec.json.encode(orders).decode()]


def main(text: str) -> int:
    """Find the application and supervise its workers; the exit code."""
    orders = msgspec.json.decode(text, type=Orders)
    return supervise(find_app(orders.target), orders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""What was done on the command line goes into the audit log, beside what was done elsewhere."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import click

from turnout import auditlog
from turnout.cli import output
from turnout.cli.options import user
from turnout.errors import StoreError

if TYPE_CHECKING:
    from turnout.store.protocol import Store

ROLE = "command line"


def note(store: Store, action: str, subject: str, count: int = 1) -> None:
    """Write down what was done, and say so where that failed: it stays done."""
    if trouble := noted(store, action, subject, count):
        click.echo(output.one_line(trouble), err=True)


def noted(store: Store, action: str, subject: str, count: int = 1) -> str:
    """Write down what was done; return "", or why the audit log has no line of it."""
    entry = auditlog.Entry(
        at=round(time.time(), 3),
        who=user() or "somebody",
        role=ROLE,
        action=action,
        subject=subject,
        count=count,
        address=socket.gethostname(),
    )
    try:
        auditlog.write(store, entry)
    except StoreError as error:
        return f"done, but the audit log has no line of it: {error}"
    return ""

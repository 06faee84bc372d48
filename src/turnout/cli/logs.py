"""What `turnout worker` says: the log's format and level, and the banner at its start.

    text  2025-06-01 12:00:00.123 INFO  message
    json  {"time": 1748779200.123, "level": "info", "logger": "turnout.worker", "message": "..."}

What a job logs, in whatever module, tells the job too: task, id, attempt and, in JSON, its queue.

The invariant: an application that has set up logging of its own keeps it; only the level of
Turnout's own loggers is then ours to say.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.logs import FIELDS, JobContext

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.worker.options import QueueSpec, WorkerOptions

log = logging.getLogger("turnout.worker")

_SHOWN = 20  # task names in the banner


class TextFormatter(logging.Formatter):
    """One line, as the lines of finished jobs look; an error's traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{second}.{int(record.msecs):03d} {record.levelname:<5} {record.getMessage()}"
        job = getattr(record, "job", "")
        if job:
            head = f"{head}  {job}"
        return "\n".join(filter(None, (head, self._traceback(record))))

    def _traceback(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class JsonFormatter(TextFormatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if getattr(record, "job_id", None) is not None:
            line |= {name: getattr(record, name) for name in FIELDS}
        if record.exc_info:
            line["traceback"] = _encodable(self._traceback(record))
        return msgspec.json.encode(line).decode()


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def set_up_logging(options: WorkerOptions) -> None:
    """Send logs to stderr in the format asked for, unless the application has its own set-up."""
    logging.getLogger("turnout").setLevel(options.log_level.upper())
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(JobContext())
    handler.setFormatter(JsonFormatter() if options.log_format == "json" else TextFormatter())
    root.addHandler(handler)


def say_banner(app: Turnout, options: WorkerOptions) -> None:
    """Log what this worker is about to do: store, durability, queues, tasks, and warnings."""
    info = app.store.describe()
    names = sorted(app.tasks)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    survives = f"enqueues survive {info.enqueue_survives}, settles {info.settle_survives}"
    log.info("store: %s at %s; %s", info.name, info.location, survives)
    log.info("queues: %s", ", ".join(map(_in_words, options.queues)) or "all")
    log.info("tasks: %d: %s%s", len(names), ", ".join(names[:_SHOWN]), more)
    log.info(
        "processes: %d, each with %d threads and %d async slots; grace %g s",
        options.processes, options.threads, options.concurrency, options.grace,
    )  # fmt: skip
    for warning in info.warnings:
        log.warning(warning)
    if not names:
        log.warning("no task is registered: jobs of unknown tasks go back to wait for others")


def _in_words(spec: QueueSpec) -> str:
    weight = "" if spec.weight is None else f"={spec.weight}"
    limit = "" if spec.limit is None else f"@{spec.limit}"
    return f"{spec.name}{weight}{limit}"

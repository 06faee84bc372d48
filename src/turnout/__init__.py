"""Turnout moves work off the request path: enqueue in milliseconds, let workers do the rest."""

from turnout.app import Turnout
from turnout.backoff import exactly, exponential, fixed, polynomial
from turnout.current import CurrentJob, current_job
from turnout.errors import (
    ArgumentError,
    Cancel,
    ConfigError,
    Deferred,
    Discard,
    EnqueueError,
    IsolatedError,
    JobFailed,
    JobNotFound,
    JobTimeout,
    LimitFull,
    PayloadTooLarge,
    QueueFull,
    Retry,
    SchemaError,
    Snooze,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    TurnoutError,
    UnknownTask,
    WithinError,
)
from turnout.handle import Job
from turnout.isolation import Isolate
from turnout.job import JobRecord, State
from turnout.limits.shapes import Limit, concurrency, rate
from turnout.retry import discard_on, retry_on
from turnout.secret import Secret
from turnout.task import PreparedJob, Task

__all__ = [
    "ArgumentError",
    "Cancel",
    "ConfigError",
    "CurrentJob",
    "Deferred",
    "Discard",
    "EnqueueError",
    "Isolate",
    "IsolatedError",
    "Job",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "JobTimeout",
    "Limit",
    "LimitFull",
    "PayloadTooLarge",
    "PreparedJob",
    "QueueFull",
    "Retry",
    "SchemaError",
    "Secret",
    "Snooze",
    "State",
    "StoreBusy",
    "StoreError",
    "StoreUnavailable",
    "Task",
    "Turnout",
    "TurnoutError",
    "UnknownTask",
    "WithinError",
    "concurrency",
    "current_job",
    "discard_on",
    "exactly",
    "exponential",
    "fixed",
    "polynomial",
    "rate",
    "retry_on",
]
__version__ = "0.1.0"

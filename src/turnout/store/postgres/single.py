"""One plain new job, as most requests enqueue it: one prepared statement, sent by libpq itself.

psycopg's own way of binding values costs 35 us of Python a call, a third of a commit on a fast
disk. Whatever the server says but yes, it has recorded nothing, and the verb `enqueue` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from psycopg import generators
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from turnout.job import NewJob
    from turnout.store.postgres.connection import Connection

_NAME = b"turnout_enqueue_new"


def is_plain(job: NewJob) -> bool:
    """Say whether a job is ready at once and has neither a unique key nor an end."""
    return job.run_at is None and job.expires_at is None and job.unique is None


class Single:
    """The statement `enqueue_new` on the connections of one process."""

    def __init__(self, sql: str) -> None:
        self._sql = sql.encode()
        self._fit: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()

    def record(self, connection: Connection, job: NewJob) -> bool | None:
        """Record a plain new job and say whether workers sleep; None: nothing was recorded."""
        fit = self._fit.get(connection)
        if fit is None:
            fit = self._fit[connection] = self._prepare(connection)
        if not fit:
            return None
        connection.pgconn.send_query_prepared(_NAME, _values(job))
        answer = connection.wait(generators.execute(connection.pgconn))[-1]
        if answer.status != ExecStatus.TUPLES_OK:
            return None
        return bool(answer.get_value(0, 0) == b"t")

    def _prepare(self, connection: Connection) -> bool:
        """Prepare the statement where that is of use; what failed is not tried again."""
        if connection.prepare_threshold is None or connection.info.encoding != "utf-8":
            return False  # a pooler between us and the server, or text would need translating
        connection.pgconn.send_prepare(_NAME, self._sql)
        answer = connection.wait(generators.execute(connection.pgconn))[-1]
        return bool(answer.status == ExecStatus.COMMAND_OK)


def _values(job: NewJob) -> list[bytes | None]:
    return [
        job.id.encode(),
        job.task.encode(),
        job.queue.encode(),
        job.args.encode(),
        b"%d" % -job.priority,
        None if job.context is None else job.context.encode(),
    ]

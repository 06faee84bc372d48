"""Where the peers are installed: virtual environments and npm folders in a cache, never in here.

A folder's name holds a hash of what is to be in it, and a folder is used only when its installation
went through: another requirements.txt, another interpreter, another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

INSTALLING = 900.0  # seconds
KEPT_LINES, KEPT_WIDTH = 12, 300


class FailedError(Exception):
    """A program did not do what it should: its message holds the last lines of its output."""


class AbsentError(Exception):
    """What a peer needs is not on this machine."""


class Ran(NamedTuple):
    out: str
    error: str


def cache_folder(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "turnout-benchmarks" / name


def run(command: list[str], *, timeout: float, folder: Path | None = None) -> Ran:
    """Run a program in a process group of its own, which is killed when the time is over."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=timeout)
        ended = f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        ended = f"was not done after {timeout:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
    if process.returncode == 0:
        return Ran(out, error)
    if process.returncode is None:
        out, error = process.communicate()
    lines = [*out.splitlines(), *error.splitlines()][-KEPT_LINES:]
    lines = [line[:KEPT_WIDTH] for line in lines]
    msg = "\n".join([f"{' '.join(command[:3])} {ended}", *lines])
    raise FailedError(msg)


def python(peers: Path, cache: Path, interpreter: str) -> Path:
    """Return the Python of an environment with a folder's Python peers, made when there is none."""
    wanted = (peers / "requirements.txt").read_text("utf-8")
    version = run([interpreter, "-c", "import sys; print(sys.version)"], timeout=60).out
    folder = cache / f"python-{_hash(wanted, version, interpreter)}"
    with_python = folder / "bin" / "python"
    if not _is_complete(folder):
        run([interpreter, "-m", "venv", "--clear", str(folder)], timeout=INSTALLING)
        install = [str(with_python), "-m", "pip", "install", "--quiet", "--requirement"]
        run([*install, str(peers / "requirements.txt")], timeout=INSTALLING)
        _complete(folder)
    return with_python


def interpreter(minimum: tuple[int, int], asked: str | None = None) -> str:
    """Return a Python of at least this version: this one, the one asked for, or one that is found.

    Raises AbsentError when there is none.
    """
    if sys.version_info >= minimum:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(minimum[1], minimum[1] + 4)]
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python3.[0-9][0-9]"))
    found = [path for name in names if (path := shutil.which(name))]
    found += [str(path) for path in pyenv if path.name in names]
    for path in [asked] if asked else found:
        if _is_python(path, minimum):
            return path
    there = f"{asked} is not" if asked else "none is on PATH or in ~/.pyenv"
    wanted = ".".join(map(str, minimum))
    msg = f"needs Python {wanted} or later, {there}: name one with --python"
    raise AbsentError(msg)


def _is_python(path: str, minimum: tuple[int, int]) -> bool:
    try:
        # a shim of a version manager is there even when its version is not
        run([path, "-c", f"import sys; sys.exit(sys.version_info < {minimum})"], timeout=60)
    except (FailedError, OSError):
        return False
    return True


def node(peers: Path, cache: Path) -> tuple[Path, Path]:
    """Return Node.js and the folder with the peers' programs beside their modules."""
    npm = shutil.which("npm")
    if not npm:
        msg = "needs npm, and there is none on PATH: install Node.js"
        raise AbsentError(msg)
    wanted = (peers / "package.json").read_text("utf-8")
    folder = cache / f"node-{_hash(wanted)}"
    with_node = folder / "node_modules" / ".bin" / "node"
    if not _is_complete(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(peers / "package.json", folder)
        quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
        run([npm, "install", *quiet], timeout=INSTALLING, folder=folder)
        run([str(with_node), "--version"], timeout=60)
        _complete(folder)
    for program in peers.glob("*.mjs"):
        shutil.copy(program, folder)  # modules are looked for beside the program
    return with_node, folder


def _hash(*wanted: str) -> str:
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:12]


def _is_complete(folder: Path) -> bool:
    return (folder / ".complete").exists()


def _complete(folder: Path) -> None:
    (folder / ".complete").touch()

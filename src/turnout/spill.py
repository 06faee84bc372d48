"""Files of jobs that wait for their store: one a process, a job a line, in a folder that all share.

A file is locked while its process lives. What it holds is on the disk before `append` returns; a
last line that was cut short belongs to an enqueue that never returned.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from turnout.errors import StoreUnavailable
from turnout.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger("turnout.buffer")

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(NewJob).decode


class Spill:
    """A file of jobs, one a line, locked by the process that answers for it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def new(cls, folder: Path) -> Spill:
        """Make a file; raises StoreUnavailable when the folder cannot be written."""
        path = folder / f"{os.getpid()}-{random.getrandbits(48):012x}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sync_folder(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
        return cls(path, descriptor)

    @classmethod
    def left_behind(cls, folder: Path) -> Iterable[Spill]:
        """Lock and yield the files whose processes are gone, oldest first."""
        for path in sorted(folder.glob("*.jsonl"), key=_age):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
            except OSError:  # another process has dealt with it
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # its process lives
                os.close(descriptor)
                continue
            if path.exists():  # and was not discarded between the two
                yield cls(path, descriptor)
            else:
                os.close(descriptor)

    def append(self, jobs: list[NewJob]) -> None:
        """Put jobs on the disk; raises StoreUnavailable, with nothing kept, when it is full."""
        text = b"".join(_encode(job) + b"\n" for job in jobs)
        end = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(text):
                written += os.write(self._descriptor, text[written:])
            os.fdatasync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise _unwritable(self._path.parent, error) from error

    def read(self) -> list[NewJob]:
        """Return what was kept, but for lines that are no jobs."""
        jobs: list[NewJob] = []
        for line in self._path.read_bytes().splitlines():
            try:
                jobs.append(_decode(line))
            except msgspec.DecodeError as error:
                log.warning("%s holds a line that is no job: %s", self._path, error)
        return jobs

    def discard(self) -> None:
        """Delete the file and unlock it."""
        with suppress(OSError):
            self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Close the file; the lock goes when no process has it open any more."""
        with suppress(OSError):
            os.close(self._descriptor)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store is away, and the buffer's folder {folder} cannot be written: {error.strerror}"
    )

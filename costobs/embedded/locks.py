"""File locks between the commands that share one data directory; the kernel drops them when a process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held(RuntimeError):
    """Another process holds the lock; `note` is what it wrote about itself."""

    def __init__(self, path: Path, note: str) -> None:
        super().__init__(f"{path} is held: {note or 'no note'}")
        self.note = note


class FileLock:
    """One open lock file. Not re-entrant; `release` is safe to repeat."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._file = path.open("a+")

    def acquire(self, *, shared: bool = False, wait: bool = True) -> None:
        """Takes or converts the lock. Raises Held when it is taken and `wait` is false."""
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._file, mode if wait else mode | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            self._file.seek(0)
            raise Held(self._path, self._file.read().strip()) from problem

    def write(self, note: str) -> None:
        """What another process reads in Held; only for the holder."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(note)
        self._file.flush()

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        self._file.close()


@contextmanager
def exclusive(path: Path) -> Iterator[FileLock]:
    """Holds `path` alone, waiting for it."""
    lock = FileLock(path)
    try:
        lock.acquire()
        yield lock
    finally:
        lock.close()

"""Draining: new requests are refused while running ones finish, in all processes of a server.

The order is a file in the gate's directory, so one process that is told tells the others. It holds for processes that
ran when it was given: a server that starts anew serves.
"""

import json
import os
import time
from pathlib import Path

LOOK_SECONDS = 0.2
LONGEST_SECONDS = 3600.0  # an order that nobody takes back ends by itself


class Drain:
    """Whether this process drains."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "drain.json"
        self._born = time.time()
        self._own = False
        self._ends = 0.0
        self._looked = 0.0

    def begin_here(self) -> None:
        """Drain this process alone, for good: it has been told to stop."""
        self._own = True

    def begin(self) -> None:
        """Drain every process of the server."""
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        draft.write_text(json.dumps({"at": time.time()}), encoding="utf-8")
        draft.replace(self._file)
        self._looked = 0.0

    def end(self) -> None:
        """Take the order back."""
        self._file.unlink(missing_ok=True)
        self._looked = 0.0

    def is_on(self) -> bool:
        """Whether new requests are refused; looks at the disk a few times a second at most."""
        if self._own:
            return True
        now = time.time()
        if not 0 <= now - self._looked < LOOK_SECONDS:
            self._looked = now
            self._ends = self._read()
        return now < self._ends

    def _read(self) -> float:
        try:
            at = json.loads(self._file.read_bytes())["at"]
            ends = at + LONGEST_SECONDS
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0
        return ends if at >= self._born else 0.0

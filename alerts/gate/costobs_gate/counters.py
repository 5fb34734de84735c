"""Counters of limits, shared by all processes of one server through one small file in the gate's directory.

A server with four API processes is one place where a limit holds, not four. The file is mapped into each process:

    header      for each lane: requests in flight, and whether it is taken
    slots       for each limit: the level of its two buckets and when it was, and for each lane: requests in flight

A lane is a process. It holds the lock of its lane file while it lives; what a dead one left in flight is taken off by
whoever next meets it, so a killed process leaves no phantom load. Times are of the monotonic clock, which all processes
of a machine share; after a restart of the machine it begins anew, and a level from the future counts as none.
"""

import contextlib
import fcntl
import hashlib
import logging
import math
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("costobs_gate")

BURST_SECONDS = 10  # a bucket of requests holds ten seconds' worth of its rate, at least one request
LANES = 64
HEADER_BYTES = 4096
SLOT = struct.Struct("<16sddddd")  # digest; requests: level, at; tokens: level, at; touched
LANES_AT = 64
SLOT_BYTES = LANES_AT + 2 * LANES
WAYS, SETS = 8, 512
FILE_BYTES = HEADER_BYTES + SLOT_BYTES * WAYS * SETS
WAIT_SECONDS = 0.02  # a process stopped with the lock in its hand must not stop the others
CHECK_SECONDS = 1.0


class Counters:
    """The counters of this process and its neighbours. `directory` None: of this process alone.

    Used from the event loop only. Raises OSError when the directory cannot be used.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._file, self._lane, self._lane_lock = -1, 0, -1
        self._directory = directory
        if directory is None:
            self._memory = mmap.mmap(-1, FILE_BYTES)
        else:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(directory / "limits.bin", os.O_RDWR | os.O_CREAT, 0o600)
            if os.fstat(self._file).st_size < FILE_BYTES:
                os.ftruncate(self._file, FILE_BYTES)
            self._memory = mmap.mmap(self._file, FILE_BYTES)
            self._lane, self._lane_lock = self._take_lane(directory)
        self._cells = memoryview(self._memory).cast("H")
        self._digests: dict[str, bytes] = {}
        self._checked = 0.0
        self._clear_lane(self._lane)
        self._cells[LANES + self._lane] = 1

    def close(self) -> None:
        """Give the lane back. The memory stays until nobody uses it: a request that is cut may end later."""
        self._clear_lane(self._lane)
        self._cells[LANES + self._lane] = 0
        for handle in (self._file, self._lane_lock):
            if handle >= 0:
                os.close(handle)
        self._file = self._lane_lock = -1

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile; after a short wait it goes on without, a little inexact."""
        if self._file < 0:
            yield
            return
        deadline = 0.0
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                now = time.monotonic()
                deadline = deadline or now + WAIT_SECONDS
                if now > deadline:
                    yield
                    return
                time.sleep(0.00005)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def requests_wait(self, id_: str, rate: float, now: float) -> float:
        """Seconds until one more request fits; 0 when it fits now."""
        at = self._slot(id_, now)
        digest, level, since, tokens, tokens_at, _ = SLOT.unpack_from(self._memory, at)
        level = _refilled(level, since, rate, requests_burst(rate), now)
        SLOT.pack_into(self._memory, at, digest, level, now, tokens, tokens_at, now)
        # A level of 0.999999999 is what adding up tenths of seconds makes of 1.
        return max(0.0, (1 - 1e-9 - level) * 60 / rate)

    def tokens_wait(self, id_: str, rate: float, wanted: float, now: float) -> float:
        """Seconds until so many tokens fit. More than a minute's worth fits when the bucket is full."""
        at = self._slot(id_, now)
        digest, level, since, tokens, tokens_at, _ = SLOT.unpack_from(self._memory, at)
        tokens = _refilled(tokens, tokens_at, rate, rate, now)
        SLOT.pack_into(self._memory, at, digest, level, since, tokens, now, now)
        return max(0.0, (min(wanted, rate) - 1e-6 - tokens) * 60 / rate)

    def take(self, id_: str, now: float, *, requests: float = 0.0, tokens: float = 0.0) -> None:
        """Take from the buckets, or with negative numbers give back. What was taken too much is paid by waiting."""
        at = self._slot(id_, now)
        digest, level, since, held, held_at, _ = SLOT.unpack_from(self._memory, at)
        SLOT.pack_into(self._memory, at, digest, level - requests, since, held - tokens, held_at, now)

    def inflight(self, id_: str, now: float) -> int:
        """Requests in flight in all living processes."""
        begin = (self._slot(id_, now) + LANES_AT) // 2
        cells = self._cells[begin : begin + LANES]
        return sum(cells)

    def count(self, id_: str, change: int, now: float) -> None:
        """One more or one less in flight in this process."""
        cell = (self._slot(id_, now) + LANES_AT) // 2 + self._lane
        self._cells[cell] = min(max(self._cells[cell] + change, 0), 65535)

    def count_total(self, running: int) -> None:
        """How many requests this process has in flight, whatever limits there are."""
        self._cells[self._lane] = min(running, 65535)

    def total(self) -> int:
        """Requests in flight in all living processes."""
        return sum(self._cells[:LANES])

    def bury(self, now: float) -> None:
        """Take off what dead processes left in flight. Looks at most once a second; with the lock held."""
        if self._directory is None or now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        for lane in range(LANES):
            if lane != self._lane and self._cells[LANES + lane] and self._is_dead(lane):
                self._clear_lane(lane)
                self._cells[LANES + lane] = 0

    def _is_dead(self, lane: int) -> bool:
        try:
            handle = os.open(_lane_file(self._directory or Path(), lane), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    def _take_lane(self, directory: Path) -> tuple[int, int]:
        for lane in range(LANES):
            handle = os.open(_lane_file(directory, lane), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
            else:
                return lane, handle
        raise OSError(f"more than {LANES} gate processes share {directory}; give each server a directory of its own")

    def _clear_lane(self, lane: int) -> None:
        self._cells[lane] = 0
        first = (HEADER_BYTES + LANES_AT) // 2 + lane
        for cell in range(first, FILE_BYTES // 2, SLOT_BYTES // 2):
            if self._cells[cell]:
                self._cells[cell] = 0

    def _slot(self, id_: str, now: float) -> int:
        """Where the counters of a limit are. One that nobody used for longest makes place for a new one."""
        digest = self._digests.get(id_)
        if digest is None:
            if len(self._digests) > WAYS * SETS:
                self._digests.clear()
            digest = self._digests[id_] = hashlib.blake2b(id_.encode(), digest_size=16).digest()
        begin = HEADER_BYTES + (int.from_bytes(digest[:2], "little") % SETS) * WAYS * SLOT_BYTES
        oldest, oldest_at = begin, math.inf
        for at in range(begin, begin + WAYS * SLOT_BYTES, SLOT_BYTES):
            if self._memory[at : at + 16] == digest:
                return at
            touched = SLOT.unpack_from(self._memory, at)[5]
            if touched < oldest_at:
                oldest, oldest_at = at, touched
        self._memory[oldest : oldest + SLOT_BYTES] = bytes(SLOT_BYTES)
        # A bucket starts full: at -infinity everything has long flowed in.
        SLOT.pack_into(self._memory, oldest, digest, 0.0, -math.inf, 0.0, -math.inf, now)
        return oldest


def requests_burst(rate: float) -> float:
    """How many requests may come at once at a rate per minute."""
    return max(1.0, rate * BURST_SECONDS / 60)


def _refilled(level: float, since: float, rate: float, most: float, now: float) -> float:
    if since > now or since == -math.inf:
        return most
    return min(most, level + (now - since) * rate / 60)


def _lane_file(directory: Path, lane: int) -> Path:
    return directory / f"limits.lane-{lane}"

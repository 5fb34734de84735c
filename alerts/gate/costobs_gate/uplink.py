"""The way to costobs: one thread pulls the policy, one sends the spool; requests never wait for either."""

import http.client
import logging
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costobs_gate import accounts
from costobs_gate import spool as spools
from costobs_gate.config import Config
from costobs_gate.metrics import Metrics
from costobs_gate.policy import PolicyError, PolicyStore

log = logging.getLogger("costobs_gate")

SEND_SECONDS = 0.5
ADOPT_SECONDS = 15.0
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
RETRIED = frozenset({401, 403, 408, 429})  # 4xx that time or an administrator can cure
ANSWER_BYTES = 32 * 1024 * 1024


class Unreachable(Exception):
    """costobs did not answer; asking again later makes sense."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What costobs said."""

    status: int
    etag: str
    body: bytes


class Client:
    """One kept connection to costobs, used by one thread. Follows no redirects: the token goes to no other address."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._parts = urllib.parse.urlsplit(config.url)
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """One request; raises Unreachable. Repeated once when the kept connection turns out to be closed."""
        kept = self._connection is not None
        try:
            return self._ask(method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not kept:
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        return self.ask(method, path, headers, body)

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        own = {"Authorization": f"Bearer {self._config.token}", "User-Agent": "costobs-gate"}
        self._connection.request(method, self._parts.path + path, body=body, headers={**headers, **own})
        response = self._connection.getresponse()
        content = response.read(ANSWER_BYTES)
        return Answer(response.status, response.headers.get("ETag", ""), content)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._config.timeout_seconds, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._config.timeout_seconds)


class Backoff:
    """Growing pauses with jitter, so that the gates of a fleet do not return all at once."""

    def __init__(self, first_seconds: float) -> None:
        self._first = self._next = first_seconds

    def grow(self) -> float:
        """The pause after a failure, in seconds."""
        pause, self._next = self._next, min(self._next * 2, LONGEST_BACKOFF_SECONDS)
        return pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, no secret

    def reset(self) -> None:
        """After a success."""
        self._next = self._first


class PolicyPuller:
    """Keeps the policy fresh. A policy that is broken or cannot be had leaves the last good one in force."""

    def __init__(
        self,
        config: Config,
        store: PolicyStore,
        metrics: Metrics,
        *,
        instance: str,
        on_change: Callable[[], None] = lambda: None,
        report: Callable[[], str] = str,
    ) -> None:
        self._client = Client(config)
        self._instance = instance  # costobs waits until each process of a server holds a rule
        self._store = store
        self._metrics = metrics
        self._on_change = on_change
        self._report = report  # how this process is, for people to see
        self._complained = ""
        self.confirmed_at: float | None = None  # monotonic

    def pull(self) -> str:
        """Ask once, showing what this process holds. Gives the result: changed, unchanged, failed or broken."""
        headers = {"X-Costobs-Gate-Instance": self._instance, "X-Costobs-Gate-Report": self._report()}
        if self._store.etag:
            headers["If-None-Match"] = self._store.etag
        try:
            answer = self._client.ask("GET", "/api/v1/gate/policy", headers)
            result, problem = self._take(answer)
        except Unreachable as error:
            result, problem = "failed", f"costobs cannot be reached: {error}"
        except PolicyError as error:
            result, problem = "broken", f"the policy from costobs is broken, the last good one stays: {error}"
        self._metrics.add("costobs_gate_policy_fetches_total", result=result)
        if problem != self._complained:  # once for each new trouble, not each second
            log.warning("%s", problem or "the policy from costobs is fine again")
            self._complained = problem
        if not problem:
            self.confirmed_at = time.monotonic()
        if result == "changed":
            self._on_change()
        return result

    def run(self, stop: threading.Event) -> None:
        """Pull until told to stop."""
        backoff, result = Backoff(FIRST_BACKOFF_SECONDS), ""
        while not stop.is_set():
            before, result = result, self.pull()
            current = self._store.current
            if result in ("failed", "broken") or current is None:
                pause = backoff.grow()
            else:
                backoff.reset()
                # Asking again at once tells costobs that this process holds the change.
                pause = 0.0 if result == "changed" and before != "changed" else current.poll_seconds
            stop.wait(pause)
        self._client.close()

    def _take(self, answer: Answer) -> tuple[str, str]:
        if answer.status == 304 and self._store.current is not None:
            return "unchanged", ""
        if answer.status == 200:
            policy = self._store.replace(answer.body, answer.etag)
            log.info("policy %s is in force: %d keys, %d rules", policy.version, len(policy.keys), len(policy.rules))
            return "changed", ""
        hint = " (is COSTOBS_GATE_TOKEN a gate token, not revoked?)" if answer.status in (401, 403) else ""
        return "failed", f"costobs answered the question for the policy with {answer.status}{hint}"


class Sender:
    """Sends batches in order, keeps what is not acknowledged, and adopts what dead processes left."""

    def __init__(
        self,
        config: Config,
        spool: spools.Spool,
        metrics: Metrics,
        *,
        gives_last: Callable[[str, Mapping[int, str]], bool],
    ) -> None:
        self._client = Client(config)
        self._gives_last = gives_last  # the account of a dead process's leases; True when costobs has it
        self._config = config
        self._spool = spool
        self._metrics = metrics
        self._backoff = Backoff(FIRST_BACKOFF_SECONDS)
        self._next_try = 0.0
        self._next_adoption = 0.0

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop, then once more."""
        while not stop.wait(SEND_SECONDS):
            self.step(time.monotonic())
        self._next_try = 0.0
        self.step(time.monotonic(), adopts=False)
        self._client.close()

    def step(self, now: float, *, adopts: bool = True) -> None:
        """One turn: to the disk, into batches, to costobs. Errors of the disk are logged and the next turn goes on."""
        try:
            self._spool.sync()
            if self._spool.is_due(backlog=bool(self._spool.batches())):
                self._spool.rotate()
            if now < self._next_try:
                return
            if self._deliver(self._spool.batches()) and adopts and now >= self._next_adoption:
                self._next_adoption = now + ADOPT_SECONDS
                self._adopt()
        except OSError as error:
            log.error("the spool cannot be read or written: %s", error)

    def _adopt(self) -> None:
        for orphan in self._spool.orphans():
            with orphan:
                if self._deliver(orphan.batches()) and self._settled(orphan):
                    self._metrics.add("costobs_gate_adopted_total")

    def _settled(self, orphan: spools.Orphan) -> bool:
        account = orphan.account()
        if account and not self._gives_last(orphan.home.name, account):
            return False
        accounts.forget(orphan.home)
        return True

    def _deliver(self, batches: list[spools.Batch]) -> bool:
        """Send until one fails; True when none is left."""
        for batch in batches:
            try:
                problem = self._send(batch)
            except Unreachable as error:
                problem = str(error)
            if problem:
                pause = self._backoff.grow()
                self._next_try = time.monotonic() + pause
                self._metrics.add("costobs_gate_batches_total", result="failed")
                log.warning("batch %s stays in the spool, next try in %.0f s: %s", batch.id, pause, problem)
                return False
            self._backoff.reset()
        return True

    def _send(self, batch: spools.Batch) -> str:
        """Send one batch and let go of it; the reason when it has to stay."""
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Idempotency-Key": batch.id,
        }
        answer = self._client.ask("POST", "/api/v1/usage-events", headers, batch.path.read_bytes())
        if answer.status == 202:
            batch.path.unlink()
            self._metrics.add("costobs_gate_batches_total", result="acknowledged")
            return ""
        said = answer.body[:300].decode("utf-8", "replace")
        if 400 <= answer.status < 500 and answer.status not in RETRIED:
            kept = spools.reject(batch, self._config.directory)
            self._metrics.add("costobs_gate_batches_total", result="rejected")
            log.error("costobs refuses batch %s (%d %s); it is kept as %s", batch.id, answer.status, said, kept)
            return ""
        return f"costobs answered {answer.status} {said}"

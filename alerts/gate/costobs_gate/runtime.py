"""What one gate process runs: its policy, spool, counters and the two threads to costobs."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from costobs_gate.admission import Admission, Request
from costobs_gate.config import Config
from costobs_gate.counters import Counters
from costobs_gate.drain import Drain
from costobs_gate.hard import HardBudget
from costobs_gate.leases import Leases
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Policy, PolicyStore
from costobs_gate.renewal import Renewer, Teller
from costobs_gate.spool import Spool
from costobs_gate.uplink import PolicyPuller, Sender

log = logging.getLogger("costobs_gate")

STOP_SECONDS = 8.0
_VERSION = "0.1.0"
ABORTED = "The budget of this request is used up; it was ended before its answer was whole."


class Runtime:
    """Started once in each process, by its first ASGI event. Raises OSError when its directory cannot be used."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.spool = Spool(config.directory, fsync=config.fsync)
        self.admission = Admission(Counters(config.directory))
        self.drain = Drain(config.directory)
        self.store = PolicyStore(config.directory / "policy.json", config.environment)
        self._puller = PolicyPuller(
            config,
            self.store,
            self.metrics,
            instance=self.spool.id,
            on_change=self._policy_changed,
            report=self._report,
        )
        self.leases = Leases(self.metrics, config.environment or None)
        # Each thread has a connection of its own.
        self._renewer = Renewer(
            self.leases,
            lambda: self.store.current,
            Teller(config, self.metrics),
            instance=self.spool.id,
            exhausted=self._end_running,
        )
        self._sender = Sender(config, self.spool, self.metrics, gives_last=Teller(config, self.metrics).give_last)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._puller.run, args=(self._stop,), name="costobs-policy", daemon=True),
            threading.Thread(target=self._sender.run, args=(self._stop,), name="costobs-sender", daemon=True),
            threading.Thread(target=self._renewer.run, args=(self._stop,), name="costobs-leases", daemon=True),
        ]
        self._rules_version = ""
        self._aborted: set[str] = set()  # rules that have ended what ran when they came
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Take the policy on disk into force and begin to talk to costobs. Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        if not self.store.load():
            log.warning("no policy on disk: requests are refused until costobs gives one")
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what is settled, once, and let go of the spool. What cannot be sent stays on disk for the next start."""
        self._stop.set()
        self.leases.wake.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self.spool.close(has_account=self._renewer.is_final)
            self.admission.counters.close()

    def policy(self) -> Policy | None:
        """The policy in force. What it changes for running requests happens before it is first used."""
        policy = self.store.current
        if policy is not None and policy.version != self._rules_version:
            self._rules_version = policy.version
            self.admission.adopt(policy.rules, time.monotonic())
            self._abort_by_rules(policy)
        return policy

    def abort(self, covers: Callable[[Request], bool], message: str = ABORTED) -> None:
        """End the running requests of this process that something is about. May be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._abort, covers, message)

    def _abort(self, covers: Callable[[Request], bool], message: str) -> None:
        for ticket in self.admission.running(covers):
            if ticket.abort is not None:
                self.metrics.add("costobs_gate_aborted_total", team=ticket.request.key.team)
                ticket.abort(message)

    def _abort_by_rules(self, policy: Policy) -> None:
        """Once for each rule: what its match lets in later, by another rule's end, is not ended for an old order."""
        for rule in policy.rules:
            if rule.aborts and rule.id not in self._aborted:
                self._abort(
                    lambda request, rule=rule: rule.covers(  # type: ignore[misc]
                        request.key, request.feature, request.model, request.served
                    ),
                    rule.message or ABORTED,
                )
        self._aborted = {rule.id for rule in policy.rules if rule.aborts}

    def _end_running(self, budget: HardBudget) -> None:
        """The hard stop: nothing of the budget is left, and it ends what runs. Called by the renewing thread."""
        self.abort(
            lambda request: budget.covers(
                team=request.key.team,
                key_id=request.key.key_id,
                feature=request.feature,
                model=request.serving,
                environment=self.config.environment or None,
            ),
            budget.message or ABORTED,
        )

    def _policy_changed(self) -> None:
        # Without a request nobody would look at the new policy, and running ones would not be ended by it.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.policy)

    def _report(self) -> str:
        counted = {
            "admitted": self.metrics.total("costobs_gate_admitted_total"),
            "refused": self.metrics.total("costobs_gate_refused_total"),
            "inflight": self.admission.inflight,
            "draining": int(self.drain.is_on()),
        }
        return ";".join([f"software={_VERSION}", *(f"{name}={value}" for name, value in counted.items())])

    def exposition(self) -> bytes:
        """The gate's metrics as Prometheus text."""
        confirmed, policy = self._puller.confirmed_at, self.store.current
        age = None if confirmed is None else ((), time.monotonic() - confirmed)
        info = None
        if policy is not None:
            deployment = self.config.deployment or policy.deployment
            info = ((("deployment", deployment), ("version", policy.version)), 1.0)
        return self.metrics.render(
            {
                "costobs_gate_inflight": ((), self.admission.inflight),
                "costobs_gate_draining": ((), int(self.drain.is_on())),
                "costobs_gate_policy_age_seconds": age,
                "costobs_gate_spool_batches": ((), len(self.spool.batches())),
                "costobs_gate_info": info,
            }
        )

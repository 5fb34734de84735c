"""What one gate process runs: its policy, spool, counters and the two threads to costobs."""

import logging
import threading
import time

from costobs_gate.admission import Admission
from costobs_gate.config import Config
from costobs_gate.leases import Leases
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Policy, PolicyStore
from costobs_gate.renewal import Renewer, Teller
from costobs_gate.spool import Spool
from costobs_gate.uplink import PolicyPuller, Sender

log = logging.getLogger("costobs_gate")

STOP_SECONDS = 8.0


class Runtime:
    """Started once in each process, by its first ASGI event. Raises OSError when its directory cannot be used."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.admission = Admission()
        self.store = PolicyStore(config.directory / "policy.json")
        self.spool = Spool(config.directory, fsync=config.fsync)
        self._puller = PolicyPuller(config, self.store, self.metrics, instance=self.spool.id)
        self.leases = Leases(self.metrics, config.environment or None)
        # Each thread has a connection of its own.
        self._renewer = Renewer(
            self.leases, lambda: self.store.current, Teller(config, self.metrics), instance=self.spool.id
        )
        self._sender = Sender(config, self.spool, self.metrics, gives_last=Teller(config, self.metrics).give_last)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._puller.run, args=(self._stop,), name="costobs-policy", daemon=True),
            threading.Thread(target=self._sender.run, args=(self._stop,), name="costobs-sender", daemon=True),
            threading.Thread(target=self._renewer.run, args=(self._stop,), name="costobs-leases", daemon=True),
        ]
        self._rules_version = ""

    def start(self) -> None:
        """Take the policy on disk into force and begin to talk to costobs."""
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

    def policy(self) -> Policy | None:
        """The policy in force; buckets of rules that have gone are dropped with it."""
        policy = self.store.current
        if policy is not None and policy.version != self._rules_version:
            self._rules_version = policy.version
            self.admission.forget(policy.rules)
        return policy

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
                "costobs_gate_policy_age_seconds": age,
                "costobs_gate_spool_batches": ((), len(self.spool.batches())),
                "costobs_gate_info": info,
            }
        )

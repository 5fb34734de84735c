"""Renewal: one thread tells costobs what was used and asks for more, ahead of need; requests never wait for it."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping

from costobs_gate.config import Config
from costobs_gate.hard import HardBudget
from costobs_gate.leases import Leases
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Policy
from costobs_gate.uplink import Client, Unreachable

log = logging.getLogger("costobs_gate")

PATH = "/api/v1/gate/leases"
IDLE_SECONDS = 3.0  # between two renewals of a process that needs nothing; well within a lease
LEAST_SECONDS = 0.05  # between two renewals at all
RETRY_SECONDS = 0.5


class Teller:
    """Talks to the address for leases; one for each thread."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self._client = Client(config)
        self._metrics = metrics
        self._sequence = 0
        self._complained = ""

    def ask(self, process: str, report: Mapping[str, object]) -> Mapping[str, object] | None:
        """costobs' answer to what a process reports; None when there was none that can be used."""
        self._sequence += 1
        body = json.dumps({"process": process, "sequence": self._sequence, **report}).encode()
        problem, found = "", None
        try:
            answer = self._client.ask("POST", PATH, {"Content-Type": "application/json"}, body)
            if answer.status == 200:
                found = json.loads(answer.body)
            else:
                problem = f"costobs answered the question for leases with {answer.status}"
        except Unreachable as error:
            problem = f"costobs cannot be asked for leases: {error}"
        except ValueError as error:
            problem = f"costobs answered the question for leases with what is not JSON: {error}"
        if found is not None and not isinstance(found, dict):
            problem, found = "costobs answered the question for leases with no object", None
        self._metrics.add("costobs_gate_renewals_total", result="failed" if problem else "renewed")
        self.complain(problem)
        return found

    def give_last(self, process: str, settled: Mapping[int, str]) -> bool:
        """Give the last account of a dead process, as its spool has it; True when costobs has it."""
        held = [
            {"account": account, "settled": cost, "returned": "0", "reserved": "0"} for account, cost in settled.items()
        ]
        return self.ask(process, {"held": held, "wants": [], "final": True}) is not None

    def complain(self, problem: str) -> None:
        """Once for each new trouble."""
        if problem != self._complained:
            log.warning("%s", problem or "leases from costobs are fine again")
            self._complained = problem

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


class Renewer:
    """Keeps the leases of one process alive."""

    def __init__(
        self,
        leases: Leases,
        policy: Callable[[], Policy | None],
        teller: Teller,
        *,
        instance: str,
        exhausted: Callable[[HardBudget], None] | None = None,
    ) -> None:
        self._leases, self._policy, self._teller = leases, policy, teller
        self._instance, self._exhausted = instance, exhausted
        self.is_final = False  # costobs has the last account

    def run(self, stop: threading.Event) -> None:
        """Renew until told to stop, then give the account that ends all of them."""
        pause = LEAST_SECONDS
        while not stop.is_set():
            self._leases.wake.wait(pause)
            self._leases.wake.clear()
            if stop.wait(LEAST_SECONDS):
                break
            pause = self.step(time.monotonic())
        last = self._leases.last_report()
        if last is not None:
            self.is_final = self._teller.ask(self._instance, last) is not None
        self._teller.close()

    def step(self, now: float) -> float:
        """One renewal; the seconds until the next one is due anyway."""
        policy = self._policy()
        if policy is None or not (policy.hard or self._leases.totals()):
            return LEAST_SECONDS * 4
        answer = self._teller.ask(self._instance, self._leases.report(policy, now))
        if answer is None:
            return RETRY_SECONDS
        try:
            used_up = self._leases.take(answer, now)
        except ValueError as error:
            self._teller.complain(f"the leases from costobs are broken, the last ones stay: {error}")
            return RETRY_SECONDS
        for budget in policy.hard:
            if self._exhausted is not None and budget.aborts and budget.id in used_up:
                self._exhausted(budget)
        return IDLE_SECONDS

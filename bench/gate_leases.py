"""What a hard budget adds to a request in the gate, and what a renewal costs a gate and costobs' protocol.

    PYTHONPATH=.:alerts/gate .venv/bin/python bench/gate_leases.py

No network: reserving and settling are in the request's path, a renewal is in a thread of its own.
"""

import json
import statistics
import time
from collections.abc import Callable

from costobs_gate import pricing
from costobs_gate.admission import Request
from costobs_gate.leases import Leases, Reservation
from costobs_gate.metering import Reading
from costobs_gate.metrics import Metrics
from costobs_gate.policy import Key, Policy, parse

ROUNDS, EACH = 30, 2000
KEY = Key("0" * 64, "key_a", "alpha", (), None)
READING = Reading(input_tokens=200, output_tokens=80, known=True)


def policy(budgets: int) -> Policy:
    """A policy with so many hard budgets that cover every request."""
    hard = [{"budget": id_, "matches": [{"team": "alpha"}]} for id_ in range(1, budgets + 1)]
    prices = [{"model": "small", "input": "0.000001", "cached": "0.0000001", "output": "0.00001"}]
    empty: dict[str, object] = {"keys": [], "rules": [], "leases": [], "version": "v"}
    return parse({**empty, "hard": hard, "prices": prices})


def leases(budgets: int) -> Leases:
    """Leases that never run out here."""
    held = Leases(Metrics())
    each = {"left": "900000", "standing": "1", "seconds": 3600, "ends_in_seconds": 9999, "granted": "900000"}
    held.take({"leases": [{"budget": id_, "account": id_, **each} for id_ in range(1, budgets + 1)]}, time.monotonic())
    return held


def measured(work: Callable[[], object]) -> str:
    """Median and worst round, in microseconds for each call."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(EACH):
            work()
        rounds.append((time.perf_counter() - begun) / EACH * 1_000_000)
    return f"{statistics.median(rounds):7.2f} µs (worst round {max(rounds):.2f})"


def main() -> None:
    """Prints one line for each measurement."""
    for budgets, messages in ((0, 4), (1, 4), (3, 4), (1, 200)):
        found, held = policy(budgets), leases(budgets)
        document = {"model": "small", "max_tokens": 100, "messages": [{"role": "user", "content": "How?"}] * messages}
        size = len(json.dumps(document))

        def admitted(
            found: Policy = found, held: Leases = held, document: dict[str, object] = document, size: int = size
        ) -> None:
            one = held.reserve(
                policy=found, request=Request(KEY, None, "small"), model="small", path="/v1/chat/completions",
                document=document, size=size, cap=None, monotonic=time.monotonic(),
            )  # fmt: skip
            if isinstance(one, Reservation):
                pricing.text(held.settle(one, READING))

        print(f"reserve and settle, {budgets} hard budgets, {messages:3} messages: {measured(admitted)}")
    found, held = policy(3), leases(3)
    print(
        f"a report for costobs, 3 hard budgets:               {measured(lambda: json.dumps(held.report(found, 1.0)))}"
    )


if __name__ == "__main__":
    main()

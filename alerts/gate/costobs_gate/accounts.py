"""The account of a process beside its spool: what its requests cost by lease account, so that a killed process loses none.

`leases.json` holds the sums of every segment up to `through`; what later segments hold is added when they are closed, or
by whoever adopts the spool. A segment is counted once: it is in the sums or behind them.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from costobs_gate import pricing

log = logging.getLogger("costobs_gate")

FILE = "leases.json"
COST, ACCOUNTS = "x_gate_cost", "x_gate_accounts"  # in events: what was reserved, then what was settled; for which


def through(home: Path) -> int:
    """The last segment that the sums hold; 0 before the first."""
    return _read(home)[0]


def settled(home: Path) -> dict[int, str]:
    """Gate cost by account; empty when no request of the process was under a hard budget."""
    return {account: pricing.text(cost) for account, cost in _read(home)[1].items()}


def add(home: Path, number: int, events: Iterable[Mapping[str, object]], *, durable: bool) -> None:
    """Add the events of the segments up to `number`; nothing when the sums hold it already. Raises OSError."""
    last, sums = _read(home)
    if number <= last:
        return
    for event in events:
        named = event.get(ACCOUNTS)
        for account in named if isinstance(named, list) else ():
            sums[account] = sums.get(account, 0) + pricing.pico(str(event[COST]))
    if sums:
        _write(home, number, sums, durable=durable)


def forget(home: Path) -> None:
    """costobs has the last account of this process."""
    (home / FILE).unlink(missing_ok=True)


def _read(home: Path) -> tuple[int, dict[int, int]]:
    try:
        kept = json.loads((home / FILE).read_bytes())
        return int(kept["through"]), {int(account): pricing.pico(cost) for account, cost in kept["settled"].items()}
    except FileNotFoundError:
        return 0, {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # After a loss of power. What costobs heard before stays counted there: a last account takes nothing back.
        log.error("%s of %s cannot be read, its sums are lost: %s", FILE, home.name, error)
        return 0, {}


def _write(home: Path, number: int, sums: Mapping[int, int], *, durable: bool) -> None:
    settled_text = {str(account): pricing.text(cost) for account, cost in sums.items()}
    draft = home / f"{FILE}.draft"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(json.dumps({"through": number, "settled": settled_text}).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.rename(home / FILE)

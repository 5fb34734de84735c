"""What alerts say about resources: that one was not scaled, does not hold, or is not as it was left."""

from alerts.rows import Button, Fact, Notice

_HEADERS = {
    "refused": "Not scaled",
    "failed": "Failed",
    "left": "Changed by somebody else",
    "unverified": "Not in effect",
    "missing": "Not scaled",
}


def trouble(
    *, what: str, name: str, plan: str, error: str, budget: str, why: str, run_id: int, saves: str, state: str
) -> Notice:
    """Something about a change of a resource that somebody must know. `error` says what, and what to do."""
    header = _HEADERS.get(what, "Not restored" if state == "undoing" else "Not looked at")
    after = {
        "refused": "The requests of the scope are refused all the same; only the resource keeps running, and costs what it did.",
        "left": "Whoever changed it decides now; nothing is put back by itself.",
    }.get(what, "It is tried again as long as the action holds; correct the cause." if what != "failed" else "")
    steps = tuple(one for one in (after,) if one) or ("Correct the cause; the rung fires again in the next period.",)
    return Notice(
        about=f"Hook · {name}",
        first_line=f"{header}: {name} for {budget}: {error}",
        header=f"{header}: {name}",
        lead=f"{plan}: {error}.",
        facts=(Fact("Budget", budget), Fact("Why", why), Fact("Saves a day", saves)),
        steps=steps,
        consequence=steps[0],
        buttons=(Button("Open action", f"/actions/{run_id}/", "primary"), Button("Open hooks", "/settings/hooks/")),
        footer="By what the resource says itself",
        tone="over" if what != "left" else "watch",
    )

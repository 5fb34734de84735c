"""The whole product: spend of two teams on the overview, a budget that crosses, a mail, a throttle for one team, and undo."""

import email
import email.policy
import re
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from tests.serving import costobs_stack, traffic, vllm_server

Say = Callable[[str], None]
# USD for 1M tokens; cached input costs as much as the rest. So dear that a request costs dollars: pages show cents.
PRICES = {"input": Decimal(10_000), "output": Decimal(50_000)}
BUDGET = Decimal(20)
SPEND_SECONDS = 10
ACTION_SECONDS = 30
COMMAND_SECONDS = 90  # a few commands one after the other, each a Python that starts


def check(*, python: Path, model: Path, ports: tuple[int, int, int], work: Path, say: Say) -> None:
    """Start costobs and vLLM and walk from the first request to the undo. Raises AssertionError."""
    web, mail, serving = ports
    begun = time.monotonic()
    with costobs_stack.running(data=work / "data", port=web, mail_port=mail, log=work / "costobs.log") as costobs:
        say(f"costobs ready after {time.monotonic() - begun:.0f} s")
        token = costobs.run("gate", "create", "--name", "vllm-1", "--deployment", "tiny").splitlines()[-1]
        keys = {team: _key(costobs, team) for team in ("alpha", "beta")}
        _prices(costobs)
        _budget(costobs)
        gate = {
            "COSTOBS_URL": costobs.url,
            "COSTOBS_GATE_TOKEN": token,
            "COSTOBS_GATE_DIR": str(work / "gate-budget"),
            "COSTOBS_ENVIRONMENT": "serving-test",
        }
        begun = time.monotonic()
        log = work / "vllm-budget.log"
        with vllm_server.running(python=python, model=model, port=serving, log=log, gate=gate) as url:
            say(f"vLLM healthy after {time.monotonic() - begun:.0f} s")
            alpha, beta = (traffic.Team(team, keys[team], url) for team in ("alpha", "beta"))
            _spend(costobs, alpha, beta, say)
            _notify(costobs, beta, say)
            run = _throttle(costobs, alpha, beta, say)
            _undo(costobs, run, beta, say)
        _sums(costobs, alpha, beta, say)


def _key(costobs: costobs_stack.Stack, team: str) -> str:
    return costobs.run("gate", "key", "create", "--team", team, "--feature", "answers").splitlines()[-1]


def _prices(costobs: costobs_stack.Stack) -> None:
    amounts = [word for name in ("input", "output") for word in (f"--{name}", str(PRICES[name]))]
    costobs.run("price", "set", "--provider", "self_hosted", "--model", vllm_server.MODEL, *amounts)


def _budget(costobs: costobs_stack.Stack) -> None:
    costobs.run("channels", "email", "--name", "finance", "--to", "finance@example.com")
    rungs = ("--rung", "60:notify", "--rung", "100:throttle:requests_per_minute=1,retry_after_seconds=30")
    costobs.run(
        "budgets", "create", "--name", "Beta", "--team", "beta", "--amount", str(BUDGET), "--period", "month", *rungs
    )


def _spend(costobs: costobs_stack.Stack, alpha: traffic.Team, beta: traffic.Team, say: Say) -> None:
    browser, api = costobs.browser(), costobs.api()
    for team in (alpha, beta):
        assert team.ask().status_code == 200
        assert team.ask(stream=True).status_code == 200
    begun = time.monotonic()
    expected = {team.name: _cost(team) for team in (alpha, beta)}
    _within(SPEND_SECONDS, lambda: _asked(api) == expected)
    say(f"the API says {_shown(expected)}, as the clients counted, {time.monotonic() - begun:.1f} s after the requests")
    shown = {team: f"${cost:.2f}" for team, cost in expected.items()}
    _within(SPEND_SECONDS, lambda: shown.items() <= (today := _overview(browser)).items() and today)
    took = time.monotonic() - begun
    assert took < SPEND_SECONDS, f"the overview took {took:.1f} s"
    say(f"the overview shows {', '.join(map(' '.join, shown.items()))} for today, {took:.1f} s after the requests")


def _notify(costobs: costobs_stack.Stack, beta: traffic.Team, say: Say) -> None:
    while _cost(beta) < BUDGET * Decimal("0.6"):
        assert beta.ask().status_code == 200
    begun = time.monotonic()
    assert _cost(beta) < BUDGET
    mails: list[str] = _within(ACTION_SECONDS, lambda: [mail for mail in costobs.mailbox.mails if "Beta" in mail])
    took = time.monotonic() - begun
    subject = email.message_from_string(mails[0], policy=email.policy.default)["Subject"].strip()
    say(f"at {100 * _cost(beta) / BUDGET:.0f} % of the budget a mail after {took:.1f} s: {subject}")
    assert beta.ask(max_tokens=1).status_code == 200


def _throttle(costobs: costobs_stack.Stack, alpha: traffic.Team, beta: traffic.Team, say: Say) -> int:
    while _cost(beta) <= BUDGET:
        assert beta.ask(stream=True).status_code == 200
    begun = time.monotonic()
    _within(ACTION_SECONDS, lambda: beta.ask(max_tokens=1).status_code == 429)
    took = time.monotonic() - begun
    refusal = beta.refusals[-1]
    assert refusal.headers["retry-after"] == "30", dict(refusal.headers)
    assert refusal.json()["error"]["code"] == "budget_exceeded"
    for stream in (False, True):
        assert alpha.ask(stream=stream).status_code == 200
        assert beta.ask(stream=stream).status_code == 429
    message = refusal.json()["error"]["message"]
    say(f"over the budget, team beta gets 429 after {took:.1f} s with Retry-After 30: {message!r}")
    say("streamed and not, team alpha is served and team beta refused")
    run = _within(COMMAND_SECONDS, lambda: _action(costobs, "in_force"))
    say(f"action {run['id']}: {run['action']} for {run['target']}, {run['state']}")
    return int(run["id"])


def _undo(costobs: costobs_stack.Stack, run: int, beta: traffic.Team, say: Say) -> None:
    begun = time.monotonic()
    costobs.run("budgets", "undo", str(run), "--reason", "serving test")
    _within(ACTION_SECONDS, lambda: all(beta.ask(max_tokens=1).status_code == 200 for _ in range(3)))
    say(f"undone: team beta is served again {time.monotonic() - begun:.1f} s after the command began")
    undone = _action(costobs, "undone")
    assert undone is not None and undone["id"] == run, undone
    assert beta.ask(max_tokens=1).status_code == 200, "the ladder took it up again"
    say("and still is, over its budget: the ladder leaves what a person undid")


def _sums(costobs: costobs_stack.Stack, alpha: traffic.Team, beta: traffic.Team, say: Say) -> None:
    """After the gate has gone: to the last token, what the clients counted."""
    expected = {team.name: _cost(team) for team in (alpha, beta)}
    _within(COMMAND_SECONDS, lambda: _by_team(costobs) == expected)
    refused = len(beta.refusals)
    say(f"in the end `costobs spend` says {_shown(expected)}, exactly what the clients counted; {refused} were refused")
    say(costobs.run("verify").splitlines()[-1])


def _cost(team: traffic.Team) -> Decimal:
    return (team.input_tokens * PRICES["input"] + team.output_tokens * PRICES["output"]) / 1_000_000


def _by_team(costobs: costobs_stack.Stack) -> dict[str, Decimal]:
    return _rows(costobs.json("spend", "--group-by", "team"))


def _asked(api: httpx.Client) -> dict[str, Decimal]:
    answer = api.get("/api/v1/spend", params={"group_by": "team"})
    assert answer.status_code == 200, answer.text[:500]
    return _rows(answer.json())


def _rows(document: dict[str, Any]) -> dict[str, Decimal]:
    return {row["team"]: Decimal(row["cost"]) for row in document["rows"] if Decimal(row["cost"])}


def _shown(spent: dict[str, Decimal]) -> str:
    return ", ".join(f"{team} ${cost}" for team, cost in spent.items())


def _overview(browser: httpx.Client) -> dict[str, str]:
    """The newest day of the overview's table of daily spend, as it is written, by team."""
    page = browser.get("/", params={"group": "team"})
    assert page.status_code == 200 and page.url.path == "/", f"{page.url}: {page.text[:500]}"
    table = re.search(r"<caption[^>]*>Daily spend by team</caption>(.*?)</table>", page.text, re.DOTALL)
    if table is None:
        return {}
    rows = [re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table[1].split("</tr>")]
    words = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows if row]
    return dict(zip(words[0], words[-1], strict=True))


def _action(costobs: costobs_stack.Stack, state: str) -> dict[str, Any] | None:
    runs = [run for run in costobs.json("budgets", "actions") if run["state"] == state]
    return runs[0] if runs else None


def _within[Found](seconds: float, ask: Callable[[], Found | None]) -> Found:
    """Ask until the answer is worth something; the last answer is in the message when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"not within {seconds} s, the last answer was {found!r}"
        time.sleep(0.3)
    return found

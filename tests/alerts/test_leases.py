"""Leases as costobs keeps them: granted once, settled once, given back, freed, and reconciled with the books."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.test import Client

from alerts import evaluate, gates, lease_lines, leases, policy, reckoning
from alerts.lease_lines import AccountLine
from alerts.models import Budget, BudgetState, Gate, GatePrice, Lease, LeaseAccount
from attribution import rates
from attribution.models import DailyCost
from costobs.access import tokens
from ingest.models import AttributeSet, Offering, Source
from ingest.price import set_override
from tests.alerts.carrying import NOW, calls
from tests.alerts.conftest import Books, FakeGate, at, at_once, make_budget, make_gate

pytestmark = pytest.mark.django_db


@dataclass
class Process:
    """A process of a gate that asks for leases."""

    source_id: int
    name: str = "1-one"
    sequence: int = 0

    def ask(
        self, now: datetime, budget_id: int, hold: str | None = None, need: str = "0", **held: dict[str, str]
    ) -> dict[str, Any]:
        self.sequence += 1
        document = {
            "process": self.name,
            "sequence": self.sequence,
            "held": [{"account": int(id_.removeprefix("a")), **amounts} for id_, amounts in held.items()],
            "wants": [{"budget": budget_id, "hold": hold, "need": need}],
        }
        return self.send(document, now)

    def end(self, now: datetime, account: int, settled: str) -> None:
        held = [{"account": account, "settled": settled, "returned": "0", "reserved": "0"}]
        self.send({"process": self.name, "sequence": 1, "final": True, "held": held, "wants": []}, now)

    def send(self, document: dict[str, Any], now: datetime) -> dict[str, Any]:
        return leases.answer(source_id=self.source_id, asked=leases.parse(document), now=now)


COLUMNS = {"default_max_tokens", "ends_on", "is_prorated", "on_unreachable", "starts_on", "zone"}


def make_hard(amount: str = "100", **given: object) -> int:
    fields = {name: given.pop(name) for name in list(given) if name in COLUMNS}
    budget_id = make_budget(amount=amount, **given)  # type: ignore[arg-type]
    Budget.objects.filter(pk=budget_id).update(is_hard=True, **fields)
    return budget_id


def account(budget_id: int, now: datetime) -> AccountLine:
    found = lease_lines.of_budget(budget_id=budget_id, now=now)
    assert found is not None
    return found


def amounts(**given: str) -> dict[str, str]:
    return {"settled": "0", "returned": "0", "reserved": "0", **given}


def test_it_lends_towards_what_is_asked_for_and_counts_it(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()

    (lease,) = process.ask(at(2), budget_id, "30")["leases"]

    found = account(budget_id, at(2))
    assert (Decimal(lease["granted"]), lease["seconds"]) == (Decimal(30), 15)
    assert (found.limit_cost, found.outstanding_cost, found.free_cost) == (Decimal(100), Decimal(30), Decimal(70))


def test_it_gives_the_same_lease_again_when_an_answer_was_lost(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    document = {
        "process": "1-one",
        "sequence": 4,
        "held": [],
        "wants": [{"budget": budget_id, "hold": "30", "need": "0"}],
    }
    first = process.send(document, at(2))

    assert process.send(document, at(2)) == first
    assert process.send({**document, "sequence": 5}, at(2)) == first


def test_it_takes_reports_in_any_order_once(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    one = f"a{lease['account']}"
    process.sequence = 10
    process.ask(at(2), budget_id, "30", **{one: amounts(settled="20")})

    process.sequence = 5
    (late,) = process.ask(at(2), budget_id, "30", **{one: amounts(settled="12")})["leases"]

    assert Lease.objects.get().settled_cost == 20
    assert Decimal(late["granted"]) == 50
    assert account(budget_id, at(2)).free_cost == 50


def test_it_counts_a_request_against_every_hard_budget_that_covers_it(books: Books) -> None:
    process = Process(make_gate())
    team, model = make_hard("100"), make_hard("40", name="Model", scope={"model": ["llama"]})
    wants = [{"budget": one, "hold": "50", "need": "0"} for one in (model, team)]

    answer = process.send({"process": "1", "sequence": 1, "held": [], "wants": wants}, at(2))

    assert {one["budget"]: Decimal(one["granted"]) for one in answer["leases"]} == {
        team: Decimal(50),
        model: Decimal(40),
    }


def test_it_never_lends_more_than_the_limit_to_gates_at_once(books: Books) -> None:
    source, budget_id = make_gate(), make_hard()
    processes = [Process(source, f"{number}-x") for number in range(5)]

    for process in processes:
        process.ask(at(2), budget_id, "60", need="5")

    found = account(budget_id, at(2))
    assert found.outstanding_cost + found.free_cost == 100
    assert all(one.outstanding_cost >= 5 for one in found.leases)


@pytest.mark.django_db(transaction=True)
def test_it_never_lends_more_than_the_limit_when_gates_ask_at_the_same_moment(books: Books) -> None:
    source, budget_id = make_gate(), make_hard()
    other = make_hard("100", name="Model", scope={"model": ["llama"]})

    def asking(number: int, order: tuple[int, int]) -> Callable[[], object]:
        wants = [{"budget": one, "hold": "40", "need": "40"} for one in order]
        document = {"process": f"{number}", "sequence": 1, "held": [], "wants": wants}
        return lambda: Process(source, f"{number}").send(document, at(2))

    orders = [(budget_id, other), (other, budget_id)] * 3

    raised = at_once(*(asking(number, order) for number, order in enumerate(orders)))

    assert raised == []
    for one in (budget_id, other):
        assert account(one, at(2)).outstanding_cost == 80
        assert account(one, at(2)).free_cost == 20


def test_it_says_that_others_wait_when_what_is_lent_would_make_room(books: Books) -> None:
    source, budget_id = make_gate(), make_hard()
    idle, busy = Process(source, "idle"), Process(source, "busy")
    (lease,) = idle.ask(at(2), budget_id, "90")["leases"]
    (refused,) = busy.ask(at(2), budget_id, "20", need="20")["leases"]

    (asked_back,) = idle.ask(at(2), budget_id, "0", **{f"a{lease['account']}": amounts(returned="90")})["leases"]
    (granted,) = busy.ask(at(2), budget_id, "20", need="20")["leases"]

    assert (refused["granted"], refused["is_pressed"]) == ("0", True)
    assert (asked_back["is_pressed"], Decimal(asked_back["standing"])) == (True, 0)
    assert Decimal(granted["granted"]) == 20


def test_it_settles_a_dead_process_from_its_spool_exactly(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    process.ask(at(2), budget_id, "30", **{f"a{lease['account']}": amounts(settled="5", reserved="3")})

    for _ in range(2):
        process.end(at(2, minute=1), lease["account"], "7.25")

    found = account(budget_id, at(2, minute=1))
    assert (found.settled_cost, found.outstanding_cost, found.free_cost) == (
        Decimal("7.25"),
        Decimal(0),
        Decimal("92.75"),
    )
    assert process.ask(at(2, minute=2), budget_id, "30")["leases"][0]["granted"] == "0"


def test_it_frees_what_a_silent_process_had_not_reserved_after_the_grace(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    process.ask(at(2), budget_id, "30", **{f"a{lease['account']}": amounts(settled="5", reserved="3")})

    assert leases.run(now=at(2, minute=9)) == 0
    assert account(budget_id, at(2, minute=9)).leases[0].state == "silent"
    assert leases.run(now=at(2, minute=11)) == 1

    found = account(budget_id, at(2, minute=11))
    assert (found.settled_cost, found.outstanding_cost, found.freed_cost) == (Decimal(5), Decimal(3), Decimal(27))
    process.end(at(2, minute=12), lease["account"], "9")
    corrected = account(budget_id, at(2, minute=12))
    assert (corrected.settled_cost, corrected.outstanding_cost, corrected.free_cost) == (
        Decimal(9),
        Decimal(0),
        Decimal(91),
    )


def test_it_lets_a_process_come_back_after_it_was_taken_for_dead(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    leases.run(now=at(2, minute=11))

    (back,) = process.ask(at(2, minute=12), budget_id, "0", **{f"a{lease['account']}": amounts(settled="12")})["leases"]

    found = account(budget_id, at(2, minute=12))
    assert Decimal(back["granted"]) == 12
    assert (found.settled_cost, found.outstanding_cost, found.free_cost) == (Decimal(12), Decimal(0), Decimal(88))


def test_it_counts_spend_that_did_not_come_through_a_gate(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    books.spend(at(2).date(), "60")

    (lease,) = process.ask(at(2), budget_id, "90", need="90")["leases"]

    assert (lease["granted"], Decimal(lease["left"])) == ("0", Decimal(40))
    assert account(budget_id, at(2)).other_cost == 60


def test_it_counts_a_call_through_a_gate_once_although_the_books_know_it_too(books: Books) -> None:
    own = Source.objects.create(kind="gate", name="gate", created_at=at(1))
    process, budget_id = Process(make_gate(source_id=own.pk)), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    process.ask(at(2), budget_id, "30", **{f"a{lease['account']}": amounts(settled="20")})
    AttributeSet.objects.filter(pk=books.sets["search"]).update(source=own)
    books.spend(at(2).date(), "20")

    leases.run(now=at(2, minute=1))
    same = account(budget_id, at(2, minute=1))
    books.spend(at(2).date(), "5", basis="billed")
    leases.run(now=at(2, minute=2))
    dearer = account(budget_id, at(2, minute=2))

    assert (same.settled_cost, same.other_cost) == (Decimal(20), Decimal(0))
    assert (dearer.settled_cost, dearer.other_cost) == (Decimal(25), Decimal(0))


def test_it_counts_a_call_through_a_gate_once_in_a_budget_of_another_currency(books: Books) -> None:
    content = b"date,USD\n2026-11-02,2\n"
    rates.load(content=content, name="rates.csv", base="EUR", publisher="Bank", by="ada", now=at(1))
    own = Source.objects.create(kind="gate", name="gate", created_at=at(1))
    process, budget_id = Process(make_gate(source_id=own.pk)), make_hard(currency="EUR")
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    process.ask(at(2), budget_id, "30", **{f"a{lease['account']}": amounts(settled="20")})
    AttributeSet.objects.filter(pk=books.sets["search"]).update(source=own)
    books.spend(at(2).date(), "20")
    evaluate.run(now=at(2, minute=1))

    leases.run(now=at(2, minute=1))

    found = account(budget_id, at(2, minute=1))
    assert (found.limit_cost, found.settled_cost, found.other_cost) == (Decimal(200), Decimal(20), Decimal(0))


def test_it_counts_the_idle_gpus_of_a_team_beside_its_calls(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    books.spend(at(2).date(), "70", model="llama")
    DailyCost.objects.update(share_kind="idle_workload", cost_kind="gpu_compute")

    process.ask(at(2), budget_id, "1")

    assert account(budget_id, at(2)).free_cost == Decimal(29)


def test_it_opens_a_new_account_with_a_new_period(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard(period="day")
    (first,) = process.ask(at(2, 23, 59), budget_id, "100", need="100")["leases"]

    (second,) = process.ask(at(3, 0, 1), budget_id, "10")["leases"]

    assert first["account"] != second["account"]
    assert (first["seconds"], first["ends_in_seconds"]) == (15, 60)
    assert Decimal(second["granted"]) == 10


def test_it_takes_the_amount_of_the_evaluated_period(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    BudgetState.objects.create(
        budget_id=budget_id, period_start=date(2026, 11, 1), period_end=date(2026, 12, 1), evaluated_at=at(2),
        spend_cost=0, estimated_cost=0, used_percent=0, state="on_track", amount=Decimal(130),
        starts_at=at(1, 0), ends_at=at(30, 23),
    )  # fmt: skip

    process.ask(at(2), budget_id, "1")

    found = account(budget_id, at(2))
    assert (found.limit_cost, found.ends_at) == (Decimal(130), at(30, 23))


def test_it_knows_the_period_of_a_budget_before_it_was_ever_evaluated_there(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard(period="day", zone="Asia/Tokyo")

    (lease,) = process.ask(at(2, 16), budget_id, "10")["leases"]

    found = account(budget_id, at(2, 16))
    assert (found.starts_at, found.ends_at) == (at(2, 15), at(3, 15))
    assert lease["ends_in_seconds"] == 23 * 3600


def test_it_lends_the_part_of_a_prorated_period_before_it_was_ever_evaluated(books: Books) -> None:
    process = Process(make_gate())
    budget_id = make_hard("90", is_prorated=True, starts_on=date(2026, 11, 21))

    process.ask(at(22), budget_id, "1")

    found = account(budget_id, at(22))
    assert (found.limit_cost, found.starts_at) == (Decimal(30), at(21, 0))


def test_it_holds_a_budget_only_while_it_runs(books: Books) -> None:
    budget_id = make_hard(starts_on=date(2026, 11, 10), ends_on=date(2026, 11, 20), zone="Asia/Tokyo")
    moments = (at(9, 14), at(9, 15), at(19, 14), at(19, 15))

    held = [[row.pk for row in reckoning.hard_budgets(now=now, is_sample=False)] for now in moments]

    assert held == [[], [budget_id], [budget_id], []]


def test_it_lends_nothing_of_a_budget_in_a_currency_without_a_rate(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard(currency="EUR")

    (lease,) = process.ask(at(2), budget_id, "10")["leases"]

    assert (Decimal(lease["granted"]), account(budget_id, at(2)).limit_cost) == (Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "an object"),
        ({"process": "", "sequence": 1}, "process"),
        ({"process": "1-\x00", "sequence": 1}, "process"),
        ({"process": "x", "sequence": -1}, "sequence"),
        ({"process": "x", "sequence": 2**62}, "sequence"),
        ({"process": "x", "sequence": 1, "held": {}}, "held"),
        ({"process": "x", "sequence": 1, "held": [{"account": 0}]}, "account"),
        ({"process": "x", "sequence": 1, "held": [{"account": 1, "settled": "-1"}]}, "settled"),
        ({"process": "x", "sequence": 1, "held": [{"account": 1, "settled": "NaN"}]}, "settled"),
        ({"process": "x", "sequence": 1, "held": [{"account": 1, "settled": 1.5}]}, "settled"),
        ({"process": "x", "sequence": 1, "wants": [{"budget": 1, "hold": "1e99"}]}, "hold"),
    ],
)
def test_it_refuses_what_no_gate_says(document: object, said: str) -> None:
    with pytest.raises(leases.BadReport, match=said):
        leases.parse(document)


def test_it_takes_no_report_of_a_sample_gate_about_real_money(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    make_gate("sample", source_id=901)
    Gate.objects.filter(name="sample").update(is_sample=True)
    other = Process(901, "2-two")

    said = other.ask(at(2), budget_id, "1", **{f"a{lease['account']}": amounts(settled="99")})

    assert said == {"leases": [], "closed": [lease["account"]]}
    assert account(budget_id, at(2)).settled_cost == 0


def test_it_reads_the_books_again_after_its_clock_was_set_back(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    process.ask(at(2, 12), budget_id, "1")
    books.spend(at(2).date(), "60")

    process.ask(at(2, 11), budget_id, "1")

    assert account(budget_id, at(2, 11)).other_cost == 60


def test_it_tells_gates_of_hard_budgets_and_prices(books: Books) -> None:
    gate = FakeGate(make_gate())
    budget_id = make_hard(on_unreachable="open", default_max_tokens=256)
    prices = {"input": Decimal(2), "output": Decimal(8)}
    set_override(
        provider="self_hosted", model="llama", valid_from=date(2026, 1, 1), prices=prices, set_by="ada", now=at(1)
    )
    leases.run(now=at(2))

    gate.ask(at(2))

    document = orjson.loads(gate.body)
    (hard,) = document["hard"]
    assert (hard["budget"], hard["matches"]) == (budget_id, [{"team": "search"}])
    assert (hard["on_unreachable"], hard["default_max_tokens"], hard["aborts"]) == ("open", 256, False)
    assert {one["model"]: (Decimal(one["input"]), Decimal(one["output"])) for one in document["prices"]} == {
        name: (Decimal("0.000002"), Decimal("0.000008")) for name in ("*", "llama")
    }


def test_it_tells_gates_what_models_cost_that_their_calls_overflow_to(books: Books) -> None:
    gate = FakeGate(make_gate(source_id=books.source.pk))
    make_hard()
    calls(books, "search", 99)
    make_gate("api", source_id=901)
    Gate.objects.filter(name="api").update(provider="anthropic")
    Offering.objects.update(provider="openai")
    for provider, model, each in (("openai", "gpt-mini", 30), ("anthropic", "gpt-mini", 20), ("openai", "llama", 90)):
        set_override(
            provider=provider, model=model, valid_from=date(2026, 1, 1), set_by="ada", now=at(1),
            prices={"input": Decimal(each), "output": Decimal(each)},
        )  # fmt: skip
    own = {"input": Decimal(2), "output": Decimal(8)}
    set_override(
        provider="self_hosted", model="llama", valid_from=date(2026, 1, 1), prices=own, set_by="ada", now=at(1)
    )
    leases.run(now=NOW)

    gate.ask(NOW)

    found = {one["model"]: Decimal(one["output"]) for one in orjson.loads(gate.body)["prices"]}
    assert found["gpt-mini"] == Decimal("0.00003")  # the dearer of the two
    assert (found["llama"], found["*"]) == (Decimal("0.000008"), Decimal("0.000008"))  # its own


def test_it_prices_own_models_without_any_price_at_the_declared_reference(books: Books) -> None:
    make_gate()

    leases.run(now=at(2))

    found = GatePrice.objects.get(model="*")
    assert (found.input_price, found.output_price) == (Decimal("0.00000532"), Decimal("0.000016"))


def test_it_does_not_hold_budgets_that_no_gate_can_tell_apart(books: Books) -> None:
    make_hard(scope={"provider_name": ["OpenAI"]})
    make_hard(name="Paused")
    Budget.objects.filter(name="Paused").update(paused_until=at(3))

    assert reckoning.hard_budgets(now=at(2), is_sample=False) == []


def test_it_takes_questions_from_gates_only(books: Books, client: Client) -> None:
    _, reader = tokens.create(name="reader", grants=["read"], created_by="ada", now=at(1))
    source = make_gate()
    _, own = tokens.create(name="gate", grants=["gate"], created_by="ada", now=at(1), source_id=source)
    body = {"process": "x", "sequence": 1, "held": [], "wants": []}

    answers = [
        client.post("/api/v1/gate/leases", given, "application/json", headers={"Authorization": f"Bearer {token}"})
        for token, given in ((reader, body), (own, body), (own, {"process": 5}))
    ]

    assert [one.status_code for one in answers] == [403, 200, 400]
    assert answers[1].json() == {"leases": [], "closed": []}
    assert "process" in answers[2].json()["detail"]


def test_it_keeps_what_a_gate_used_when_the_gate_is_removed(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    process.end(at(2), lease["account"], "11")

    gates.remove(name="chat-1", by="ada", now=at(2))

    assert account(budget_id, at(2)).settled_cost == 11


def test_it_forgets_accounts_of_budgets_that_are_deleted(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (lease,) = process.ask(at(2), budget_id, "30")["leases"]
    Budget.objects.filter(pk=budget_id).delete()

    answer = process.ask(at(2), budget_id, "30", **{f"a{lease['account']}": amounts(settled="3")})

    assert answer == {"leases": [], "closed": [lease["account"]]}
    assert LeaseAccount.objects.count() == 0


def test_it_lists_leases_on_the_command_line(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(at(1).tzinfo) - timedelta(seconds=1)
    process, budget_id = Process(make_gate()), make_hard()
    process.ask(now, budget_id, "30")

    call_command("budgets", "leases", "--format", "json")

    whole, own = orjson.loads(capsys.readouterr().out)
    assert (whole["limit"], Decimal(whole["outstanding"]), Decimal(whole["free"])) == ("100", Decimal(30), Decimal(70))
    assert (own["gate"], own["process"], own["state"]) == ("chat-1", "1-one", "open")


def test_it_answers_gates_that_know_no_leases_as_before(books: Books) -> None:
    gate = FakeGate(make_gate())

    gate.ask(at(2))

    assert "hard" not in orjson.loads(gate.body)
    assert policy.answer(source_id=gate.source_id, if_none_match=gate.etag, now=at(2)).body is None


def test_it_forgets_accounts_of_periods_long_past_and_says_so_to_who_still_names_them(books: Books) -> None:
    process, budget_id = Process(make_gate()), make_hard()
    (old,) = process.ask(at(2), budget_id, "30")["leases"]
    later = at(2) + timedelta(days=430)
    process.ask(later, budget_id, "30")

    gone = leases.tidy(before=later - timedelta(days=400))
    again = process.ask(later, budget_id, "30", **{f"a{old['account']}": amounts(settled="1")})

    assert gone == 1
    assert [row.starts_at.date() <= later.date() < row.ends_at.date() for row in LeaseAccount.objects.all()] == [True]
    assert Lease.objects.count() == 1
    assert again["closed"] == [old["account"]]

"""Changes of prices: proposed by one person, looked at as a difference, agreed to by another, applied, and undone.

A change is rows of prices and nothing else: what it would move is worked out from usage when somebody looks.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction

from costobs.audit import record
from costobs.kernel import money
from ingest import price, price_diff, price_lines, price_list, price_tiers
from ingest.models import Offering, PriceChange, UnitPrice
from ingest.price import BadPrice
from ingest.price_lines import Line
from ingest.price_rows import OPERATOR, Key
from ingest.price_usage import Repriced
from ingest.sources.formats import classify

Change = PriceChange  # what others may hold of it; the table stays private
LIST = "price list"
OPEN_STATES = ("proposed", "approved")


class NotNow(ValueError):
    """The change is in a state, or asked for by a person, for which this cannot be; the message says what can."""


def propose(
    *,
    kind: str,
    lines: Sequence[Line],
    by: str,
    now: datetime,
    note: str = "",
    problems: Sequence[str] = (),
    percent: Decimal | None = None,
) -> int:
    """Writes a proposal down and returns its id; no price changes yet. Raises BadPrice for a price that cannot be."""
    if not 0 < len(lines) <= price_lines.MOST:
        raise BadPrice(f"expected between 1 and {price_lines.MOST:,} prices, found {len(lines):,}")
    seen: set[tuple[Key, date]] = set()
    for line in lines:
        price_lines.check(line)
        if (line.key, line.valid_from) in seen:
            raise BadPrice(
                f"{'/'.join(line.key)} is there twice from {line.valid_from} on; a model has one price a day"
            )
        seen.add((line.key, line.valid_from))
    with transaction.atomic():
        made = PriceChange.objects.create(
            kind=kind,
            state="proposed",
            title=_title(lines, percent),
            lines=[price_lines.stored(line) for line in lines],
            problems=list(problems),
            note=note.strip(),
            percent=percent,
            proposed_by=by,
            proposed_at=now,
        )
        _write(made, "proposed", by, now, reason=made.note)
    return int(made.pk)


def propose_list(*, now: datetime) -> int | None:
    """Proposes to follow the installed list where it says otherwise than the prices in force; once for each version of it.

    Returns the id of the proposal, None when there is nothing to follow or this version was proposed before.
    """
    if PriceChange.objects.filter(list_version=price_list.PACKAGE).exists() or not price.outdated():
        return None
    try:
        with transaction.atomic():
            made = PriceChange.objects.create(
                kind="list",
                state="proposed",
                title=f"Prices as {price_list.PACKAGE} lists them",
                list_version=price_list.PACKAGE,
                proposed_by=LIST,
                proposed_at=now,
            )
            _write(made, "proposed", LIST, now)
    except IntegrityError:
        return None  # another worker was first
    return int(made.pk)


def stage(change: PriceChange) -> None:
    """Works out what the change would make of stored usage (see `price_diff`). Part of the caller's transaction."""
    if change.kind == "list":
        outdated = price.outdated()
        price_diff.stage(proposed=_listed(outdated), rows=[each for ids in outdated.values() for each in ids])
        return
    price_diff.stage(proposed=_proposed(lines_of(change)))


def get(change_id: int) -> PriceChange | None:
    """One change, None when there is none."""
    return PriceChange.objects.filter(pk=change_id).first()


def listing(*, states: Sequence[str] = (), limit: int = 50) -> list[PriceChange]:
    """Changes, the newest first; with `states` only those."""
    rows = PriceChange.objects.filter(state__in=states) if states else PriceChange.objects.all()
    return list(rows.order_by("-proposed_at", "-id")[:limit])


def lines_of(change: PriceChange) -> list[Line]:
    """The prices a change sets, in the order in which it sets them."""
    return price_lines.several([price_lines.restored(one) for one in change.lines])


def locked(change_id: int) -> PriceChange:
    """The change, held until the transaction ends. Raises NotNow when there is none."""
    found = PriceChange.objects.select_for_update().filter(pk=change_id).first()
    if found is None:
        raise NotNow(f"expected a change of prices, found none with the number {change_id}")
    return found


def approve(*, change: PriceChange, by: str, now: datetime, effect: Mapping[str, Decimal]) -> None:
    """Another person agrees to what the change moves now. The change is `locked`. Raises NotNow."""
    _expect(change, ("proposed",), "approved")
    if record.is_same_person(by, change.proposed_by):
        raise NotNow("you proposed this change; another person has to approve it")
    change.state, change.approved_by, change.approved_at = "approved", by, now
    change.approved_effect = {currency: money.text(amount) for currency, amount in effect.items()}
    change.save()
    _write(change, "approved", by, now, after={"effect": change.approved_effect})


def reopen(*, change: PriceChange, now: datetime, reason: str) -> None:
    """An approval that no longer fits what the change moves is void: it waits for a new one."""
    change.state, change.approved_by, change.approved_at, change.approved_effect = "proposed", "", None, {}
    change.save()
    _write(change, "approval_void", "costobs", now, reason=reason)


def end(*, change_id: int, state: str, by: str, now: datetime, reason: str = "") -> None:
    """Declines a proposal, or withdraws it (`state`): it never comes into force. Raises NotNow."""
    with transaction.atomic():
        change = locked(change_id)
        _expect(change, OPEN_STATES, state)
        change.state, change.ended_by, change.ended_at, change.reason = state, by, now, reason.strip()
        change.save()
        _write(change, state, by, now, reason=change.reason)


def apply(*, change: PriceChange, by: str, now: datetime, open_from: date | None) -> Repriced:
    """Puts the prices in force and prices usage from `open_from` on anew. The change is `locked`.

    Raises NotNow, BadPrice, PriceMoved; then nothing has changed.
    """
    _expect(change, OPEN_STATES, "applied")
    moved = _follow_list(now, open_from) if change.kind == "list" else _set(change, now, open_from)
    change.state, change.applied_by, change.applied_at = "applied", by, now
    change.open_from, change.moved_calls = open_from, moved.events
    change.save()
    _write(change, "applied", by, now, after={"calls": moved.events, "days": len(moved.days)})
    return moved


def undo(*, change_id: int, by: str, now: datetime, open_from: date | None, reason: str = "") -> Repriced:
    """Believes again what was believed before the change, and prices usage from `open_from` on so.

    Raises NotNow when a later price stands on it: that goes first.
    """
    with transaction.atomic():
        change = locked(change_id)
        _expect(change, ("applied",), "undone")
        applied_at = change.applied_at
        assert applied_at is not None
        gone = UnitPrice.objects.filter(known_to=applied_at, known_from__lt=applied_at)
        keys = {line.key for line in lines_of(change)} or set(gone.values_list("provider", "model", "service_tier"))
        results = [_restore(key, change, applied_at, now, open_from) for key in sorted(keys)]
        moved = _together(
            [price.reprice(provider=key[0], model=key[1], since=since) for key, since in _models(results)]
        )
        change.state, change.ended_by, change.ended_at, change.reason = "undone", by, now, reason.strip()
        change.save()
        _write(change, "undone", by, now, reason=change.reason, after={"calls": moved.events, "days": len(moved.days)})
    return moved


def _set(change: PriceChange, now: datetime, open_from: date | None) -> Repriced:
    moved = []
    for line in lines_of(change):
        above = {step: prices for step, prices in line.steps.items() if step}
        moved.append(
            price.set_override(
                provider=line.provider,
                model=line.model,
                service_tier=line.service_tier,
                valid_from=line.valid_from,
                prices=line.steps[0],
                above=above,
                currency=line.currency,
                set_by=change.proposed_by,
                now=now,
                open_from=open_from,
            )
        )
        provider, model, tier = line.key
        made = UnitPrice.objects.filter(provider=provider, model=model, service_tier=tier, known_from=now)
        made.filter(known_to=None, change_id=None).update(change_id=change.pk)
    return _together(moved)


def _follow_list(now: datetime, open_from: date | None) -> Repriced:
    return _together(price.follow_list(now=now, open_from=open_from or price_lines.FIRST))


def _restore(
    key: Key, change: PriceChange, applied_at: datetime, now: datetime, open_from: date | None
) -> tuple[Key, date]:
    """Closes what is believed since the change and opens what it closed; returns from which day on usage may move."""
    provider, model, tier = key
    rows = UnitPrice.objects.filter(provider=provider, model=model, service_tier=tier)
    since = list(rows.select_for_update().filter(known_to=None, known_from__gte=applied_at).order_by("id"))
    later = [row for row in since if row.provenance == OPERATOR and row.change_id != change.pk]
    if later:
        what = f"change {later[0].change_id}" if later[0].change_id else f"the price set by {later[0].set_by}"
        raise NotNow(f"{'/'.join(key)} was given another price since; undo {what} first")
    before = list(rows.filter(known_to=applied_at, known_from__lt=applied_at).order_by("id"))
    UnitPrice.objects.filter(id__in=[row.pk for row in since]).update(known_to=now, kept_until=open_from)
    starts = [row.valid_from.date() for row in (*since, *before)]
    for row in before:
        row.pk, row.known_from, row.known_to, row.kept_until = None, now, None, None
    UnitPrice.objects.bulk_create(before)
    since_day = min(starts, default=price_lines.LAST)
    return key, max(since_day, open_from or since_day)


def _models(results: Iterable[tuple[Key, date]]) -> list[tuple[tuple[str, str], date]]:
    """Each model once, from its earliest day on."""
    found: dict[tuple[str, str], date] = {}
    for (provider, model, _tier), since in results:
        found[provider, model] = min(since, found.get((provider, model), since))
    return sorted(found.items())


def _proposed(lines: Sequence[Line]) -> list[price_diff.Proposed]:
    """Each line as it would hold: until the next price that the operator has, or that the same change sets."""
    found = []
    starts: dict[Key, set[datetime]] = {}
    for line in lines:
        starts.setdefault(line.key, set()).add(_midnight(line.valid_from))
    held = UnitPrice.objects.filter(known_to=None, provenance=OPERATOR, model__in={key[1] for key in starts})
    for provider, model, tier, valid_from in held.values_list("provider", "model", "service_tier", "valid_from"):
        if (provider, model, tier) in starts:
            starts[provider, model, tier].add(valid_from)
    offerings = _offerings(set(starts))
    for number, line in enumerate(lines):
        start = _midnight(line.valid_from)
        end = min((each for each in starts[line.key] if each > start), default=None)
        for step, prices in line.steps.items():
            per_token = price.per_token(prices)
            used = tuple(offerings.get(line.key, ()))
            found.append(price_diff.Proposed(number, used, step, start, end, line.currency.upper(), per_token))
    return found


def _listed(outdated: Mapping[Key, object]) -> list[price_diff.Proposed]:
    offerings = _offerings(set(outdated))
    return [
        price_diff.Proposed(
            number,
            tuple(offerings.get(key, ())),
            step.context_from,
            period.valid_from,
            period.valid_to,
            "USD",
            step.prices,
        )
        for number, key in enumerate(sorted(outdated))
        for period in price_list.periods(*key)
        for step in period.steps
    ]


def _offerings(keys: set[Key]) -> dict[Key, list[int]]:
    """The offerings priced by each key."""
    found: dict[Key, list[int]] = {}
    rows = Offering.objects.filter(provider__in={key[0] for key in keys}, model__in={key[1] for key in keys})
    for pk, provider, model, tier in rows.order_by("id").values_list("id", "provider", "model", "service_tier"):
        found.setdefault((provider, model, price_tiers.canonical(provider, tier)), []).append(pk)
    return found


def _expect(change: PriceChange, states: Sequence[str], wanted: str) -> None:
    if change.state not in states:
        raise NotNow(f"this change is {change.state}; only one that is {' or '.join(states)} can be {wanted}")


def _together(moved: Sequence[Repriced]) -> Repriced:
    days = {day for one in moved for day in one.days}
    return Repriced(sum(one.events for one in moved), sum(one.hours for one in moved), tuple(sorted(days)))


def _title(lines: Sequence[Line], percent: Decimal | None) -> str:
    names = sorted({f"{line.provider}/{classify.canonical_model(line.provider, line.model)}" for line in lines})
    start = min(line.valid_from for line in lines)
    what = names[0] if len(names) == 1 else f"{len(names)} models"
    if percent is not None:
        what = f"{money.text(percent.normalize())} % off the list for {what if len(names) == 1 else lines[0].provider}"
    return f"{what} from {start}"


def _write(
    change: PriceChange, act: str, by: str, now: datetime, *, reason: str = "", after: Mapping[str, Any] | None = None
) -> None:
    told = {"title": change.title, **(after or {})}
    record.write(
        actor=by, act=f"price_change.{act}", subject=f"price_change:{change.pk}", at=now, after=told, reason=reason
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(0), UTC)

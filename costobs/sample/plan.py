"""What the sample still misses in an installation, cut into slices and put in the order in which people look at it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial

from costobs.embedded.sample import bills, fine_tunes, gpus, story, usage, values
from costobs.embedded.sample.story import Story
from costobs.embedded.sample.tally import Tally
from ingest import queries

PROVIDERS = ("openai", "anthropic", "aws")
MINUTE, QUARTER = 60, 900
_RECENT_DAYS = 3  # loaded first, with the bills of this month
_SLICE_DAYS = 10
MINUTE_DAYS = 7  # GPU samples of each minute, before that of each quarter hour
_BILL_WEIGHT = 24
_LOADS = 1000


@dataclass(frozen=True, slots=True)
class Slice:
    """Something to load: into which source, as which file, and how its bytes are made.

    `weight` is its share of the work; `cursor` is what the source's cursor holds once it is loaded.
    """

    source_id: int
    name: str
    month: date
    weight: int
    content: Callable[[], bytes]
    cursor: Mapping[str, str] = field(default_factory=dict)


def groups(told: Story, sources: Mapping[str, int], *, until: datetime, now: datetime) -> Iterator[list[Slice]]:
    """Slices in groups; the books are brought up to date after each.

    First the last days and the bills of this month, then the rest of it, then month by month backwards.
    """
    tally = Tally(told)
    through = until.date() - timedelta(days=bills.LAG_DAYS)
    months = bills.months(told, through=through)[::-1]
    billed = {month: [*_bills(told, sources, tally, month, through=through, now=now)] for month in months}
    used = [*_usage(told, sources["usage"], tally, until=until)]
    yield [*used[:1], *(billed[months[0]] if months else [])]
    runs = fine_tunes.ndjson(told, until=until)
    # Runs touch all their days: early, while most of those days are still empty and quickly rolled up.
    rest = [Slice(sources["fine_tunes"], "fine-tune runs.ndjson", until.date(), 1, lambda: runs)]
    for name, made in (("scores", values.scores), ("figures", values.figures), ("markers", values.markers)):
        content = made(told, until=until)
        if content:
            rest.append(Slice(sources[name], f"{name}.ndjson", until.date(), 1, partial(bytes, content)))
    rest += [*used[1:], *_telemetry(told, sources, tally, until=until)]
    for number, month in enumerate(months):
        mine, rest = [one for one in rest if one.month >= month], [one for one in rest if one.month < month]
        yield [*(billed[month] if number else []), *mine]
    yield rest


def _usage(told: Story, source_id: int, tally: Tally, *, until: datetime) -> Iterator[Slice]:
    start = story.midnight(told.start)
    recent = max(start, story.midnight(until.date() - timedelta(days=_RECENT_DAYS - 1)))
    for since, till, cursor in _spans(source_id, start=start, recent=recent, until=until, days=_SLICE_DAYS):

        def content(since: datetime = since, till: datetime = till) -> bytes:
            return usage.ndjson(tally.events(since=since, until=till))

        cursor["story_start"] = told.start.isoformat()
        name = f"usage {_shown(since, till)}.ndjson"
        yield Slice(source_id, name, since.date().replace(day=1), _hours(since, till), content, cursor)


def _telemetry(told: Story, sources: Mapping[str, int], tally: Tally, *, until: datetime) -> Iterator[Slice]:
    start = story.midnight(told.start)
    begun = queries.cursor(source_id=sources["gpus"]).get("from")
    split = datetime.fromisoformat(begun) if begun else story.midnight(until.date() - timedelta(days=MINUTE_DAYS - 1))
    split = max(split, start)
    for name, first, last, step, days in (
        ("gpus", split, until, MINUTE, 2),
        ("gpu_history", start, split, QUARTER, 21),
    ):
        newest = (last - timedelta(seconds=1)).date()
        recent = max(first, story.midnight(max(newest.replace(day=1), newest - timedelta(days=days - 1))))
        for since, till, cursor in _spans(sources[name], start=first, recent=recent, until=last, days=days):

            def content(since: datetime = since, till: datetime = till, step: int = step) -> bytes:
                work = tally.work(story.span(since, till))
                return gpus.query_range(told, since=since, until=till, step_seconds=step, work=work)

            cursor["from"] = first.isoformat()
            title = f"gpu telemetry {_shown(since, till)}.json"
            weight = 2 * _hours(since, till) * MINUTE // step + 1
            yield Slice(sources[name], title, since.date().replace(day=1), weight, content, cursor)


def _bills(
    told: Story, sources: Mapping[str, int], tally: Tally, month: date, *, through: date, now: datetime
) -> Iterator[Slice]:
    """The bills of a month that are not in the books yet, or not with all their days.

    The newest closed month of the cloud is delivered twice, as it is in life: the second delivery corrects the first.
    """
    first, last = max(month, told.start), min(bills.next_month(month), through)
    days = [first + timedelta(days=number) for number in range((last - first).days)]
    if not days:
        return
    complete = {line.id: line.complete_through for line in queries.sources(now=now)}
    for provider in PROVIDERS:
        source_id, name = sources[provider], f"{provider}-{month:%Y-%m}.csv"
        is_known = name in {load.name for load in queries.loads(source_id=source_id, limit=_LOADS)}
        known_through = complete[source_id]
        if is_known and known_through is not None and known_through >= story.midnight(last):
            continue
        is_newest_closed = last < through <= bills.next_month(last)
        for is_first in (True, False) if provider == "aws" and is_newest_closed and not is_known else (False,):

            def content(provider: str = provider, is_first: bool = is_first) -> bytes:
                tokens = tally.tokens(days)
                made = bills.bill(
                    told, provider=provider, month=month, through=through, tokens=tokens, is_first=is_first
                )
                return made.content if made else b""

            yield Slice(source_id, name, month, _BILL_WEIGHT, content)


def _spans(
    source_id: int, *, start: datetime, recent: datetime, until: datetime, days: int
) -> Iterator[tuple[datetime, datetime, dict[str, str]]]:
    """The spans a source misses of [start, until): forward from where it ends, then backward from where it begins, none
    across the end of a month. A source that has nothing gets [recent, until) first.
    """
    cursor = queries.cursor(source_id=source_id)
    since = datetime.fromisoformat(cursor["since"]) if "since" in cursor else recent
    through = datetime.fromisoformat(cursor["through"]) if "through" in cursor else recent
    while through < until:
        till = min(until, story.midnight(through.date() + timedelta(days=days)))
        yield through, till, {"since": since.isoformat(), "through": till.isoformat()}
        through = till
    while since > start:
        month = story.midnight((since - timedelta(seconds=1)).date().replace(day=1))
        before = max(start, since - timedelta(days=days), month)
        yield before, since, {"since": before.isoformat(), "through": through.isoformat()}
        since = before


def _hours(since: datetime, until: datetime) -> int:
    return max(1, int((until - since).total_seconds() // 3600))


def _shown(since: datetime, until: datetime) -> str:
    last = until - timedelta(seconds=1)
    return f"{since:%Y-%m-%d}" if since.date() == last.date() else f"{since:%Y-%m-%d}..{last:%Y-%m-%d}"

"""Template tags that draw icons, badges, deltas, sparklines and bullet bars as inline SVG, without inline styles."""

from collections.abc import Sequence
from decimal import Decimal

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from costobs.kernel import fmt
from costobs.web import icons, states
from costobs.web.charts.model import LegendItem
from costobs.web.parts import Bullet, Spark

register = template.Library()

_WIDTH, _HEIGHT, _PAD = 96, 20, 2
_BULLET_WIDTH = 140


@register.simple_tag
def icon(name: str, label: str = "", size: str = "") -> SafeString:
    return icons.render(name, label=label, size=size)


@register.simple_tag
def coded(text: str) -> SafeString:
    """Text in which what stands between backticks is code."""
    pieces = enumerate(str(text).split("`"))
    return format_html_join("", "{}", ((format_html("<code>{}</code>", one) if at % 2 else one,) for at, one in pieces))


@register.simple_tag
def badge(key: str, word: str = "") -> SafeString:
    """A state as icon, word and colour; `word` replaces the usual one (`Late 9 h`)."""
    state = states.state(key)
    return format_html(
        '<span class="badge badge--{}">{}<span>{}</span></span>',
        state.tone,
        icons.render(state.icon),
        word or state.word,
    )


@register.simple_tag
def delta(change: fmt.Delta | None) -> SafeString:
    """Arrow, amount and percent; neutral unless the change is material and has a polarity."""
    if change is None:
        return format_html('<span class="delta">{}</span>', fmt.NOT_APPLICABLE)
    if change.direction == "flat":
        return format_html('<span class="delta">{}</span>', "no change")
    shape = "M6 2 11 10H1z" if change.direction == "up" else "M6 10 1 2h10z"
    arrow = format_html(
        '<svg class="delta__arrow" viewBox="0 0 12 12" role="img" aria-label="{}"><path d="{}"/></svg>',
        change.direction, shape,
    )  # fmt: skip
    return format_html(
        '<span class="delta delta--{}">{}{} ({})</span>', change.tone, arrow, change.amount, change.percent
    )


@register.simple_tag
def swatch(slot: int | None = None, kind: str = "") -> SafeString:
    """The colour of a row: a slot, or the hatch of what has no owner."""
    if kind and kind != "total":
        return format_html('<span class="swatch swatch--{}" aria-hidden="true"></span>', kind)
    return format_html('<span class="swatch swatch--c{}" aria-hidden="true"></span>', slot) if slot else SafeString("")


@register.simple_tag
def legend_mark(item: LegendItem) -> SafeString:
    if item.mark == "cross":
        return icons.render("x")
    return format_html('<span class="swatch swatch--{} swatch--{}" aria-hidden="true"></span>', item.mark, item.token)


@register.simple_tag
def sparkline(spark: Spark) -> SafeString:
    """96x20, its own scale, gaps where a value is missing, the last unfinished step dashed."""
    runs, dashed = _runs(spark)
    solid = format_html_join("", '<polyline class="spark__line" points="{}"/>', ((_path(run),) for run in runs))
    tail = format_html('<polyline class="spark__open" points="{}"/>', _path(dashed)) if dashed else ""
    hidden = (
        format_html('role="img" aria-label="{}"', spark.label)
        if spark.label
        else format_html('aria-hidden="{}"', "true")
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" width="{}" height="{}" {}>{}{}</svg>',
        _WIDTH, _HEIGHT, _WIDTH, _HEIGHT, hidden, solid, tail,
    )  # fmt: skip


Dot = tuple[Decimal, Decimal]


def _runs(spark: Spark) -> tuple[list[list[Dot]], list[Dot]]:
    dots = _dots(spark.values)
    dashed: list[Dot] = []
    if spark.open_end and len(dots) > 1 and dots[-1] and dots[-2]:
        dashed = [dots[-2], dots[-1]]
        dots = dots[:-1]
    runs: list[list[Dot]] = [[]]
    for dot in dots:
        if dot is not None:
            runs[-1].append(dot)
        elif runs[-1]:
            runs.append([])
    return [_wide(run) for run in runs if run], dashed


def _wide(run: list[Dot]) -> list[Dot]:
    """A single value between gaps becomes a dash two pixels long, else it would not show."""
    return run if len(run) > 1 else [run[0], (run[0][0] + 2, run[0][1])]


def _dots(values: Sequence[Decimal | int | None]) -> list[Dot | None]:
    known = [Decimal(value) for value in values if value is not None]
    if not known:
        return [None for _ in values]
    low, high = min(known), max(known)
    span = high - low or Decimal(1)
    step = Decimal(_WIDTH - 2 * _PAD) / max(len(values) - 1, 1)
    drawn = Decimal(_HEIGHT - 2 * _PAD)
    return [
        None if value is None else (_PAD + step * index, _HEIGHT - _PAD - drawn * (Decimal(value) - low) / span)
        for index, value in enumerate(values)
    ]


def _path(dots: Sequence[Dot]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)


@register.simple_tag
def bullet(bar: Bullet) -> SafeString:
    """Used against elapsed: the fill stops at the budget, its colour is the state's; the tick is the time gone."""
    tone = states.state(bar.state).tone
    used = min(max(bar.used, Decimal(0)), Decimal(1)) * _BULLET_WIDTH
    said = bar.label or f"{fmt.percent(bar.used)} used" + (
        f", {fmt.percent(bar.elapsed, places=0)} of the period gone" if bar.elapsed is not None else ""
    )
    tick = ""
    if bar.elapsed is not None:
        at = min(max(bar.elapsed, Decimal(0)), Decimal(1)) * (_BULLET_WIDTH - 2)
        tick = format_html('<rect class="bullet__tick" x="{}" y="0" width="2" height="14"/>', f"{at:.1f}")
    return format_html(
        '<svg class="bullet bullet--{}" viewBox="0 0 {} 14" role="img" aria-label="{}" preserveAspectRatio="none">'
        '<rect class="bullet__track" x="0" y="3" width="{}" height="8" rx="2"/>'
        '<rect class="bullet__fill" x="0" y="3" width="{}" height="8" rx="2"/>{}</svg>',
        tone, _BULLET_WIDTH, said, _BULLET_WIDTH, f"{used:.1f}", tick,
    )  # fmt: skip


@register.simple_tag
def share_bar(ratio: Decimal | None) -> SafeString:
    """An in-cell bar, for shares only."""
    width = min(max(ratio or Decimal(0), Decimal(0)), Decimal(1)) * 48
    return format_html(
        '<svg class="share" viewBox="0 0 48 8" width="48" height="8" aria-hidden="true">'
        '<rect class="share__track" width="48" height="8" rx="2"/>'
        '<rect class="share__fill" width="{}" height="8" rx="2"/></svg>',
        f"{width:.1f}",
    )

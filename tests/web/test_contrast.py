"""Text reads at 4.5:1 and marks show at 3:1 on every surface they stand on, in both themes, from the CSS itself."""

import re
from pathlib import Path

import pytest

from costobs.web import icons, states

CSS = Path(__file__).resolve().parents[2] / "static" / "css"
STATE_TONES = ("ok", "watch", "thr", "over", "stop", "stale", "info")
TEXT_ON = [
    *((text, ground) for text in ("text", "text-2") for ground in ("bg", "surface", "surface-2")),
    ("text-3", "surface"),
    ("accent", "surface"),
    ("accent", "bg"),
    ("accent", "accent-weak"),
    ("accent", "surface-2"),
    ("on-accent", "accent"),
    *((tone, f"{tone}-bg") for tone in STATE_TONES),
    *((tone, "surface") for tone in ("ok", "watch", "thr", "over")),
    *((tone, "surface-2") for tone in ("ok", "watch", "over")),
    *(("text", f"{tone}-bg") for tone in ("ok", "watch", "over", "stale")),
]
MARKS_ON = [
    *((f"c{slot}", "surface") for slot in range(1, 11)),
    *((line, "surface") for line in ("p50", "p95", "p99", "more", "less", "border-strong", "axis", "focus")),
    ("focus", "bg"),
    ("text-3", "stale-bg"),
]


def _block(css: str, selector: str) -> dict[str, str]:
    body = css.split(selector, 1)[1].split("{", 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([\w-]+):\s*([^;]+);", body))


def _themes() -> dict[str, dict[str, str]]:
    css = (CSS / "tokens.css").read_text()
    return {"light": _block(css, ':root, [data-theme="light"]'), "dark": _block(css, '[data-theme="dark"]')}


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_it_reads_as_text(theme: str, text: str, ground: str) -> None:
    tokens = _themes()[theme]

    assert contrast(tokens[text], tokens[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("mark", "ground"), MARKS_ON)
def test_it_shows_as_a_mark(theme: str, mark: str, ground: str) -> None:
    tokens = _themes()[theme]

    assert contrast(tokens[mark], tokens[ground]) >= 3


def test_it_knows_black_on_white() -> None:
    assert round(contrast("#000000", "#FFFFFF"), 1) == 21.0


def test_it_gives_both_themes_the_same_tokens() -> None:
    themes = _themes()

    assert themes["light"].keys() == themes["dark"].keys()


def test_it_follows_the_system_with_the_same_dark_theme() -> None:
    css = (CSS / "tokens.css").read_text()

    assert _block(css, ":root:not([data-theme])") == _themes()["dark"]


def test_it_defines_every_token_it_uses() -> None:
    sheets = {path.name: path.read_text() for path in CSS.glob("*.css")}
    defined = {name for css in sheets.values() for name in re.findall(r"--([\w-]+)\s*:", css)}
    used = {name for css in sheets.values() for name in re.findall(r"var\(--([\w-]+)", css)}

    assert used <= defined


def test_it_needs_no_force() -> None:
    assert [path.name for path in CSS.glob("*.css") if "!important" in path.read_text()] == []


@pytest.mark.parametrize("key", states.STATES)
def test_it_gives_every_state_a_word_an_icon_and_a_tone(key: str) -> None:
    state = states.state(key)
    components = (CSS / "components.css").read_text()

    assert state.word
    assert state.icon in icons.names()
    assert f".badge--{state.tone} " in components

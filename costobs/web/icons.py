"""Inline drawings from the vendored sprite, so that an icon takes the colour of its text and needs no request."""

import re
from functools import cache
from pathlib import Path

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

SPRITE = Path(__file__).resolve().parents[2] / "static" / "vendor" / "lucide" / "sprite.svg"
_SYMBOL = re.compile(r'<symbol id="([a-z0-9-]+)" viewBox="0 0 24 24">(.*?)</symbol>', re.DOTALL)


class UnknownIcon(LookupError):
    """A name that the sprite does not hold; add it to lucide/icons.txt and run `make vendor`."""


@cache
def _shapes() -> dict[str, str]:
    return dict(_SYMBOL.findall(SPRITE.read_text()))


def names() -> frozenset[str]:
    return frozenset(_shapes())


def render(name: str, *, label: str = "", size: str = "") -> SafeString:
    """The icon; hidden from screen readers unless it has a `label`. `size` is '' (14 px), 'md' (16) or 'lg' (24)."""
    shapes = _shapes().get(name)
    if shapes is None:
        raise UnknownIcon(
            f"expected an icon of the sprite, found {name!r}; add it to lucide/icons.txt and run make vendor"
        )
    drawing = mark_safe(shapes)  # noqa: S308 - our own vendored file, checked by its hash
    css = f"icon icon--{size}" if size else "icon"
    if label:
        return format_html(
            '<svg class="{}" viewBox="0 0 24 24" role="img" aria-label="{}">{}</svg>', css, label, drawing
        )
    return format_html(
        '<svg class="{}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{}</svg>', css, drawing
    )

"""Which dots of a chart are named beside them: none over another, the outermost first; the others by hover and table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from costobs.web.charts.model import Point

# Near enough to the plotted area of a card of five columns; a label that has room there has room on a wider screen.
_WIDTH, _HEIGHT = 360, 250
_LETTER, _LINE, _DOT, _GAP = 6.4, 14, 7, 3
_SIDES = ("top center", "bottom center", "middle right", "middle left")


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def placed(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> list[tuple[str, str]]:
    """The text and side of each point's label, "" where there is no room. `places` are 0..1 from the left and the bottom."""
    spots = [(across * _WIDTH, (1 - up) * _HEIGHT) for across, up in places]
    dots = [_Box(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in spots]
    found = [("", _SIDES[0])] * len(points)
    taken: list[_Box] = []
    for index in _outermost_first(spots):
        others = [dot for number, dot in enumerate(dots) if number != index]
        for side in _SIDES:
            box = _box(spots[index], points[index].label, side)
            is_inside = box.left >= -_DOT and box.right <= _WIDTH + 24 and box.top >= -26 and box.bottom <= _HEIGHT + 8
            if is_inside and not any(box.meets(one) for one in (*taken, *others)):
                taken.append(box)
                found[index] = (points[index].label, side)
                break
    return found


def _outermost_first(spots: Sequence[tuple[float, float]]) -> Iterator[int]:
    """The ends of both axes, then as they were given."""
    if not spots:
        return
    numbers = range(len(spots))
    ends = [
        min(numbers, key=lambda one: spots[one][1]),
        max(numbers, key=lambda one: spots[one][0]),
        max(numbers, key=lambda one: spots[one][1]),
        min(numbers, key=lambda one: spots[one][0]),
    ]
    yield from dict.fromkeys([*ends, *numbers])


def _box(spot: tuple[float, float], text: str, side: str) -> _Box:
    x, y = spot
    width = _LETTER * len(text)
    if side.startswith("middle"):
        left = x + _DOT + _GAP if side.endswith("right") else x - _DOT - _GAP - width
        return _Box(left, y - _LINE / 2, left + width, y + _LINE / 2)
    top = y - _DOT - _GAP - _LINE if side.startswith("top") else y + _DOT + _GAP
    return _Box(x - width / 2, top, x + width / 2, top + _LINE)

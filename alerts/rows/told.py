"""What people are told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value of a notice."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Button:
    """A link to a page of this installation; it never acts by itself."""

    label: str
    path: str
    style: str = ""  # primary, danger or nothing


@dataclass(frozen=True, slots=True)
class Offer:
    """An act that a channel with buttons of its own may offer; the server checks everything again when it is pressed.

    `subject` is id and version, `51:v2`. `asks` is what is asked before: title, text, and the word of the button.
    """

    act: str
    label: str
    subject: str
    style: str = ""
    asks: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a review pack: a sentence, and a table whose columns after the first are figures."""

    title: str
    lead: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told, in the one anatomy of every alert; channels give it their form.

    `first_line` alone is enough: state, thing, amount, consequence. It is the subject and the notification.
    """

    about: str  # Budget · Search answers
    first_line: str
    header: str
    lead: str  # how much: now, expected, forecast
    facts: tuple[Fact, ...]
    steps: tuple[str, ...]  # what was done, what happens next
    consequence: str  # the preview line of a mail
    buttons: tuple[Button, ...]
    footer: str
    tone: str  # ok, watch, thr, over, stop, stale
    bar_percent: int | None = None  # how full the bar is, 0 to 100; None: no bar
    bar_words: str = ""
    sections: tuple[Section, ...] = ()
    offers: tuple[Offer, ...] = ()

"""Slack's Block Kit form of an alert, within its limits, and of what became of a button."""

from collections.abc import Mapping, Sequence
from typing import Any

from alerts.channels.base import Letter, row_words, truncated
from alerts.rows import Notice, Offer, Section

# Limits of Block Kit (docs.slack.dev/reference/block-kit/blocks, read 2026-11-21).
BLOCKS_LIMIT = 50
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
BUTTONS_LIMIT = 25
BUTTON_TEXT_LIMIT = 75
TEXT_LIMIT = 4000
CONFIRM_TITLE_LIMIT = 100
CONFIRM_TEXT_LIMIT = 300
CONFIRM_BUTTON_LIMIT = 30
_ROWS = 12  # of a section; the mail has all


def message(letter: Letter) -> dict[str, Any]:
    """The text and the blocks of one alert; offers become buttons that act, links stay links."""
    notice = letter.notice
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": plain(notice.header, HEADER_LIMIT)},
        {"type": "section", "text": markdown(_lead(notice), SECTION_LIMIT)},
    ]
    if notice.facts:
        fields = [markdown(f"*{escaped(fact.label)}*\n{escaped(fact.value)}", FIELD_LIMIT) for fact in notice.facts]
        blocks.append({"type": "section", "fields": fields[:FIELDS_LIMIT]})
    blocks += [{"type": "section", "text": markdown(_section(one), SECTION_LIMIT)} for one in notice.sections]
    buttons = [*_links(letter), *(_acting(offer) for offer in letter.offers)]
    tail: list[dict[str, Any]] = []
    if buttons:
        tail.append({"type": "actions", "block_id": f"alert:{letter.id}", "elements": buttons[:BUTTONS_LIMIT]})
    tail.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _footer(letter)}]})
    blocks = blocks[: BLOCKS_LIMIT - len(tail)]
    return {"text": truncated(escaped(notice.first_line), TEXT_LIMIT), "blocks": [*blocks, *tail]}


def reply(letter: Letter) -> dict[str, Any]:
    """What is said in the thread of an item: the news alone; its first message holds the rest."""
    notice = letter.notice
    text = "\n".join([f"*{escaped(notice.first_line)}*", *(escaped(step) for step in notice.steps)])
    return {
        "text": truncated(escaped(notice.first_line), TEXT_LIMIT),
        "blocks": [{"type": "section", "text": markdown(text, SECTION_LIMIT)}],
    }


def settled(blocks: Sequence[Mapping[str, Any]], words: str) -> list[dict[str, Any]]:
    """A message after somebody acted: its buttons that act are gone, its links stay, a line says what was done."""
    kept: list[dict[str, Any]] = []
    for block in blocks:
        if block.get("type") == "actions":
            links = [one for one in block.get("elements", ()) if one.get("url")]
            if not links:
                continue
            block = {**block, "elements": links}
        kept.append(dict(block))
    said = {"type": "context", "elements": [markdown(escaped(words), FIELD_LIMIT)]}
    return [*kept[: BLOCKS_LIMIT - 1], said]


def asking(title: str, text: str, *, metadata: str, callback: str) -> dict[str, Any]:
    """The modal that asks for a name before something strong happens."""
    return {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": metadata,
        "title": plain(title, 24),
        "submit": plain("Approve", 24),
        "close": plain("Back", 24),
        "blocks": [
            {"type": "section", "text": markdown(escaped(text), SECTION_LIMIT)},
            {
                "type": "input",
                "block_id": "name",
                "label": plain("Name of the budget", 2000),
                "element": {"type": "plain_text_input", "action_id": "name"},
            },
        ],
    }


def escaped(text: str) -> str:
    """The three characters that mean something to Slack; a team called <!here> must not call anybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str, limit: int) -> dict[str, Any]:
    """Text without markup, cut to the limit."""
    return {"type": "plain_text", "text": truncated(text, limit), "emoji": False}


def markdown(text: str, limit: int) -> dict[str, Any]:
    """Slack's own markup, cut to the limit."""
    return {"type": "mrkdwn", "text": truncated(text, limit)}


def _lead(notice: Notice) -> str:
    return "\n".join([f"*{escaped(notice.lead)}*", *(escaped(step) for step in notice.steps)])


def _section(one: Section) -> str:
    lines = [f"*{escaped(one.title)}*", escaped(one.lead)]
    lines += [f"• {escaped(row_words(one, row))}" for row in one.rows[:_ROWS]]
    if len(one.rows) > _ROWS:
        lines.append(f"• and {len(one.rows) - _ROWS} more")
    return "\n".join([*(line for line in lines if line), *([f"_{escaped(one.note)}_"] if one.note else [])])


def _links(letter: Letter) -> list[dict[str, Any]]:
    acts = {offer.label.rstrip("…") for offer in letter.offers}
    return [
        {
            "type": "button",
            "text": plain(button.label, BUTTON_TEXT_LIMIT),
            "url": f"{letter.base_url}{button.path}",
            **({"style": button.style} if button.style else {}),
        }
        for button in letter.notice.buttons
        if button.label.rstrip("…") not in acts
    ]


def _acting(offer: Offer) -> dict[str, Any]:
    button: dict[str, Any] = {
        "type": "button",
        "text": plain(offer.label, BUTTON_TEXT_LIMIT),
        "action_id": offer.act,
        "value": offer.subject,
        **({"style": offer.style} if offer.style else {}),
    }
    if offer.asks is not None:
        title, text, word = offer.asks
        button["confirm"] = {
            "title": plain(title, CONFIRM_TITLE_LIMIT),
            "text": markdown(escaped(text), CONFIRM_TEXT_LIMIT),
            "confirm": plain(word, CONFIRM_BUTTON_LIMIT),
            "deny": plain("Back", CONFIRM_BUTTON_LIMIT),
        }
    return button


def _footer(letter: Letter) -> str:
    link = f" · <{letter.why_url}|Why am I getting this, and mute>"
    return truncated(escaped(letter.notice.footer), FIELD_LIMIT - len(link)) + link

"""Slack's form: within its limits, and nobody is called by a name in the data."""

from dataclasses import replace
from datetime import UTC, datetime

from slack_sdk.models.blocks import Block, HeaderBlock
from slack_sdk.models.blocks.blocks import ActionsBlock, ContextBlock, SectionBlock

from alerts.channels import slack
from alerts.channels.base import Letter
from alerts.rows import Button, Fact, Notice

LONG = "word " * 2000
NOTICE = Notice(
    about="Budget · Search",
    first_line="Budget Search: 76 % used",
    header="Budget: Search passed 75 %",
    lead="$18,400 of $24,000 used.",
    facts=(Fact("Period", "1–30 Nov 2026"),),
    steps=("Next: shut down at 110 %.",),
    consequence="Throttled.",
    buttons=(Button("Open budget", "/budgets/7/", "primary"),),
    footer="Complete to 20 Nov, 23:00 UTC",
    tone="thr",
)


def letter(notice: Notice) -> Letter:
    return Letter(
        3, "budget:7:2026-11-01", True, datetime(2026, 11, 21, tzinfo=UTC), "https://cost.example.com", notice
    )


def test_it_stays_within_every_limit_whatever_the_data_say() -> None:
    huge = replace(
        NOTICE,
        first_line=LONG,
        header=LONG,
        lead=LONG,
        footer=LONG,
        facts=tuple(Fact(LONG, LONG) for _ in range(40)),
        steps=(LONG, LONG),
        buttons=tuple(Button(LONG, "/budgets/7/") for _ in range(40)),
    )

    found = slack.message(letter(huge))

    for block in Block.parse_all(found["blocks"]):
        block.validate_json()
    header, section, fields, actions, context = found["blocks"]
    assert len(found["text"]) <= 4000
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000
    assert len(fields["fields"]) == 10
    assert all(len(field["text"]) <= 2000 for field in fields["fields"])
    assert len(actions["elements"]) == 25
    assert len(context["elements"][0]["text"]) <= 2000


def test_it_makes_blocks_that_slack_knows() -> None:
    blocks = Block.parse_all(slack.message(letter(NOTICE))["blocks"])

    assert [type(block) for block in blocks] == [HeaderBlock, SectionBlock, SectionBlock, ActionsBlock, ContextBlock]


def test_it_calls_nobody_and_links_nowhere_by_a_name_in_the_data() -> None:
    nasty = replace(NOTICE, lead="<!channel> & <https://evil.example|click>", facts=(Fact("Owner", "<@U123>"),))

    found = str(slack.message(letter(nasty)))

    assert "<!channel>" not in found
    assert "<https://evil" not in found
    assert "<@U123>" not in found
    assert "&lt;!channel&gt; &amp; " in found

"""E-mail through Django: HTML and text with the same facts, one thread for each open item."""

import smtplib
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import css_inline
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from alerts.channels.base import (
    BadConfig,
    Channel,
    Field,
    Letter,
    PermanentFailure,
    Position,
    TemporaryFailure,
    known,
    row_words,
    truncated,
)
from alerts.rows import Section

SUBJECT_LIMIT = 200
_FIGURE = 24  # what is longer is a sentence


class Email(Channel):
    """One mail for each alert to all recipients; how mail leaves is the installation's setting. Example configuration:

    {"to": ["finance@example.com"]}

    or, to write to the owner of the budget each alert is about: {"to_owner": true}
    """

    kind: ClassVar[str] = "email"
    title: ClassVar[str] = "E-mail"
    settings: ClassVar = (
        Field("to", "To", "Addresses, separated by commas.", is_list=True),
        Field("to_owner", "Write to the owner of the budget", "Instead of fixed addresses.", is_flag=True),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> None:
        known(config, self.kind, ("to", "to_owner"))
        if config.get("to_owner") is True and not config.get("to"):
            return
        to = config.get("to")
        if not isinstance(to, list) or not to or not all(isinstance(one, str) and _is_address(one) for one in to):
            raise BadConfig(f"to: expected a list of e-mail addresses, found {to!r}")

    def send(self, letter: Letter, config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Position | None:
        to = [letter.owner_email] if config.get("to_owner") else list(config["to"])
        if not all(to):
            raise PermanentFailure("nobody is named as its owner, so there is no address to write to")
        mail = message(letter, to)
        try:
            sent = mail.send()
        except smtplib.SMTPRecipientsRefused as problem:
            codes = sorted({code for code, _ in problem.recipients.values()})
            failure = f"the mail server refused every recipient ({', '.join(map(str, codes))})"
            raise (PermanentFailure if all(code >= 500 for code in codes) else TemporaryFailure)(failure) from None
        except smtplib.SMTPResponseException as problem:
            failure = f"the mail server answered {problem.smtp_code}"
            raise (PermanentFailure if _is_final(problem) else TemporaryFailure)(failure) from None
        except (smtplib.SMTPException, OSError) as problem:
            raise TemporaryFailure(f"the mail server could not be reached ({type(problem).__name__})") from None
        if not sent:
            raise TemporaryFailure("the mail server took nothing")
        return Position(str(mail.extra_headers["Message-ID"])) if letter.is_first else None

    def place(self, config: Mapping[str, Any]) -> str:
        return "the owner of each budget" if config.get("to_owner") else ", ".join(config.get("to", []))


def message(letter: Letter, to: list[str]) -> EmailMultiAlternatives:
    """The mail of one alert. Its Message-ID never changes, so a mail sent twice is shown once."""
    notice = letter.notice
    context = {
        "notice": notice,
        "base_url": letter.base_url,
        "why_url": letter.why_url,
        "left_percent": 100 - (notice.bar_percent or 0),
        "sections": [(one, [row_words(one, row) for row in one.rows], _cells(one)) for one in notice.sections],
        "is_digest": letter.topic == "digest",
    }
    html = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True).inline(
        render_to_string("alerts/notice.html", context)
    )
    host = urlsplit(letter.base_url).hostname or "localhost"
    thread = f"<{letter.thread.replace(':', '.')}@{host}>"
    own = f"<alert.{letter.id}@{host}>"
    headers = {"Message-ID": own, "References": thread, "In-Reply-To": thread, "Auto-Submitted": "auto-generated"}
    if letter.topic == "digest":
        headers["List-Unsubscribe"] = f"<{letter.base_url}/settings/alerts/>"
    mail = EmailMultiAlternatives(
        subject=truncated(" ".join(notice.first_line.split()), SUBJECT_LIMIT),
        body=render_to_string("alerts/notice.txt", context).strip() + "\n",
        to=to,
        headers={**headers, "Date": letter.raised_at.strftime("%a, %d %b %Y %H:%M:%S +0000")},
    )
    mail.attach_alternative(html, "text/html")
    return mail


def _cells(section: Section) -> list[list[tuple[str, bool]]]:
    """Head and rows of a section's table: each text, and whether its column holds figures, which stand to the right."""
    table = [section.columns, *section.rows]
    is_figure = [
        number > 0 and all(len(row[number]) <= _FIGURE for row in section.rows)
        for number in range(len(section.columns))
    ]
    return [list(zip(row, is_figure, strict=False)) for row in table] if section.rows else []


def _is_final(problem: smtplib.SMTPResponseException) -> bool:
    # 5xx is final by RFC 5321, except for a wrong password, which somebody is going to correct.
    return problem.smtp_code >= 500 and not isinstance(problem, smtplib.SMTPAuthenticationError)


def _is_address(text: str) -> bool:
    name, _, host = text.partition("@")
    return bool(name and host) and not any(character.isspace() or character in ",;<>" for character in text)

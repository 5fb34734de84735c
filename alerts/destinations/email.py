"""Statements by e-mail, as attachments."""

import hashlib
import smtplib
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.core.mail import EmailMessage

from alerts.destinations.base import (
    MOST_BYTES,
    BadConfig,
    Destination,
    Field,
    Parcel,
    PermanentFailure,
    TemporaryFailure,
)


class Email(Destination):
    """One mail with the files attached, to all recipients; how mail leaves is the installation's setting. Example configuration:

    {"to": ["finance@example.com"]}

    Its Message-ID follows from the month and its version, so a mail sent twice is shown once.
    """

    kind: ClassVar = "email"
    title: ClassVar = "E-mail"
    settings: ClassVar = (Field("to", "Recipients", "Addresses, separated by commas.", is_needed=True),)

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        to = config["to"]
        if not isinstance(to, list) or not all(isinstance(one, str) and _is_address(one) for one in to):
            raise BadConfig("to", f"expected e-mail addresses, found {to!r}")

    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        size = sum(len(one.content) for one in parcel.items)
        if size > MOST_BYTES:
            raise PermanentFailure(
                f"the files have {size:,} bytes, more than mail servers take ({MOST_BYTES:,}); deliver them to a store"
            )
        mail = message(parcel, list(config["to"]))
        try:
            sent = mail.send()
        except smtplib.SMTPRecipientsRefused as problem:
            codes = sorted({code for code, _ in problem.recipients.values()})
            failure = f"the mail server refused every recipient ({', '.join(map(str, codes))})"
            raise (PermanentFailure if all(code >= 500 for code in codes) else TemporaryFailure)(failure) from None
        except smtplib.SMTPResponseException as problem:
            # 5xx is final by RFC 5321, except for a wrong password, which somebody is going to correct.
            is_final = problem.smtp_code >= 500 and not isinstance(problem, smtplib.SMTPAuthenticationError)
            failure = f"the mail server answered {problem.smtp_code}"
            raise (PermanentFailure if is_final else TemporaryFailure)(failure) from None
        except (smtplib.SMTPException, OSError) as problem:
            raise TemporaryFailure(f"the mail server could not be reached ({type(problem).__name__})") from None
        if not sent:
            raise TemporaryFailure("the mail server took nothing")
        return f"mail {mail.extra_headers['Message-ID']} to {len(config['to'])}"


def message(parcel: Parcel, to: list[str]) -> EmailMessage:
    """The mail of one parcel."""
    host = urlsplit(parcel.base_url).hostname or "localhost"
    headers = {
        "Message-ID": f"<{parcel.key}@{host}>",
        "Auto-Submitted": "auto-generated",
        "Date": parcel.sent_at.strftime("%a, %d %b %Y %H:%M:%S +0000"),
    }
    listed = "\n".join(f"{one.name}  SHA-256 {hashlib.sha256(one.content).hexdigest()}" for one in parcel.items)
    mail = EmailMessage(
        subject=" ".join(parcel.subject.split())[:200], body=f"{parcel.text}\n\n{listed}\n", to=to, headers=headers
    )
    for one in parcel.items:
        mail.attach(one.name, one.content, one.media_type.partition(";")[0])
    return mail


def _is_address(text: str) -> bool:
    name, _, host = text.partition("@")
    return bool(name and host) and not any(character.isspace() or character in ",;<>" for character in text)

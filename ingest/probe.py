"""The connection test: what a source can see and what is missing, within a time limit, before anything is saved."""

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from costobs.audit import record
from ingest import configure
from ingest.models import Source
from ingest.sources import KINDS, config
from ingest.sources.base import Finding, Window
from ingest.sources.base import Source as Kind

SECONDS = 25
_PRIVATE = "COSTOBS_PRIVATE_HOSTS"
# A vendor that does not answer holds its thread until its own time-outs end it; no more than these are held at once.
_AT_ONCE = threading.BoundedSemaphore(6)


def entered(
    *,
    kind: str,
    config: Mapping[str, Any],
    credentials: Mapping[str, str],
    by: str,
    now: datetime,
    files_below: Path | None = None,
    source_id: int | None = None,
    seconds: int = SECONDS,
) -> list[Finding]:
    """The findings for values that are not saved; of a source that exists, its credentials stand in for those not given.

    Raises configure.BadConfig.
    """
    found = KINDS[kind]
    held: dict[str, str] = {}
    saved_config: dict[str, Any] = {}
    source = None if source_id is None else configure.source(source_id)
    if source is not None:
        held, saved_config = configure.saved_credentials(source), source.config
    stored, secrets = configure.prepared(
        found, config, credentials, saved=held, saved_config=saved_config, files_below=files_below
    )
    findings = _findings(found, stored, secrets, now, seconds)
    _audit(kind if source is None else f"{source}", findings, by, now)
    return findings


def saved(*, source_id: int, by: str, now: datetime, seconds: int = SECONDS) -> list[Finding]:
    """The findings for a source as it is. Raises configure.UnknownSource."""
    source: Source = configure.source(source_id)
    findings = _findings(KINDS[source.kind], source.config, configure.saved_credentials(source), now, seconds)
    _audit(f"{source}", findings, by, now)
    return findings


def _findings(
    kind: type[Kind], stored: Mapping[str, Any], secrets: Mapping[str, str], now: datetime, seconds: int
) -> list[Finding]:
    found: list[Finding] = []
    window = Window(now - timedelta(days=max(2, kind.restatement_days)), now)

    def ask() -> None:
        try:
            found.extend(kind(config.made(kind, stored), secrets).probe(window))
        except Exception as problem:  # a kind promises to raise nothing; a person must see it when it does
            words = f"{type(problem).__name__}: {problem}"
            found.append(Finding("Test", "missing", words, "Check the settings above."))
        finally:
            _AT_ONCE.release()

    if not _AT_ONCE.acquire(timeout=seconds):
        return [Finding("Test", "missing", "Too many tests are waiting for an answer.", "Try again in a minute.")]
    worker = threading.Thread(target=ask, name=f"probe {kind.kind}", daemon=True)
    worker.start()
    worker.join(seconds)
    findings = [
        Finding(one.subject, one.state, config.without(one.detail, secrets), config.without(_remedy(one), secrets))
        for one in list(found)
    ]
    if worker.is_alive():
        remedy = "Check the address, and that a firewall lets this machine reach it."
        findings.append(Finding("Answer", "missing", f"Nothing came within {seconds} seconds.", remedy))
    return findings


def _remedy(finding: Finding) -> str:
    """What the kind says, except where nothing was asked: no grant of the vendor opens an address that is not called."""
    if _PRIVATE in finding.detail:
        return f"If it is a host of yours, put its name in {_PRIVATE} and start costobs again."
    return finding.remedy


def _audit(subject: str, findings: list[Finding], by: str, now: datetime) -> None:
    # How it ended, not what was said: that may quote what a person typed into the wrong field.
    after: dict[str, Any] = dict(Counter(one.state for one in findings))
    record.write(actor=by, act="source.tested", subject=f"source:{subject}", at=now, after=after)

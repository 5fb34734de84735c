"""Two closes of the same month from the same inputs say the same, byte for byte, in two databases."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from django.db import connection

from costobs.embedded import paths
from tests.api import october
from tests.servers import child

pytestmark = pytest.mark.django_db(transaction=True)

# What each of the two does: makes its tables, loads the inputs in an order of its own, closes, and prints what it exports.
_PROGRAM = """
import sys
from pathlib import Path

import django

django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)

import orjson
import time_machine

from attribution import close, own, verify
from costobs import pipeline
from costobs.access.models import Membership
from ingest import configure, load
from tests.api import october

folder, order = Path(sys.argv[1]), sys.argv[2]
now, inputs = october.NOW, orjson.loads((folder / "inputs.json").read_bytes())
with time_machine.travel(now, tick=False):
    if order == "-1":  # ids that differ, as in a database with a past
        own.reattribute(drafts=own.DEFAULT_RULES, now=now, by="before")
        configure.create_source(kind="usage_log", name="another", now=now)
    for kind, name, file in inputs[:: int(order)]:
        found = configure.create_source(kind=kind, name=name, now=now)
        for result in load.from_paths(source_id=found, paths=[str(folder / file)], now=now):
            assert result.state == "succeeded", result
        if order == "-1":
            while pipeline.settle(now):
                pass
    while pipeline.settle(now):
        pass
    waive = dict.fromkeys(("reviewed", "unallocated", "unpriced", "sources", "rates", "reconciled"), "known")
    book = close.close(month=now.date().replace(year=2026, month=10, day=1), by="ada", now=now, waive=waive)
    assert verify.run().failures == ()
    user = get_user_model().objects.create_user("ada", email="ada@example.com")
    Membership.objects.create(user=user, role="finance", teams=[])
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    said = {"sha256": book.sha256}
    for form in ("json", "csv", "focus"):
        for currency in ("USD", "EUR"):
            answer = client.get(f"/api/v1/chargeback/2026-10?format={form}&currency={currency}")
            assert answer.status_code == 200, answer.content
            said[f"{form} {currency}"] = b"".join(answer).decode()
            said[f"{form} {currency} tag"] = answer["ETag"]
print(orjson.dumps(said).decode())
"""


@pytest.fixture
def databases() -> Iterator[list[str]]:
    """The addresses of two new databases on the server of the tests."""
    names = [f"twin_{uuid.uuid4().hex[:12]}" for _ in range(2)]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"CREATE DATABASE {name}")
    yield [urlsplit(paths.database_url())._replace(path=f"/{name}").geturl() for name in names]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_it_exports_the_same_bytes_from_two_databases(databases: list[str], tmp_path: Path) -> None:
    _inputs(tmp_path)

    one, other = (_closed(address, tmp_path, order) for address, order in zip(databases, ("1", "-1"), strict=True))

    assert len(one["sha256"]) == 64
    assert '"state":"closed"' in one["json USD"]
    assert "search" in one["csv USD"]
    assert "search" in one["csv EUR"]
    assert one == other


def _inputs(folder: Path) -> None:
    october.bill(folder / "aws.csv")
    euros = tuple((*row[:5], row[5], row[6]) for row in october.CHARGES[:3])
    # Of another provider, so that it is not the same money from two sources.
    bill = october.bill(folder / "euros.csv", euros, currency="EUR")
    bill.write_text(bill.read_text().replace("AWS", "OVHcloud"))
    for name in ("search", "growth"):
        (folder / f"{name}.ndjson").write_bytes(
            october.events(team=name, day="2026-10-02", prefix="a")
            + october.events(team=name, day="2026-10-30", prefix="b")
        )
    listed = [
        ("focus_export", "aws bill", "aws.csv"),
        ("usage_log", "calls of search", "search.ndjson"),
        ("focus_export", "euro bill", "euros.csv"),
        ("usage_log", "calls of growth", "growth.ndjson"),
    ]
    (folder / "inputs.json").write_bytes(orjson.dumps(listed))


def _closed(address: str, folder: Path, order: str) -> dict[str, str]:
    environment = {**child.environment(), "DATABASE_URL": address}
    command = [sys.executable, "-c", _PROGRAM, str(folder), order]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=400)
    assert ended.returncode == 0, ended.stderr.decode("utf-8", "replace")[-3000:]
    said: dict[str, str] = orjson.loads(ended.stdout.splitlines()[-1])
    return said

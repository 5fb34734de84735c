"""The schema describes the API, and what it describes never fails."""

import pytest
import schemathesis
import yaml
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.utils import timezone

from costobs.access import tokens
from ingest import configure
from tests.api import october

schema = schemathesis.openapi.from_wsgi("/api/v1/schema", get_wsgi_application())
READS = ("/api/v1/spend", "/api/v1/unit-costs", "/api/v1/chargeback/{month}", "/api/v1/gate/policy")


def test_it_is_generated_without_a_warning(tmp_path: object) -> None:
    call_command("spectacular", "--file", str(tmp_path / "schema.yaml"), "--fail-on-warn", "--validate")

    found = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    assert {*READS, "/api/v1/usage-events", "/api/v1/fine-tune-runs"} <= set(found["paths"])


@pytest.fixture
def authorization(october_ledger: october.Ledger) -> str:
    source_id = configure.create_source(kind="gate", name="gate", now=october.NOW)
    _token, text = tokens.create(
        name="schema", grants=["read", "gate"], source_id=source_id, created_by="test", now=timezone.now()
    )
    return f"Bearer {text}"

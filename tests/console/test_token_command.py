"""Tokens on the command line: for sources that rows can be pushed to, and for no others."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ingest.models import Source

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("kind", ["usage_log", "otlp", "quality_scores", "markers"])
def test_it_makes_the_source_that_rows_are_pushed_to(kind: str) -> None:
    call_command(
        "token", "create", "app", "--grant", "ingest", "--source-kind", kind, stdout=StringIO(), stderr=StringIO()
    )

    assert Source.objects.get().kind == kind


@pytest.mark.parametrize("kind", ["aws_cur", "openai_costs", "typo"])
def test_it_says_which_kinds_rows_are_pushed_to(kind: str) -> None:
    with pytest.raises(CommandError, match=r"is one of .*usage_log"):
        call_command("token", "create", "app", "--grant", "ingest", "--source-kind", kind, stdout=StringIO())

    assert not Source.objects.exists()

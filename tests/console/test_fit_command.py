"""costobs fit: weights from a log of vLLM, as a script sees them."""

from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from attribution import token_weights
from attribution.models import TokenWeights
from costobs.audit.models import AuditEntry

pytestmark = pytest.mark.django_db

LOG = Path(__file__).parents[1] / "golden" / "vllm_steps" / "busy-w8a8" / "iterations.log.gz"


def _run(*words: str) -> str:
    out = StringIO()
    call_command("fit", *words, stdout=out)
    return out.getvalue()


def test_it_fits_a_log_and_keeps_what_it_found() -> None:
    said = _run("vllm-m200", "--log", str(LOG), "--quantization", "w8a8", "--from", "2026-11-01", "--by", "ada")

    found = token_weights.in_force(day=date(2026, 11, 1))["vllm-m200"]
    assert f"R² {found.r2:f}" in said
    assert f"1 : 0 : {found.output_weight:f}" in said
    assert "in force from 2026-11-01" in said
    entry = AuditEntry.objects.get(act="token_weights.fitted")
    assert (entry.actor, entry.subject, entry.after["quantization"]) == ("ada", "deployment:vllm-m200", "w8a8")


def test_it_keeps_nothing_in_a_dry_run() -> None:
    assert "output = 1 : 0 : " in _run("vllm-m200", "--log", str(LOG), "--dry-run")

    assert not TokenWeights.objects.exists()


def test_it_says_that_a_poor_fit_is_not_used(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text('{"step":0,"ctx_req":1,"ctx_tok":7,"gen_req":1,"gen_tok":1,"ms":25.485}\n' * 20)

    assert "The default weights stand" in _run("vllm-m200", "--log", str(log))
    assert TokenWeights.objects.get().method == "declared"


def test_it_says_what_is_wrong_and_keeps_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.log"
    empty.write_text("nothing of use\n")

    for words, message in (
        (("--log", str(empty)), "no engine steps found"),
        (("--log", str(tmp_path / "missing.log")), "No such file"),
        (("--log", str(LOG), "--from", "yesterday"), "yesterday"),
    ):
        with pytest.raises(CommandError, match=message):
            _run("vllm-m200", *words)
    assert not TokenWeights.objects.exists()

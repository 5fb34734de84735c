"""Deciding, without a network and with the test's own clock."""

from datetime import UTC, datetime

import pytest
from costobs_gate.admission import Admission, Decision, Request
from costobs_gate.policy import Key, Rule

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BETA = Key("0" * 64, "key_beta", "beta", (), None)


def _decide(admission: Admission, *rules: Rule, at: float) -> Decision:
    return admission.decide(request=Request(BETA, None, "small"), rules=rules, now=NOW, monotonic=at)


def test_it_holds_a_rate_over_any_length_of_time() -> None:
    admission, slow = Admission(), Rule("slow", "throttle", requests_per_minute=60)

    admitted = sum(_decide(admission, slow, at=tenth / 10).refused_by is None for tenth in range(6000))

    assert admitted == 10 + 599  # a burst of ten seconds' worth, then one each second


def test_it_says_when_the_next_request_fits() -> None:
    admission, slow = Admission(), Rule("slow", "throttle", requests_per_minute=6)
    _decide(admission, slow, at=0)

    assert _decide(admission, slow, at=3).retry_after_seconds == 7
    assert _decide(admission, slow, at=10).refused_by is None


def test_it_takes_nothing_from_one_rule_when_another_refuses() -> None:
    admission = Admission()
    wide, narrow = Rule("wide", "throttle", requests_per_minute=12), Rule("narrow", "throttle", requests_per_minute=1)
    _decide(admission, wide, narrow, at=0)
    for _ in range(5):
        assert _decide(admission, wide, narrow, at=0).refused_by is narrow

    assert _decide(admission, wide, at=0).refused_by is None


def test_it_lets_nothing_through_at_a_rate_of_zero() -> None:
    assert _decide(Admission(), Rule("zero", "throttle", requests_per_minute=0), at=0).refused_by is not None


def test_it_fills_a_bucket_while_its_rule_is_away() -> None:
    admission, slow = Admission(), Rule("slow", "throttle", requests_per_minute=6)
    _decide(admission, slow, at=0)
    admission.adopt([], 0)

    assert _decide(admission, slow, at=5).refused_by is slow
    assert _decide(admission, slow, at=10).refused_by is None


@pytest.mark.parametrize(
    ("match", "feature", "model", "covered"),
    [
        ({}, None, "small", True),
        ({"team": "beta", "feature": "answers"}, "answers", "small", True),
        ({"team": "beta", "feature": "answers"}, "search", "small", False),
        ({"team": "beta", "feature": "answers"}, None, "small", False),
        ({"team": "alpha"}, None, "small", False),
        ({"model": "large"}, None, "large", True),
        ({"model": "large"}, None, "small", False),
        ({"model": "large"}, None, None, True),  # who names no model must not get around a rule on models
        ({"key_id": "key_beta"}, None, "small", True),
        ({"key_id": "key_alpha"}, None, "small", False),
    ],
)
def test_it_applies_a_rule_where_everything_given_matches(
    match: dict[str, str], feature: str | None, model: str | None, covered: bool
) -> None:
    assert Rule("r", "block", **match).covers(BETA, feature, model) is covered

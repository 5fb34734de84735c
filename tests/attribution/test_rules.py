"""The examples in the manuals of rules are rules, and a selection means what it says."""

import re

import orjson
import pytest

from attribution import rules
from attribution.dimensions import canonical, provider_name
from attribution.rules.base import OwnershipRule, SplitRule


@pytest.mark.parametrize("kind", rules.KINDS)
def test_it_loads_the_example_of_its_manual(kind):
    manual = rules.KINDS[kind].__doc__ or ""
    example = re.search(r"Example: (\{.*\})", manual, re.DOTALL)

    assert example, f"{kind} has no example"
    rule = rules.parse(kind, orjson.loads(example.group(1)))
    assert isinstance(rule, SplitRule if rule.is_split else OwnershipRule)


def test_it_takes_wildcards_for_themselves_and_percent_for_a_letter():
    rule = rules.parse("even_split", {"select": {"service_name": ["100%_*?"]}, "teams": ["a"]})

    condition = rule.charges(prefix="p")

    assert condition.sql == "c.service_name LIKE ANY(%(p_0)s)"
    assert condition.parameters == {"p_0": ["100\\%\\_%_"]}


def test_it_selects_nothing_when_nothing_is_said():
    assert rules.parse("even_split", {"teams": ["a"]}).charges(prefix="p").sql == "FALSE"


@pytest.mark.parametrize(
    ("on_the_bill", "known"),
    [("Amazon Web Services", "AWS"), ("AWS", "AWS"), (" openai, llc ", "OpenAI"), ("Some Cloud", "Some Cloud")],
)
def test_it_knows_the_spellings_of_a_provider_and_keeps_unknown_ones(on_the_bill, known):
    assert canonical(on_the_bill) == known


@pytest.mark.parametrize(
    ("otel", "focus"),
    [("aws.bedrock", "AWS"), ("azure.ai.openai", "Microsoft"), ("gcp.vertex_ai", "Google Cloud"), ("acme", "acme")],
)
def test_it_maps_the_names_of_telemetry_to_those_of_bills(otel, focus):
    assert provider_name(otel) == focus

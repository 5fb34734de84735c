"""docker-compose.yml says the same as `costobs up`."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from costobs_gate.proxy import serve

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, with YAML's merges resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_it_has_the_processes_of_the_stack_and_their_servers(services: dict[str, Any]) -> None:
    always = {name for name, service in services.items() if "profiles" not in service}

    assert always == {"migrate", "web", "worker", "beat", "postgres", "valkey", "prometheus", "mailpit"}


def test_it_builds_one_image_for_all_our_processes(services: dict[str, Any]) -> None:
    ours = [services[name] for name in ("migrate", "web", "worker", "beat", "chat")]

    assert {service["image"] for service in ours} == {"costobs:local"}
    assert all("uv sync --frozen --no-dev" in service["build"]["dockerfile_inline"] for service in ours)
    assert all({"DATABASE_URL", "BROKER_URL"} <= set(service["environment"]) for service in ours)


def test_it_puts_the_gate_into_a_model_server_with_a_quantized_model(services: dict[str, Any]) -> None:
    server = services["vllm"]

    assert services["dcgm-exporter"]["profiles"] == server["profiles"] == ["gpu"]
    assert "--middleware=costobs_gate.Gate" in server["command"]
    assert any("AWQ" in argument for argument in server["command"] if argument.startswith("--model="))


def test_it_runs_the_gate_as_a_proxy_that_knows_no_database(services: dict[str, Any]) -> None:
    gate = services["gate"]
    program, act, *words = gate["command"]
    asked = serve.parser("costobs-gate serve").parse_args(
        [word.replace("${GATE_UPSTREAM:-http://vllm:8000}", "http://vllm:8000") for word in words]
    )

    assert (program, act, gate["profiles"]) == ("costobs-gate", "serve", ["proxy"])
    assert asked.upstream == ["own=http://vllm:8000"]
    assert {"COSTOBS_URL", "COSTOBS_GATE_TOKEN"} <= set(gate["environment"])
    assert "DATABASE_URL" not in gate["environment"]


def test_it_reaches_only_the_loopback_address_of_the_host(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)

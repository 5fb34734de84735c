"""A real MLflow tracking server, in an environment of its own: it brings much that the product does not need."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import servers
from tests.servers import environments

REQUIREMENTS = Path(__file__).with_name("requirements-mlflow.txt")


class Tracking:
    """The server's REST API, as far as a test prepares runs with it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer of one call."""
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def run(self, experiment: str, *, name: str, start: int, params: dict[str, str], tags: dict[str, str]) -> str:
        """A run that started at `start` (milliseconds since 1970), with its parameters and tags."""
        told = self.post(
            "runs/create",
            experiment_id=experiment,
            run_name=name,
            start_time=start,
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )
        run_id: str = told["run"]["info"]["run_id"]
        for key, value in params.items():
            self.post("runs/log-parameter", run_id=run_id, key=key, value=value)
        return run_id


@contextmanager
def started(home: Path) -> Iterator[Tracking]:
    """A tracking server on SQLite below `home`."""
    port = servers.free_port()
    store = f"sqlite:///{home / 'mlflow.db'}"
    programs = environments.made(REQUIREMENTS, environments.HOME / "mlflow")
    command = [str(programs / "mlflow"), "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--default-artifact-root", str(home / "artefacts")]
    quiet = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with servers.running(command, port=port, seconds=120, env=quiet):
        yield Tracking(f"http://127.0.0.1:{port}")

"""A real Prometheus that knows a past: blocks made by promtool from OpenMetrics text before it starts."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests import servers

INSTALL = "apt-get install -y --no-install-recommends prometheus"


def metric(name: str, kind: str, series: Mapping[str, Sequence[tuple[datetime, object]]]) -> str:
    """A metric in OpenMetrics text: its series by their labels (`pod="a"`), each with its readings."""
    lines = [f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}"]
    for labels, readings in series.items():
        lines += [f"{name}{{{labels}}} {value} {at.timestamp()}" for at, value in readings]
    return "\n".join([*lines, ""])


def backfill(folder: Path, text: str) -> None:
    """Makes blocks of OpenMetrics text (without its end) in the data of a server."""
    folder.mkdir(exist_ok=True)
    source = folder / "om.txt"
    source.write_text(text + "# EOF\n", encoding="utf-8")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(source), str(folder / "data")]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool: {done.stderr.decode()[-2000:]}")


@contextmanager
def started(folder: Path, text: str = "", *, port: int = 0, web_config: str = "") -> Iterator[str]:
    """The address of a server that scrapes nothing; stops with the block. It has what `text` says and what was in its folder
    before: started again with the same folder and port, it has late data besides.
    """
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.fail(f"this test needs Prometheus; install it with: {INSTALL}", pytrace=False)
    if text:
        backfill(folder, text)
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text("global: {}\n")
    port = port or servers.free_port()
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=10y",
        "--log.level=error",
    ]
    if web_config:
        (folder / "web.yml").write_text(web_config)
        command.append(f"--web.config.file={folder}/web.yml")
    with servers.running(command, port=port):
        _wait(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


def _wait(address: str) -> None:
    for _ in range(200):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(address).status_code in (200, 401):
                return
        time.sleep(0.05)
    raise RuntimeError(f"{address} did not answer 200")

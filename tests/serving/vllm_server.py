"""A real vLLM on CPU with the gate as its middleware."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

MODEL = "tiny-w8a8"
START_SECONDS = 240
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


class DidNotStart(Exception):
    """vLLM ended or did not become healthy; the message names its log."""


@contextlib.contextmanager
def running(
    *, python: Path, model: Path, port: int, log: Path, gate: dict[str, str], more: Sequence[str] = ()
) -> Iterator[str]:
    """Its address while it runs; `gate` is the environment of the gate, `more` are options that win over ours.

    Raises DidNotStart.
    """
    command = [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--middleware", "costobs_gate.Gate"),
        *("--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "8", "--kv-cache-memory-bytes", "64M"),
        *("--enable-prompt-tokens-details", "--shutdown-timeout", "10"),
        *more,
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COSTOBS_", "PYTHON"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**inherited, **OFFLINE, **gate}, stdout=output, stderr=output, start_new_session=True
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(process, url, log)
            yield url
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DidNotStart(f"vLLM ended with {process.returncode}; see {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.5)
    raise DidNotStart(f"vLLM was not healthy after {START_SECONDS} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
    # Its engine and workers are processes of the same group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)

"""`python -m tests.serving.record_steps`: records what a real vLLM does in each engine step, and what a gate before it says.

Three teams send requests of different shapes, now few and now many at once; some share long prefixes, some hang up. The
scheduler inside vLLM writes which request got how many tokens in each step and how long the step took; vLLM's own log has the
same steps as sums; the gate has what costobs is told. The result is `tests/golden/vllm_steps/`, see its README.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.gate import costobs_server
from tests.gate.costobs_server import TOKEN, CostobsServer
from tests.serving import install, run, vllm_server

GOLDEN = install.ROOT / "tests" / "golden" / "vllm_steps"
SIZE = ("1024", "12", "8192")  # hidden, layers, vocabulary: 200 million weights
KEYS = {"answers": "sk-answers", "chat": "sk-chat", "agents": "sk-agents"}
OPTIONS = (
    *("--max-model-len", "3072", "--max-num-seqs", "8", "--kv-cache-memory-bytes", "1G"),
    *("--scheduler-cls", "step_scheduler.StepScheduler", "--no-async-scheduling"),
    "--enable-logging-iteration-details",
)
ITERATION = re.compile(r"Iteration\(\d+\): .*")
WORDS = [
    "cost",
    "of",
    "serving",
    "large",
    "models",
    "by",
    "team",
    "and",
    "window",
    "the",
    "bill",
    "step",
    "token",
    "cache",
]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: when, of whom, how long, and whether the client leaves early."""

    after: float
    team: str
    words: int
    shared_words: int
    max_tokens: int
    stream: bool
    leaves_after: int  # tokens; 0 = stays


# Requests in a second, in the quiet and in the crowded spells of a recording.
LOADS = {"quiet": (0.45, 1.35), "busy": (1.1, 2.0)}


def plan(*, load: str, seconds: float, seed: int) -> list[Ask]:
    """Quiet and crowded spells in turn. Answers have long shared prompts, chats long streams, agents a bit of both."""
    chance = random.Random(seed)
    found, at = [], 0.0
    while at < seconds:
        is_crowded = int(at / 15) % 2 == 1
        at += chance.expovariate(LOADS[load][is_crowded])
        team = chance.choices(["answers", "chat", "agents"], [4, 4, 3])[0]
        if team == "answers":
            ask = Ask(at, team, chance.randint(80, 420), chance.choice([0, 300, 300]), chance.randint(12, 60), True, 0)
        elif team == "chat":
            leaves = chance.randint(10, 40) if chance.random() < 0.12 else 0
            ask = Ask(at, team, chance.randint(20, 120), 0, chance.randint(60, 220), True, leaves)
        else:
            stream = chance.random() < 0.75
            ask = Ask(at, team, chance.randint(60, 300), chance.choice([0, 200]), chance.randint(30, 120), stream, 0)
        found.append(ask)
    return found


def text(ask: Ask, number: int) -> str:
    """A shared beginning that the prefix cache knows, and an end that nobody has sent before."""
    shared = random.Random(ask.team)
    own = random.Random(number)
    words = [shared.choice(WORDS) for _ in range(ask.shared_words)] + [f"{number}"]
    return " ".join([*words, *(f"{own.choice(WORDS)}" for _ in range(ask.words))])


async def send(client: httpx.AsyncClient, ask: Ask, number: int, begun: float) -> int:
    """The status of one request that is sent in its time."""
    await asyncio.sleep(max(0.0, begun + ask.after - time.monotonic()))
    body = {
        "model": vllm_server.MODEL,
        "messages": [{"role": "user", "content": text(ask, number)}],
        "max_tokens": ask.max_tokens,
        "ignore_eos": True,
        "stream": ask.stream,
    }
    headers = {"Authorization": f"Bearer {KEYS[ask.team]}"}
    if not ask.stream:
        return (await client.post("/v1/chat/completions", json=body, headers=headers)).status_code
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        seen = 0
        async for line in answer.aiter_lines():
            seen += line.startswith("data: {")
            if ask.leaves_after and seen > ask.leaves_after:
                break
        return answer.status_code


async def traffic(url: str, asks: list[Ask]) -> None:
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        for _ in range(2):  # shapes that the kernels have not seen yet are slower once
            await send(client, Ask(0, "chat", 200, 0, 8, True, 0), 10_000, 0)
        begun = time.monotonic()
        statuses = await asyncio.gather(*(send(client, ask, number, begun) for number, ask in enumerate(asks)))
    assert set(statuses) == {200}, statuses


def policy() -> dict[str, Any]:
    keys = [costobs_server.key(secret, f"key_{team}", team) for team, secret in KEYS.items()]
    return {**costobs_server.policy(), "deployment": "vllm-m200", "keys": keys}


def record(*, python: Path, model: Path, work: Path, asks: list[Ask]) -> tuple[list[dict[str, Any]], Path, Path]:
    """Runs the traffic; the gate's events, the scheduler's log and vLLM's own."""
    steps, log = work / "steps.ndjson", work / "vllm.log"
    costobs = CostobsServer()
    costobs.publish(policy())
    environment = {
        "COSTOBS_URL": costobs.url,
        "COSTOBS_GATE_TOKEN": TOKEN,
        "COSTOBS_GATE_DIR": str(work / "gate"),
        "COSTOBS_ENVIRONMENT": "recording",
        "PYTHONPATH": str(Path(__file__).parent / "inside_vllm"),
        "STEP_LOG": str(steps),
    }
    port = run.free_port()
    with vllm_server.running(python=python, model=model, port=port, log=log, gate=environment, more=OPTIONS) as url:
        costobs_server.wait_until(lambda: 304 in costobs.asked)
        asyncio.run(traffic(url, asks))
    costobs.wait_for(lambda: len(settled(costobs.events)) == len(asks) + 2)
    costobs.close()
    return settled(costobs.events), steps, log


def settled(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["outcome"] != "unknown"]


def write(events: list[dict[str, Any]], steps: Path, log: Path, about: dict[str, Any], to: Path) -> None:
    """The files of a recording. Ids are numbered, so that the same log compresses well."""
    events = sorted(events, key=lambda event: event["occurred_at"])
    short = {event["event_id"]: f"r{number:03}" for number, event in enumerate(events)}
    for event in events:
        event["event_id"] = short[event["event_id"]]
    lines = [json.loads(line) for line in steps.read_text().splitlines()]
    to.mkdir(parents=True, exist_ok=True)
    _write(to / "steps.ndjson.gz", _steps(lines, short))
    _write(to / "requests.ndjson.gz", _requests(lines, short))
    _write(to / "gate.ndjson.gz", (json.dumps(event) for event in events))
    _write(to / "iterations.log.gz", ITERATION.findall(log.read_text(errors="replace")))
    (to / "about.json").write_text(json.dumps(about, indent=2) + "\n")


def _name(request: str, short: dict[str, str]) -> str:
    """chatcmpl-<the gate's id>-<eight digits of the engine> -> the short name of the gate's id."""
    return short[request.removeprefix("chatcmpl-").rsplit("-", 1)[0]]


def _steps(lines: list[dict[str, Any]], short: dict[str, str]) -> Iterator[str]:
    for line in lines:
        if "ms" in line:
            tokens = {_name(request, short): share for request, share in line["tokens"].items()}
            yield json.dumps({**line, "tokens": tokens}, separators=(",", ":"))


def _requests(lines: list[dict[str, Any]], short: dict[str, str]) -> Iterator[str]:
    for line in lines:
        if "request" in line:
            yield json.dumps({**line, "request": _name(line["request"], short)}, separators=(",", ":"))


def _write(path: Path, lines: Any) -> None:
    with gzip.GzipFile(filename="", fileobj=path.open("wb"), mode="wb", mtime=0) as file:
        for line in lines:
            file.write(f"{line}\n".encode())


def model_of(quantizer: Path, scheme: str) -> Path:
    """The model, made when it is missing: random weights, and the same quantized."""
    plain, quantized = run.HOME / "model-m200-bf16", run.HOME / "model-m200-w8a8"
    if not (quantized / "config.json").exists():
        script = install.HERE / "make_model.py"
        subprocess.run([quantizer, str(script), str(plain), str(quantized), *SIZE], check=True, capture_output=True)
    return plain if scheme == "bf16" else quantized


def processor() -> str:
    with contextlib.suppress(OSError):
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        return f"{len(names)} × {names[0]}" if names else platform.processor()
    return platform.processor()


def main() -> int:
    """Install, record, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.serving.record_steps", description=__doc__)
    parser.add_argument("--load", choices=LOADS, default="busy")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scheme", choices=("bf16", "w8a8"), default="w8a8")
    asked = parser.parse_args()
    try:
        python, quantizer = install.environments(run.HOME)
    except install.NotAvailable as problem:
        print(f"record_steps: {problem}", file=sys.stderr)
        return 2
    model = model_of(quantizer, asked.scheme)
    work = run.HOME / "recording"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    asks = plan(load=asked.load, seconds=asked.seconds, seed=asked.seed)
    events, steps, log = record(python=python, model=model, work=work, asks=asks)
    about = {
        "versions": install.versions(python, quantizer),
        "processor": processor(),
        "model": f"random Llama, hidden {SIZE[0]}, {SIZE[1]} layers, vocabulary {SIZE[2]}, {asked.scheme}",
        "options": list(OPTIONS),
        "load": asked.load,
        "seconds": asked.seconds,
        "seed": asked.seed,
    }
    write(events, steps, log, about, GOLDEN / f"{asked.load}-{asked.scheme}")
    print(f"{len(events)} requests, {sum('"ms"' in line for line in steps.read_text().splitlines())} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())

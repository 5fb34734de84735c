"""`make test-serving`: a real vLLM on CPU with a quantized model behind the gate, held to a budget by costobs.

Exits 0 when everything held, 1 when something did not, 2 when this machine cannot have what it needs.
"""

import argparse
import shutil
import socket
import sys
import time
import traceback
from pathlib import Path

from tests.serving import budget_check, costobs_stack, gate_check, install, vllm_server

HOME = install.ROOT / ".costobs" / "serving"


def main() -> int:
    """Install, then both acts: the gate alone, and the whole product."""
    parser = argparse.ArgumentParser(prog="make test-serving", description=__doc__)
    parser.add_argument("--only", choices=("gate", "budget"), help="one of the two acts")
    only = parser.parse_args().only
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begun:6.1f} s] {text}", flush=True)

    try:
        python, quantizer = install.environments(HOME)
        model = install.models(HOME, quantizer)
    except install.NotAvailable as problem:
        print(f"make test-serving: {problem}", file=sys.stderr)
        return 2
    say("versions: " + install.versions(python, quantizer))
    work = HOME / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        if only != "budget":
            gate_check.check(python=python, model=model, port=free_port(), work=work, say=say)
        if only != "gate":
            ports = (free_port(), free_port(), free_port())
            budget_check.check(python=python, model=model, ports=ports, work=work, say=say)
    except (AssertionError, vllm_server.DidNotStart, costobs_stack.DidNotStart) as problem:
        traceback.print_exc()
        say(f"FAILED: {problem}")
        print(f"logs: {work.relative_to(Path.cwd())}", file=sys.stderr)
        return 1
    say("passed")
    return 0


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

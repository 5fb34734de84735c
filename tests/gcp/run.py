"""`make test-gcp`: the billing export of Google Cloud, written to and read from an emulated BigQuery (bqemulator).

Exits 0 when everything held, 1 when something did not, 2 when this machine cannot have what it needs.
"""

import os
import subprocess
import sys

from tests import servers
from tests.gcp import install

HOME = install.ROOT / ".costobs" / "gcp"


def main() -> int:
    """Install, start the emulator on loopback, run the checks against it."""
    try:
        program = install.environment(HOME)
    except install.NotAvailable as problem:
        print(f"make test-gcp: {problem}", file=sys.stderr)
        return 2
    port, second = servers.free_port(), servers.free_port()
    command = [str(program), "start", "--rest-port", str(port), "--grpc-port", str(second)]
    with servers.running(command, port=port, seconds=60, env=install.environ(HOME)):
        checks = [sys.executable, "-m", "pytest", "-q", "tests/gcp/billing_check.py", *sys.argv[1:]]
        environment = {**os.environ, "COSTOBS_BIGQUERY": f"http://127.0.0.1:{port}"}
        return subprocess.run(checks, cwd=install.ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

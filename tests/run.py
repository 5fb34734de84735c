"""`make test`: every check in turn, then the test suite; `python -m tests.run lint` leaves the suite out."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What the tests run against besides Python packages: program names, Debian package, variable that names another copy.
PROGRAMS = (
    (("chromium", "chromium-browser", "google-chrome"), "chromium", "CHROMIUM"),
    (("prometheus",), "prometheus", "PROMETHEUS"),
    # For azurite, which is an npm package (tests/servers/azurite.py).
    (("node", "nodejs"), "nodejs", "NODE"),
    (("npm",), "npm", "NPM"),
)
CHECKS = (
    ("ruff", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types", ("mypy",)),
    ("import contracts", ("lint-imports",)),
    ("missing migrations", ("costobs", "makemigrations", "--check", "--dry-run")),
    ("templates", ("djlint", "templates", "--lint", "--quiet")),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended."""

    name: str
    status: int
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Runs all checks, whatever fails before, and the suite last. Returns 0 when everything passed."""
    has_suite = list(argv) != ["lint"]
    if has_suite and not ensure_programs():
        return 1
    with tempfile.TemporaryDirectory(prefix="costobs-checks-", ignore_cleanup_errors=True) as data:
        environment = {**os.environ, "COSTOBS_DATA": data}
        outcomes = [_run(name, command, environment) for name, command in CHECKS]
    _report(outcomes)
    failed = any(outcome.status for outcome in outcomes)
    if has_suite:
        suite = _run("tests", ("pytest", "-n", os.environ.get("COSTOBS_TEST_WORKERS", "2")), dict(os.environ))
        failed = failed or suite.status != 0
        if failed:
            names = [outcome.name for outcome in [*outcomes, suite] if outcome.status]
            sys.stdout.write(f"FAILED: {', '.join(names)}\n")
    return 1 if failed else 0


def ensure_programs() -> bool:
    """Whether the programs are here. Root on Debian gets the missing ones installed, others the line to run."""
    missing = _missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stdout.write(f"installing {' '.join(missing)}\n")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment, check=False
        )
        missing = _missing()
    if missing:
        become = "" if os.geteuid() == 0 else "sudo "
        variables = " and ".join(variable for _, package, variable in PROGRAMS if package in missing)
        sys.stdout.write(f"the tests need {' and '.join(missing)}; install with:\n")
        sys.stdout.write(f"  {become}apt-get install -y {' '.join(missing)}\n")
        sys.stdout.write(f"or name the programs with {variables}, then run this again.\n")
    return not missing


def _missing() -> list[str]:
    return [
        package
        for names, package, variable in PROGRAMS
        if not shutil.which(os.environ.get(variable, "")) and not any(map(shutil.which, names))
    ]


def _run(name: str, command: Sequence[str], environment: dict[str, str]) -> Outcome:
    sys.stdout.write(f"\n--- {name}: {' '.join(command)}\n")
    sys.stdout.flush()
    began = time.monotonic()
    # The programs of this environment, whatever else is called so on PATH.
    program = Path(sys.executable).with_name(command[0])
    status = subprocess.run([str(program), *command[1:]], cwd=ROOT, env=environment, check=False).returncode
    return Outcome(name, status, time.monotonic() - began)


def _report(outcomes: Sequence[Outcome]) -> None:
    sys.stdout.write("\n")
    for outcome in outcomes:
        word = "passed" if outcome.status == 0 else f"FAILED with {outcome.status}"
        sys.stdout.write(f"{outcome.name:<20} {word} in {outcome.seconds:.1f} s\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

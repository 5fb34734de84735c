"""The FinOps Foundation's focus-validator, in an environment of its own: it pins libraries that the product has newer."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import environments

REQUIREMENTS = Path(__file__).with_name("requirements-focus-validator.txt")
VALIDATOR = "focus-validator==2.2.1"
VERSION = "1.2.0.1"
_TOTAL = re.compile(r"Total: (\d+) \| Pass: (\d+) \| Fail: (\d+) \| Skipped: (\d+)")
_FAILED = re.compile(r"^\W*([A-Za-z]+-[A-Z]-\d{3}-[A-Z]): FAIL", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the validator said of one file; `failed` are the ids of its rules."""

    passed: int
    failed: frozenset[str]
    skipped: int


def validate(file: Path) -> Verdict:
    """Runs the validator. It exits with 0 whatever it finds, so its words are read. Raises RuntimeError when there are none."""
    programs = environments.made(REQUIREMENTS, environments.HOME / "focus-validator", _finish)
    python = programs / "python"
    # It opens its list of currencies relative to where it is started.
    home = subprocess.run(
        [python, "-c", "import focus_validator, pathlib; print(pathlib.Path(focus_validator.__file__).parents[1])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    command = [programs / "focus-validator", "--data-file", file, "--validate-version", VERSION, "--block-download"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    found = _TOTAL.search(done.stdout)
    if found is None:
        raise RuntimeError(f"focus-validator said nothing to read:\n{(done.stdout + done.stderr)[-2000:]}")
    failed = frozenset(_FAILED.findall(done.stdout))
    if len(failed) != int(found[3]):
        raise RuntimeError(f"focus-validator counts {found[3]} failures and names {len(failed)}")
    return Verdict(int(found[2]), failed, int(found[4]))


def _finish(python: Path) -> None:
    """The validator asks for NumPy 1, which has no wheel for this Python; it runs with NumPy 2, so it comes without its pins."""
    own = environments.ROOT / ".costobs" / "tools" / "bin" / "uv"
    if uv := os.environ.get("UV") or shutil.which("uv") or (str(own) if own.exists() else ""):
        environments.run([uv, "pip", "install", "--quiet", "--no-deps", "--python", python, VALIDATOR])
    else:
        environments.run([python, "-m", "pip", "install", "--quiet", "--no-deps", VALIDATOR])

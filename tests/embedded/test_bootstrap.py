"""The set-up script, on machines made of a few fake programs."""

import hashlib
import io
import os
import shutil
import subprocess
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from costobs.embedded import fetch_uv

SCRIPT = Path(fetch_uv.__file__).with_name("bootstrap.sh")
# A uv that says which copy of it ran, and makes the environment that the script then enters.
_UV = """#!/bin/sh
[ "$1" = --version ] && exit 0
[ "$1" = sync ] && { echo "$0 $*" >> "$TRACE"; echo "UV_PYTHON=$UV_PYTHON" >> "$TRACE"; exit 0; }
exit 1
"""
_PYTHON = """#!/bin/sh
case "$2" in
    *version_info*) exit 0 ;;
    *executable*) echo "$0" ;;
esac
"""
_LIE = "#!/bin/sh\necho 'pyenv: uv: command not found' >&2\nexit 127\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout and an empty home; PATH holds `bin` and the base commands only."""
    room = tmp_path / "checkout" / "costobs" / "embedded"
    room.mkdir(parents=True)
    for name in (SCRIPT.name, "fetch_uv.py"):
        shutil.copy(SCRIPT.with_name(name), room)
    base = tmp_path / "base"
    base.mkdir()
    for name in ("sh", "dirname", "mkdir", "printf", "ln", "echo", "env"):
        found = shutil.which(name)
        assert found is not None
        (base / name).symlink_to(found)
    return tmp_path


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _setup(machine: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{machine / 'bin'}{os.pathsep}{machine / 'base'}",
        "HOME": str(machine / "home"),
        "TRACE": str(machine / "trace"),
        **variables,
    }
    script = machine / "checkout" / "costobs" / "embedded" / SCRIPT.name
    return subprocess.run(
        ["/bin/sh", str(script), *command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_it_passes_over_a_uv_and_a_python_that_only_seem_to_be_there(machine: Path) -> None:
    _program(machine / "bin" / "uv", _LIE)
    _program(machine / "bin" / "python3.13", _LIE)
    uv = _program(machine / "home" / ".pyenv" / "versions" / "3.11.7" / "bin" / "uv", _UV)
    python = _program(machine / "home" / ".pyenv" / "versions" / "3.12.1" / "bin" / "python3", _PYTHON)

    done = _setup(machine, "echo", "in the environment")

    assert (done.returncode, done.stdout) == (0, "in the environment\n"), done.stderr
    assert (machine / "trace").read_text() == f"{uv} sync --frozen --quiet\nUV_PYTHON={python}\n"


def test_it_puts_the_environment_first_on_the_path(machine: Path) -> None:
    _program(machine / "bin" / "uv", _UV)
    _program(machine / "bin" / "python3", _PYTHON)
    _program(machine / "checkout" / ".venv" / "bin" / "costobs", "#!/bin/sh\necho the right one $1\n")

    done = _setup(machine, "costobs", "up")

    assert done.stdout == "the right one up\n", done.stderr


def test_it_hands_on_the_exit_status_of_the_command(machine: Path) -> None:
    _program(machine / "bin" / "uv", _UV)
    _program(machine / "bin" / "python3", _PYTHON)

    assert _setup(machine, "sh", "-c", "exit 7").returncode == 7


def test_it_says_what_to_install_when_uv_cannot_be_had(machine: Path) -> None:
    old = _program(
        machine / "bin" / "python3",
        '#!/bin/sh\ncase "$2" in *"(3, 8)"*) exit 0 ;; *executable*) echo "$0"; exit 0 ;; esac\nexit 1\n',
    )

    done = _setup(machine, "echo", "no")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:] == [
        f"setup: uv could not be installed with {old}.",
        "setup: Install it by hand (https://docs.astral.sh/uv/), then run this again.",
    ]


def test_it_fetches_uv_with_nothing_but_the_standard_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "uv-9.9.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    _index(tmp_path, name, b"#!/bin/sh\necho uv 9.9.9\n")
    monkeypatch.setattr(fetch_uv.platform, "system", lambda: "Linux")
    monkeypatch.setattr(fetch_uv.platform, "machine", lambda: "x86_64")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple/")

    fetch_uv.main(tmp_path / "bin")

    server.shutdown()
    assert subprocess.run([tmp_path / "bin" / "uv"], capture_output=True, check=True).stdout == b"uv 9.9.9\n"


def test_it_takes_the_newest_release_of_the_platform() -> None:
    digest = "0" * 64
    names = ["uv-0.9.9-py3-none-{}.whl", "uv-0.10.0-py3-none-{}.whl", "uv-0.11.0rc1-py3-none-{}.whl"]
    tags = ["manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_28_aarch64", "musllinux_1_1_x86_64"]
    links = [f"https://files.example/{name.format(tag)}#sha256={digest}" for name in names for tag in tags]

    url, _ = fetch_uv.newest(links, "Linux", "x86_64")

    assert url == f"https://files.example/uv-0.10.0-py3-none-{tags[0]}.whl"


def _index(root: Path, name: str, program: bytes) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("uv-9.9.9.data/scripts/uv", program)
    (root / "simple" / "uv").mkdir(parents=True)
    (root / "files").mkdir()
    (root / "files" / name).write_bytes(wheel.getvalue())
    digest = hashlib.sha256(wheel.getvalue()).hexdigest()
    page = f'<a href="../../files/{name}#sha256={digest}">{name}</a>'
    (root / "simple" / "uv" / "index.html").write_text(page)


def test_it_knows_the_index_from_the_lock_file_when_nothing_else_names_one(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text('[[package]]\nsource = { registry = "https://index.example/simple" }\n')

    assert fetch_uv.locked_index(lock) == "https://index.example/simple"
    with pytest.raises(SystemExit, match="UV_DEFAULT_INDEX"):
        fetch_uv.locked_index(tmp_path / "none")

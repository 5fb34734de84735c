"""An Azure Blob server (azurite, locked beside this file) with what a test does to it: make a client, put blobs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from tests import servers

HERE = Path(__file__).with_name("azurite")
INSTALL = "apt-get install -y nodejs npm"
# The account that every azurite has; its key is part of azurite's documentation, no secret.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CREDENTIALS = {"account_key": KEY}


@dataclass(frozen=True, slots=True)
class Azurite:
    """Where the server is: `config` are the settings of a source that reads from it."""

    endpoint_url: str

    @property
    def config(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint_url}

    def client(self) -> BlobServiceClient:
        """A client of the account, for what a test prepares."""
        return BlobServiceClient(self.endpoint_url, credential={"account_name": ACCOUNT, "account_key": KEY})

    def put(self, container: str, files: dict[str, bytes]) -> None:
        """Writes blobs, over those that are there; the container is made when it is missing."""
        held = self.client().get_container_client(container)
        if not held.exists():
            held.create_container()
        for name, content in files.items():
            held.upload_blob(name, content, overwrite=True)


@contextmanager
def started() -> Iterator[Azurite]:
    """An azurite; its blobs are gone afterwards."""
    installed()
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="costobs-azurite-", ignore_cleanup_errors=True) as location:
        command = [_node(), str(_program()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        command += ["--location", location, "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
        with servers.running(command, port=port, seconds=60):
            yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")


def installed() -> None:
    """Installs the locked packages when they are missing or others. Workers that come at once wait for the first."""
    with (HERE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read()).hexdigest()
        stamp = HERE / "node_modules" / ".installed"
        if _program().exists() and stamp.exists() and stamp.read_text() == wanted:
            return
        npm = os.environ.get("NPM") or shutil.which("npm")
        if not npm:
            raise RuntimeError(f"the tests of Azure Blob need npm; install it with: {INSTALL}")
        # Exactly the locked versions, checked against their integrity hashes; no package runs a script here.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"npm ci failed in {HERE}:\n{(done.stdout + done.stderr)[-2000:]}")
        stamp.write_text(wanted)


def _program() -> Path:
    return HERE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _node() -> str:
    found = os.environ.get("NODE") or shutil.which("node") or shutil.which("nodejs")
    if not found:
        raise RuntimeError(f"the tests of Azure Blob need Node.js; install it with: {INSTALL}")
    return found

"""Puts the `uv` program into a directory: for a Python 3 that has neither venv nor pip. Runs on Python 3.8 and later.

python3 fetch_uv.py DIRECTORY; the index is UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL or the one uv.lock was made with.
"""

from __future__ import annotations  # for 3.8

import hashlib
import html.parser
import io
import os
import platform
import re
import stat
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_LOCK = Path(__file__).resolve().parent.parent.parent / "uv.lock"
_PLATFORMS = {
    ("Linux", "x86_64"): r"manylinux.*_x86_64",
    ("Linux", "aarch64"): r"manylinux.*_aarch64",
    ("Darwin", "x86_64"): r"macosx.*_x86_64",
    ("Darwin", "arm64"): r"macosx.*_arm64",
}


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.extend(value for name, value in attrs if tag == "a" and name == "href" and value)


def main(directory: Path) -> None:
    """Fetches the newest wheel of this platform, checks its SHA-256 and unpacks the program."""
    index = next((os.environ[name] for name in _INDEX_VARIABLES if os.environ.get(name)), None) or locked_index(_LOCK)
    page = index.rstrip("/") + "/uv/"
    links = _Links()
    links.feed(_read(page).decode("utf-8"))
    url, digest = newest(links.found, platform.system(), platform.machine())
    wheel = _read(urllib.parse.urljoin(page, url))
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise SystemExit("the wheel of uv does not have the SHA-256 that the index names: expected " + digest)
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"uv-[^/]+\.data/scripts/uv", name))
        program = directory / "uv"
        program.write_bytes(archive.read(name))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def locked_index(lock: Path) -> str:
    """The index that the packages of the lock file come from. Exits when it names none."""
    found = re.search(r'registry = "(https?://[^"]+)"', lock.read_text(encoding="utf-8") if lock.exists() else "")
    if found is None:
        raise SystemExit("no package index is known: set UV_DEFAULT_INDEX")
    return found.group(1)


def newest(links: list[str], system: str, machine: str) -> tuple[str, str]:
    """The address and SHA-256 of the newest released wheel for a platform. Exits when the index has none."""
    wanted = _PLATFORMS.get((system, machine))
    found = []
    for link in links:
        match = re.search(r"/?uv-(\d+)\.(\d+)\.(\d+)-py3-none-([\w.]+)\.whl#sha256=([0-9a-f]{64})$", link)
        if match and wanted and re.search(wanted, match.group(4)):
            found.append((tuple(int(part) for part in match.groups()[:3]), link.split("#")[0], match.group(5)))
    if not found:
        raise SystemExit("the index has no wheel of uv for " + system + " " + machine)
    _version, url, digest = max(found)
    return url, digest


def _read(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise SystemExit("not a web address: " + url)
    with urllib.request.urlopen(url, timeout=120) as response:  # noqa: S310  (checked above)
        return bytes(response.read())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

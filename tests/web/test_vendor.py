"""The browser's files of others are the ones that were reviewed, with their licences beside them."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
LOCK = json.loads((VENDOR / "vendor.lock").read_text())
BY_HAND = {"package.json", "package-lock.json", "vendor.lock", "collect.py", "THIRD_PARTY.md", "lucide/icons.txt"}


@pytest.mark.parametrize("entry", LOCK, ids=lambda entry: entry["file"])
def test_it_serves_the_file_that_was_locked(entry: dict[str, str]) -> None:
    digest = hashlib.sha384((VENDOR / entry["file"]).read_bytes()).digest()

    assert entry["sha384"] == "sha384-" + base64.b64encode(digest).decode()


def test_it_holds_nothing_that_is_not_locked() -> None:
    present = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}

    assert present - BY_HAND == {entry["file"] for entry in LOCK}


def test_it_pins_the_versions_it_locked() -> None:
    wanted = json.loads((VENDOR / "package.json").read_text())["dependencies"]

    assert {entry["name"]: entry["version"] for entry in LOCK} == wanted


def test_it_has_a_licence_beside_each_package() -> None:
    folders = {entry["file"].split("/")[0] for entry in LOCK}

    assert all((VENDOR / folder / "LICENSE.txt").read_text().strip() for folder in folders)
    assert all(folder in (VENDOR / "THIRD_PARTY.md").read_text() for folder in folders)


def test_it_holds_every_icon_that_is_listed() -> None:
    names = (VENDOR / "lucide" / "icons.txt").read_text().split()
    sprite = (VENDOR / "lucide" / "sprite.svg").read_text()

    assert [name for name in names if f'id="{name}"' not in sprite] == []
    assert sprite.count("<symbol ") == len(names)

"""The keys of an installation."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from costobs.embedded import keys


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSTOBS_DATA", str(tmp_path))
    monkeypatch.delenv("COSTOBS_SECRET_KEY", raising=False)
    monkeypatch.delenv("COSTOBS_FERNET_KEY", raising=False)


def test_it_makes_a_key_once_and_keeps_it(tmp_path: Path) -> None:
    first = keys.secret_key()

    assert len(first) >= 50
    assert keys.secret_key() == first
    assert stat.S_IMODE((tmp_path / "keys" / "secret.key").stat().st_mode) == 0o600


def test_it_makes_a_key_that_encrypts() -> None:
    box = Fernet(keys.fernet_key())

    assert box.decrypt(box.encrypt(b"secret")) == b"secret"


def test_it_gives_everyone_the_same_key_when_many_ask_first() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: keys.fernet_key(), range(32)))

    assert len(found) == 1


def test_it_prefers_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSTOBS_SECRET_KEY", "given")

    assert keys.secret_key() == "given"
    assert not (tmp_path / "keys").exists()

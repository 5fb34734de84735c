"""Where things are kept."""

from pathlib import Path

import dj_database_url
import pytest

from costobs.embedded import paths


def test_it_takes_the_data_directory_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSTOBS_DATA", str(tmp_path / "books"))

    assert paths.data_dir() == tmp_path / "books"


def test_it_resolves_a_relative_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTOBS_DATA", "d")

    assert paths.data_dir() == tmp_path / "d"


def test_it_keeps_data_in_the_checkout_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTOBS_DATA")

    assert paths.data_dir() == Path(paths.__file__).resolve().parents[2] / ".costobs"


def test_it_keeps_sockets_beside_the_data_while_their_path_is_short() -> None:
    assert paths.run_dir(Path("/srv/books")) == Path("/srv/books/run")


def test_it_moves_the_sockets_of_a_long_path_to_a_short_directory_of_its_own() -> None:
    one, other = Path("/srv") / ("deep/" * 20), Path("/srv") / ("down/" * 20)

    assert len(str(paths.run_dir(one))) < 80
    assert paths.run_dir(one) == paths.run_dir(one)
    assert paths.run_dir(one) != paths.run_dir(other)


def test_it_gives_an_address_that_keeps_capitals_and_spaces_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    parsed = dj_database_url.parse(paths.database_url(Path("/srv/My Books")))

    assert (parsed["NAME"], parsed["USER"], parsed["HOST"]) == ("costobs", "postgres", "")
    assert parsed["OPTIONS"] == {"host": "/srv/My Books/run"}


def test_it_lets_the_environment_replace_each_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/costobs")
    monkeypatch.setenv("BROKER_URL", "redis://cache/0")

    assert paths.database_url() == "postgresql://db/costobs"
    assert paths.broker_url() == "redis://cache/0"

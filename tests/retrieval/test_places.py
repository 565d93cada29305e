"""The default index's place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from retrieval import default_index_dir


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("RETRIEVE_INDEX", raising=False)
    return tmp_path


def test_by_the_platforms_convention(home: Path) -> None:
    share = {"darwin": "Library/Application Support"}.get(sys.platform, ".local/share")
    assert default_index_dir() == home / share / "earmark" / "index"


def test_the_environment_has_its_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVE_INDEX", "/music/index")
    assert default_index_dir() == Path("/music/index")
    monkeypatch.setenv("RETRIEVE_INDEX", "~/index")
    assert default_index_dir() == home / "index"


def test_an_empty_variable_says_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVE_INDEX", "")
    assert default_index_dir().is_relative_to(home)


def test_asking_makes_nothing(home: Path) -> None:
    default_index_dir()
    assert list(home.iterdir()) == []

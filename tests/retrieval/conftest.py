"""A small music library with awkward names, and its index by the shipped model, made by the command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import soundfile
from cli_helpers import AWKWARD_NAMES, RATE_HZ, Call, Run, run_python, tone

from retrieval.cli.app import main


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven sound files of 12 s and two files that are none."""
    import mutagen

    folder = tmp_path_factory.mktemp("library")
    for number, name in enumerate(AWKWARD_NAMES):
        path = os.fsdecode(os.path.join(os.fsencode(folder), name))
        kind = {".flac": "FLAC", ".ogg": "OGG", ".wav": "WAV"}[os.path.splitext(path)[1]]
        with open(path, "wb") as file:  # libsndfile's own opening takes no bytes outside UTF-8
            soundfile.write(file, tone(pitch_hz=110.0 * 2**number, duration_s=12.0, seed=number), RATE_HZ, format=kind)
    tags = mutagen.File(folder / "plain.flac")
    tags["title"], tags["artist"], tags["album"] = (
        "A title\nof two lines \x1b[2J",
        "[red]Someone[/red]",
        "Album",
    )
    tags.save()
    (folder / "a text.mp3").write_text("no sound at all")
    (folder / "empty.wav").touch()
    return folder


@pytest.fixture(scope="session")
def music_index(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of `library`, to read only."""
    place = tmp_path_factory.mktemp("index") / "music.index"
    with pytest.raises(SystemExit) as end:
        main(["index", "build", str(library), "--index", str(place), "--workers", "1"])
    assert end.value.code == 0
    return place


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a test may make an index."""
    return tmp_path / "index"


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """An empty folder for music."""
    (tmp_path / "music").mkdir()
    return tmp_path / "music"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command in this process: (exit status, stdout, stderr)."""

    def called(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), out, err

    return called


@pytest.fixture
def run() -> Run:
    """Run the command as a process of its own."""

    def ran(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "retrieval", *map(str, arguments), env=env)

    return ran

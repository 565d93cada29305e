"""`retrieve index verify` and `retrieve index repair`, and what the other commands say of a damaged index."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
import soundfile
from cli_helpers import RATE_HZ, Call, tone

from index import VectorIndex
from index.lock import WriterLock

sys.path.insert(0, str(Path(__file__).parents[2] / "index"))
from damage import PART, ROW_DAMAGES, overwrite
from index_helpers import largest_file

ROW_BYTES = 256 * 4
QUERY = "piano"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `songs` of three files and their `index`, to be copied."""
    from retrieval.cli.app import main

    folder = tmp_path_factory.mktemp("whole")
    (folder / "songs").mkdir()
    for number, name in enumerate(("one.wav", "two.wav", "three.wav")):
        soundfile.write(folder / "songs" / name, tone(pitch_hz=110.0 * 2**number, duration_s=7.0), RATE_HZ)
    with pytest.raises(SystemExit):
        main(["index", "build", str(folder / "songs"), "--index", str(folder / "index"), "--workers", "1"])
    return folder


@pytest.fixture
def songs(whole: Path) -> Path:
    return whole / "songs"


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "index", tmp_path / "an index"))  # the space has to be quoted in advice


def damage(place: Path, path: Path, name: str = "not a number") -> None:
    with VectorIndex.open(place) as index:
        rows = index._store.catalog.row_range(str(path))
    assert rows is not None
    ROW_DAMAGES[name](place / PART, rows.first_row * ROW_BYTES, ROW_BYTES)


def paths_found(call: Call, place: Path) -> list[str]:
    status, out, err = call(QUERY, "--index", place, "--json")
    assert (status, err) == (0, "")
    return sorted(json.loads(line)["path"] for line in out.splitlines())


def command_in(text: str) -> list[str]:
    """The arguments of the only command in backquotes that a message advises."""
    (command,) = re.findall(r"`retrieve (index repair[^`]*)`", text)
    return shlex.split(command)


def test_advice_mends_a_damaged_track(call: Call, songs: Path, place: Path) -> None:
    before = paths_found(call, place)
    assert len(before) == 3
    damage(place, songs / "two.wav")
    status, out, err = call(QUERY, "--index", place, "--json")
    assert status == 0 and len(out.splitlines()) == 2
    assert err == (
        f"warning: 1 track is left out because the vectors in the index are damaged: {songs / 'two.wav'}; "
        f"run `retrieve index repair --index '{place}'`\n"
    )
    assert call("index", "info", "--index", place)[0] == 0
    status, out, err = call("index", "verify", "--index", place)
    assert (status, out) == (1, "")
    assert err == (
        f"error: {songs / 'two.wav'}: its vectors are not those that were written\n"
        f"note: 1 problem found; run `retrieve index repair --index '{place}'`\n"
    )
    status, out, err = call(*command_in(err), "--workers", "1")
    assert (status, out) == (0, "1 track embedded again\n")
    assert paths_found(call, place) == before
    assert call("index", "verify", "--index", place) == (0, "no problems found\n", "")
    assert call("index", "repair", "--index", place)[:2] == (0, "nothing to repair\n")


def test_json_of_both(call: Call, songs: Path, place: Path) -> None:
    assert json.loads(call("index", "verify", "--index", place, "--json")[1]) == {"index": str(place), "problems": []}
    damage(place, songs / "two.wav")
    status, out, _ = call("index", "verify", "--index", place, "--json")
    assert status == 1
    assert json.loads(out)["problems"] == [
        {"path": str(songs / "two.wav"), "reason": "its vectors are not those that were written"}
    ]
    status, out, _ = call("index", "repair", "--index", place, "--json", "--workers", "1")
    assert status == 0
    assert json.loads(out) == {
        "index": str(place),
        "mended": [],
        "embedded": [str(songs / "two.wav")],
        "skipped": [],
        "lost": [],
        "removed": [],
    }


def test_lost_tracks_are_listed_and_removed_on_demand(call: Call, tmp_path: Path, place: Path, songs: Path) -> None:
    with VectorIndex.open(place, read_only=False) as index:  # one track's file was renamed to a place that is away
        track = index.track(str(songs / "two.wav"))
        assert track is not None
        from dataclasses import replace

        index.update(track.path, replace(track, path=b"/away/two.wav"))
    damage(place, Path("/away/two.wav"))
    status, out, err = call("index", "repair", "--index", place)
    advice = f"retrieve index repair --index '{place}'"
    assert (status, out) == (1, "")
    assert [line for line in err.splitlines() if not line.startswith("checking")] == [
        "warning: /away/two.wav: its vectors are damaged and its file is gone",
        f"note: 1 track lost: bring the files back and run `{advice}`, "
        f"or run `{advice} --remove-lost` to remove them from the index",
    ]
    assert len(json.loads(call("index", "repair", "--index", place, "--json")[1])["lost"]) == 1
    status, out, _ = call("index", "repair", "--index", place, "--remove-lost")
    assert (status, out) == (0, "1 track removed from the index\n")
    assert len(paths_found(call, place)) == 2


def test_like_takes_the_file_itself_where_its_vectors_are_damaged(call: Call, songs: Path, place: Path) -> None:
    before = call("--like", songs / "two.wav", "--index", place, "--json")
    damage(place, songs / "two.wav", "a low bit")
    status, out, err = call("--like", songs / "two.wav", "--index", place, "--json")
    assert status == 0 and err.startswith("warning: 1 track is left out")
    assert [json.loads(line)["path"] for line in out.splitlines()] == [
        json.loads(line)["path"] for line in before[1].splitlines()
    ]


@pytest.mark.parametrize("name", ROW_DAMAGES)
def test_a_query_with_an_exclusion_does_not_fail_for_damaged_rows(
    call: Call, songs: Path, place: Path, name: str
) -> None:
    damage(place, songs / "two.wav", name)
    status, _, err = call(QUERY, "--not", "rain", "--index", place)
    assert status == 0 and "Traceback" not in err


def test_a_missing_part_file_is_one_line_for_every_command_and_its_advice_works(
    call: Call, songs: Path, place: Path
) -> None:
    before = paths_found(call, place)
    (place / PART).unlink()
    for command in ([QUERY], ["index", "info"], ["index", "verify"], ["index", "build", songs], ["index", "compact"]):
        status, out, err = call(*command, "--index", place)
        assert status == (1 if command == ["index", "verify"] else 2) and out == ""
        assert err == (
            f"error: the index at {place} is damaged: {PART} is missing; "
            f"run `retrieve index repair --index '{place}'`\n"
        )
    status, out, _ = call(*command_in(err), "--workers", "1")
    assert status == 0
    assert out == f"{PART} was missing: the vectors of 3 segments are lost\n3 tracks embedded again\n"
    assert paths_found(call, place) == before


def lose_the_search_tree_of_paths(place: Path) -> None:
    connection = sqlite3.connect(place / "catalog.sqlite3")
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_tracks_1'"
    ).fetchone()
    connection.close()
    overwrite(place / "catalog.sqlite3", (page - 1) * 4096, bytes(4096))


BEYOND_REPAIR = {
    "catalogue missing": (lambda place: (place / "catalog.sqlite3").unlink(), "catalog.sqlite3 is missing"),
    "catalogue is text": (lambda place: (place / "catalog.sqlite3").write_text("x" * 9000), "not a database"),
    "manifest missing": (lambda place: (place / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest damaged": (lambda place: (place / "manifest.json").write_text("{"), "manifest.json cannot be read"),
}


@pytest.mark.parametrize("name", BEYOND_REPAIR)
def test_what_cannot_be_mended_is_said_in_one_line_and_built_again_as_advised(
    call: Call, songs: Path, place: Path, name: str
) -> None:
    before = paths_found(call, place)
    damage_it, reason = BEYOND_REPAIR[name]
    damage_it(place)
    fix = f"remove '{place}' and rebuild with `retrieve index build DIR --index '{place}'`"
    for command in ([QUERY], ["index", "info"], ["index", "verify"], ["index", "repair"], ["index", "build", songs]):
        status, out, err = call(*command, "--index", place)
        assert status == (1 if command == ["index", "verify"] else 2) and out == ""
        assert err.startswith(f"error: the index at {place} is damaged: ") and reason in err
        assert err.endswith(f"; {fix}\n") and len(err.splitlines()) == 1
    shutil.rmtree(place)
    assert call("index", "build", songs, "--index", place, "--workers", "1")[0] == 0
    assert paths_found(call, place) == before


def test_a_catalogue_whose_search_tree_is_lost_is_made_again_and_nothing_is_embedded(
    call: Call, songs: Path, place: Path
) -> None:
    before = paths_found(call, place)
    lose_the_search_tree_of_paths(place)
    status, _, err = call("index", "verify", "--index", place)
    assert status == 1
    status, out, _ = call(*command_in(err))
    assert (status, out) == (0, "catalog.sqlite3 was damaged: it was made again from its records\n")
    assert paths_found(call, place) == before
    assert call("index", "verify", "--index", place)[0] == 0
    status, out, _ = call("index", "build", songs, "--index", place)
    assert status == 0 and out.startswith("3 unchanged")


def test_a_repair_that_runs_out_of_space_or_meets_a_writer_says_so_and_is_run_again(
    call: Call, songs: Path, place: Path
) -> None:
    before = paths_found(call, place)
    lose_the_search_tree_of_paths(place)
    with largest_file(5000):
        status, out, err = call("index", "repair", "--index", place)
    assert (status, out) == (2, "") and len(err.splitlines()) == 1 and "Traceback" not in err
    lock = WriterLock(place)
    status, out, err = call("index", "repair", "--index", place)
    lock.release()
    assert (status, out) == (2, "") and "is being written by process" in err and len(err.splitlines()) == 1
    assert call("index", "repair", "--index", place)[0] == 0
    assert paths_found(call, place) == before
    assert not [path.name for path in place.iterdir() if path.name.startswith("repair-")]

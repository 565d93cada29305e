import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from index_helpers import MANIFEST, bytes_of, largest_file, new_index, spans, toward, track, units

from index import (
    IndexBusyError,
    IndexDamagedError,
    IndexMismatchError,
    IndexMissingError,
    Manifest,
    VectorIndex,
)
from index.files import write_durably
from index.lock import WriterLock


@pytest.fixture
def folder(tmp_path):
    """A closed index of three tracks, with a removed one and a skipped file."""
    with new_index(tmp_path / "index", n_tracks=4) as index:
        index.remove("t2.flac")
        index.skip("bad.mp3", "not audio", 1, 2)
    return tmp_path / "index"


@pytest.mark.parametrize("read_only", [True, False])
def test_no_index(tmp_path, read_only):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty", "file"):
        path = tmp_path / name
        with pytest.raises(IndexMissingError) as caught:
            VectorIndex.open(path, read_only=read_only)
        assert str(caught.value) == f"no index at {path}; make one with `retrieve index build DIR --index {path}`"
    assert not (tmp_path / "absent").exists() and not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("read_only", [True, False])
def test_another_encoder(folder, read_only):
    before = bytes_of(folder)
    with pytest.raises(IndexMismatchError) as caught:
        VectorIndex.open(folder, encoder="cd" * 32, read_only=read_only)
    message = str(caught.value)
    assert "abababababab " in message and "cdcdcdcdcdcd:" in message and "test model" in message
    assert f"remove {folder} and rebuild with `retrieve index build DIR --index {folder}`" in message
    assert bytes_of(folder) == before


def cut_part(folder):
    with open(folder / "vectors-00000.f32", "r+b") as file:
        file.truncate(100)


def cut_catalog(folder):
    data = (folder / "catalog.sqlite3").read_bytes()
    (folder / "catalog.sqlite3").write_bytes(data[: len(data) // 3])


def overwrite_catalog_pages(folder):
    data = bytearray((folder / "catalog.sqlite3").read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    (folder / "catalog.sqlite3").write_bytes(data)


def other_database(folder):
    (folder / "catalog.sqlite3").unlink()
    with sqlite3.connect(folder / "catalog.sqlite3") as connection:
        connection.execute("CREATE TABLE parts (number, first_row, n_rows)")
    connection.close()


def swap_manifest(folder):
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**values, "dim": values["dim"] // 2}))


def rewrite_manifest(**changes):
    def damage(folder):
        values = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**values, **changes}))

    return damage


DAMAGES = {
    "part cut short": (cut_part, r"vectors-00000\.f32 is cut short \(100 bytes of 384\)"),
    "part missing": (lambda f: (f / "vectors-00000.f32").unlink(), r"vectors-00000\.f32 is missing"),
    "catalogue missing": (lambda f: (f / "catalog.sqlite3").unlink(), r"catalog\.sqlite3 is missing"),
    "catalogue empty": (lambda f: (f / "catalog.sqlite3").write_bytes(b""), "not a catalogue of Earmark"),
    "catalogue is text": (lambda f: (f / "catalog.sqlite3").write_text("x" * 5000), "file is not a database"),
    "catalogue cut short": (cut_catalog, r"catalog\.sqlite3: "),
    "catalogue overwritten": (overwrite_catalog_pages, r"catalog\.sqlite3: .*malformed"),
    "another database": (other_database, "not a catalogue of Earmark"),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest empty": (lambda f: (f / "manifest.json").write_bytes(b""), r"manifest\.json cannot be read"),
    "manifest cut short": (lambda f: (f / "manifest.json").write_text('{"dim": 8'), "cannot be read"),
    "manifest is binary": (lambda f: (f / "manifest.json").write_bytes(bytes(range(256))), "cannot be read"),
    "manifest is a list": (lambda f: (f / "manifest.json").write_text("[1]"), "not a JSON object"),
    "manifest is huge": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "too long"),
    "manifest lacks a field": (
        lambda f: (f / "manifest.json").write_text('{"version": 1}'),
        "missing or unknown",
    ),
    "dim is text": (rewrite_manifest(dim="8"), "dim must be a positive integer"),
    "dim is another": (rewrite_manifest(dim=4), "do not belong together"),
    "metric is another": (rewrite_manifest(metric="l2"), "metric must be"),
}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_one_line_and_nothing_is_altered(folder, name, read_only):
    damage, message = DAMAGES[name]
    damage(folder)
    with open(folder / "vectors-00000.f32" if name != "part missing" else os.devnull, "ab") as file:
        file.write(b"left over" if name != "part cut short" else b"")
    before = bytes_of(folder)
    with (
        pytest.raises(IndexDamagedError, match=message) as caught,
        VectorIndex.open(folder, read_only=read_only) as index,
    ):
        index.search(toward(1))  # some damage shows on use only
    assert "\n" not in str(caught.value)
    fix = f"run `retrieve index repair --index {folder}`"
    if not name.startswith("part") and "malformed" not in str(caught.value):
        fix = f"remove {folder} and rebuild with `retrieve index build DIR --index {folder}`"
    assert str(caught.value).endswith(f"; {fix}")
    assert bytes_of(folder) == before


def test_a_newer_format_is_told_apart_from_damage(folder):
    rewrite_manifest(version=3, shape="new")(folder)
    with pytest.raises(IndexMismatchError, match="format 3 and this Earmark reads format 2: upgrade"):
        VectorIndex.open(folder)


def test_a_newer_catalogue(folder):
    with sqlite3.connect(folder / "catalog.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(IndexMismatchError, match="catalogue version 9"):
        VectorIndex.open(folder)


def test_a_part_cut_short_under_an_open_index(folder):
    with VectorIndex.open(folder, read_only=False) as index:
        assert index.search(toward(1))
        cut_part(folder)
        for use in (
            lambda: index.search(toward(1)),
            lambda: index.add(track("a"), spans(1), units(1, seed=0)),
        ):
            with pytest.raises(IndexDamagedError, match="cut short"):
                use()
        assert any("cut short" in problem for problem in index.verify())


def use(index):
    assert len(index.search(toward(1))) == 3
    assert index.verify() == [] and index.stats().n_tracks == 3 and len(index.skipped()) == 1
    assert index.vectors("t0.flac").shape == (3, 8)


def test_reading_alters_nothing(folder):
    with open(folder / "vectors-00000.f32", "ab") as file:
        file.write(b"rows of a killed writer" * 7)
    before = bytes_of(folder)
    with VectorIndex.open(folder) as index:
        use(index)
        assert bytes_of(folder) == before
    assert bytes_of(folder) == before


def test_a_read_only_folder_can_be_read(folder):
    paths = [*folder.iterdir(), folder]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with VectorIndex.open(folder) as index:
            use(index)
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_the_folder_may_move(folder):
    shutil.copytree(folder, folder.parent / "copy")
    shutil.rmtree(folder)
    with VectorIndex.open(folder.parent / "copy") as index:
        use(index)


def test_create_refuses_what_is_there(folder, tmp_path):
    before = bytes_of(folder)
    with pytest.raises(FileExistsError, match="already"):
        VectorIndex.create(folder, MANIFEST)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        VectorIndex.create(tmp_path / "file", MANIFEST)
    assert bytes_of(folder) == before
    (folder / "manifest.json").unlink()
    with pytest.raises(IndexDamagedError, match=r"manifest\.json is missing"):
        VectorIndex.create(folder, MANIFEST)
    (folder / "vectors-00000.f32").unlink()
    with pytest.raises(IndexDamagedError, match="in use but no manifest"):
        VectorIndex.create(folder, MANIFEST)


def test_create_takes_over_a_creation_that_was_cut_short(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("index.store.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            VectorIndex.create(tmp_path, Manifest(encoder="old", encoder_name="old", dim=3))
    assert (tmp_path / "catalog.sqlite3").exists()
    with pytest.raises(IndexMissingError):
        VectorIndex.open(tmp_path)
    with new_index(tmp_path, n_tracks=2) as index:
        assert index.verify() == []
    with VectorIndex.open(tmp_path, encoder=MANIFEST.encoder) as index:
        assert len(index.tracks()) == 2


@pytest.mark.parametrize(
    "field",
    [{"encoder": ""}, {"encoder_name": 3}, {"dim": 0}, {"dim": True}, {"metric": "l2"}, {"version": 0}, {"hop_s": 0.0}],
)
def test_a_manifest_must_make_sense(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Manifest(**{"encoder": "ab", "encoder_name": "name", "dim": 4, **field})


def test_one_writer_at_a_time_in_one_process(folder):
    with VectorIndex.open(folder, read_only=False) as writer:
        before = bytes_of(folder)
        with pytest.raises(IndexBusyError, match=f"written by process {os.getpid()}, which is this one"):
            VectorIndex.open(folder, read_only=False)
        with VectorIndex.open(folder) as reader:
            use(reader)
        assert bytes_of(folder) == before
        writer.add(track("still"), spans(1), units(1, seed=0))
    with VectorIndex.open(folder, read_only=False) as writer:
        assert writer.track("still") is not None


HOLD = """
import sys
from index import VectorIndex
with VectorIndex.open(sys.argv[1], read_only=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time_among_processes(folder):
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(IndexBusyError, match=f"written by process {holder.pid} on .*: wait"):
                VectorIndex.open(folder, read_only=False)
            with VectorIndex.open(folder) as reader:
                use(reader)
        finally:
            holder.kill()
    with VectorIndex.open(folder, read_only=False) as writer:  # the lock died with its holder
        use(writer)


def test_a_lock_that_cannot_be_written_is_given_back(folder):
    n_open = len(os.listdir("/dev/fd"))
    with largest_file(0), pytest.raises(OSError, match="File too large"):
        WriterLock(folder)
    assert len(os.listdir("/dev/fd")) == n_open
    lock = WriterLock(folder)  # not refused as held by this process
    lock.release()


def test_files_are_synced_to_the_platter_on_macos(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    asked = []
    monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, command: asked.append(command))
    write_durably(tmp_path / "file", b"data")
    assert asked == [51, 51]  # the file and its folder


def test_verify_names_what_is_wrong(folder):
    with open(folder / "vectors-00000.f32", "r+b") as file:
        file.seek(3 * 8 * 4)  # the first row of t1.flac
        file.write(np.float32(0.5).tobytes())
    with sqlite3.connect(folder / "catalog.sqlite3") as connection:
        connection.execute("DELETE FROM segments WHERE row = 1")
        connection.execute("UPDATE segments SET end_s = start_s WHERE row = 2")
        connection.execute("INSERT INTO segments VALUES (100, 77, 0, 1)")
        connection.execute("INSERT INTO segments VALUES (101, 77, 0, 1)")
        connection.execute("DELETE FROM removed")
    connection.close()
    with VectorIndex.open(folder) as index:
        problems = index.verify()
        assert all("\n" not in problem for problem in problems)
        for expected in (
            "t0.flac has 2 of 3 segments",
            "1 segments belong to no track",
            "1 segments have no valid start and end",
            "t3.flac: begins at row 9, where row 6 was expected",
            "t1.flac: its vectors are not those that were written",
        ):
            assert expected in problems
        with pytest.raises(IndexDamagedError, match="row 6 belongs to no track"):
            index.search(toward(1), per_segment=True)

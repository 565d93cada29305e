"""A writer killed at any instant: what it reported as committed is there, and nothing is half there."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from index_helpers import DIM, MANIFEST, bytes_of, largest_file, new_index, spans, track, units

from index import IndexMissingError, VectorIndex

HERE = os.path.dirname(__file__)

# Adds, replaces, removes and compacts for ever; says what it has committed.
WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from index_helpers import MANIFEST, spans, track, units
from index import IndexMissingError, VectorIndex
try:
    index = VectorIndex.open(sys.argv[1], read_only=False)
except IndexMissingError:
    index = VectorIndex.create(sys.argv[1], MANIFEST)
for i in range(int(sys.argv[3]), 10**9):
    index.add_many([(track(f"{i}.{j}"), spans(2), units(2, seed=10 * i + j)) for j in range(3)])
    print("added", i, flush=True)
    index.remove(f"{i}.1")
    print("removed", i, flush=True)
    if i % 3 == 2:
        index.compact()
"""


def expected_tracks(lines: list[str], known: dict[str, int]) -> dict[str, int]:
    """Path -> seed of its vectors, after these reports."""
    for line in lines:
        verb, number = line.split()
        if verb == "added":
            known |= {f"{number}.{j}": 10 * int(number) + j for j in range(3)}
        else:
            known.pop(f"{number}.1")
    return known


def check(path, known: dict[str, int]) -> None:
    """The index holds what is known, except that the step under way may be done too."""
    with VectorIndex.open(path) as index:
        assert index.verify() == []
        found = {known_track.file for known_track in index.tracks()}
        step = found ^ set(known)
        assert step in (set(), {f"{number_of(step)}.{j}" for j in range(3)}, {f"{number_of(step)}.1"})
        for file in found & set(known):
            np.testing.assert_array_equal(index.vectors(file), units(2, seed=known[file]))
        if found:
            file = min(found)
            query = index.vectors(file)[1]
            assert index.search(query, top=1)[0].track.file == file
            assert index.stats().n_segments == 2 * len(found)


def number_of(paths: set[str]) -> str:
    return min(paths, default=".").split(".")[0]


def test_kill_a_writer_at_random_instants(tmp_path):
    path = tmp_path / "index"
    chance = random.Random(20240607)
    known: dict[str, int] = {}
    # Steps to wait for, so that a slow machine gets as far; then a moment within the next one.
    for round_number, n_steps in enumerate([0, 1, 2, 3, 5, 7, 9, 12]):
        command = [sys.executable, "-c", WRITER, str(path), HERE, str(1000 * round_number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            lines = [writer.stdout.readline() for _ in range(n_steps)]
            # The first one is killed while it starts, makes the index, or soon after.
            time.sleep(chance.uniform(0, 0.03) if n_steps else chance.uniform(0.1, 0.3))
            writer.kill()
            lines += writer.stdout.read().splitlines()
        expected_tracks(lines, known)
        try:
            check(path, known)
        except IndexMissingError:
            assert not known and round_number == 0
            continue
        with VectorIndex.open(path, read_only=False) as index:  # recovers, and cuts the leftovers off
            assert index.verify() == []
            known = {t.file: 10 * int(t.file.split(".")[0]) + int(t.file.split(".")[1]) for t in index.tracks()}
            rows = index.stats().n_segments + index.stats().n_removed_rows
        assert sum(part.stat().st_size for part in path.glob("vectors-*")) == rows * DIM * 4
        check(path, known)
    assert len(known) > 20


@pytest.mark.parametrize("tail", [b"\x00", b"half a row", b"\x9f" * DIM * 4, bytes(range(7)) * DIM * 2])
def test_torn_tails_are_ignored_and_cut_off_by_the_next_writer(tmp_path, tail):
    new_index(tmp_path, n_tracks=2).close()
    part = tmp_path / "vectors-00000.f32"
    whole = part.read_bytes()
    part.write_bytes(whole + tail)
    (tmp_path / "vectors-00001.f32").write_bytes(tail)  # a part that was never named
    (tmp_path / "vectors-00002.f32.tmp").write_bytes(tail)
    with VectorIndex.open(tmp_path) as index:
        assert index.verify() == [] and len(index.search(units(1, seed=9)[0], per_segment=True)) == 6
    assert part.read_bytes() == whole + tail
    with VectorIndex.open(tmp_path, read_only=False) as index:
        assert part.read_bytes() == whole
        assert [path.name for path in sorted(tmp_path.glob("vectors-*"))] == ["vectors-00000.f32"]
        index.add(track("next"), spans(1), units(1, seed=8))
        np.testing.assert_array_equal(index.vectors("next"), units(1, seed=8))


def kill_within_commit(path) -> None:
    """Leave a hot journal: a writer killed after it had begun to write the catalogue."""
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM segments WHERE row % 2 = 0")
connection.execute("DELETE FROM tracks")
connection.execute("DELETE FROM parts")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, str(path / "catalog.sqlite3")], check=False)
    assert (path / "catalog.sqlite3-journal").stat().st_size > 0


def test_a_commit_cut_short_is_undone_for_readers_without_altering_anything(tmp_path):
    path = tmp_path / "index"
    with new_index(path, n_tracks=3, n_segments=800) as index:
        everything = index.tracks()
        old_reader = VectorIndex.open(path)
    whole = bytes_of(path)
    kill_within_commit(path)
    torn = bytes_of(path)
    assert torn["catalog.sqlite3"] != whole["catalog.sqlite3"]
    with old_reader, VectorIndex.open(path) as reader:
        for index in (reader, old_reader):
            assert index.tracks() == everything and index.verify() == []
            assert len(index.search(units(1, seed=9)[0], top=10)) == 3
        assert bytes_of(path) == torn
        with VectorIndex.open(path, read_only=False) as writer:
            assert writer.tracks() == everything and writer.verify() == []
            writer.remove("t1.flac")
            for index in (reader, old_reader):  # they go on with the repaired catalogue
                assert len(index.tracks()) == 2
        assert not (path / "catalog.sqlite3-journal").exists()


def test_the_private_copy_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    new_index(tmp_path / "index", n_tracks=1, n_segments=800).close()
    kill_within_commit(tmp_path / "index")
    with VectorIndex.open(tmp_path / "index") as index:
        assert len(index.tracks()) == 1 and len(list((tmp_path / "scratch").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_disk_that_fails_during_an_append(tmp_path):
    with new_index(tmp_path, n_tracks=1) as index:
        with largest_file(150), pytest.raises(OSError, match="File too large"):
            index.add(track("a"), spans(4), units(4, seed=1))
        assert len(index.tracks()) == 1 and index.verify() == []
    shutil.copytree(tmp_path, tmp_path / "copy")
    with VectorIndex.open(tmp_path / "copy", encoder=MANIFEST.encoder, read_only=False) as index:
        index.add(track("a"), spans(4), units(4, seed=1))
        assert index.verify() == [] and len(index.tracks()) == 2


def test_readers_beside_a_writer_always_see_whole_commits(tmp_path):
    path = tmp_path / "index"
    new_index(path).close()
    command = [sys.executable, "-c", WRITER, str(path), HERE, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "added 0\n"
            with VectorIndex.open(path) as reader:
                seen = set()
                end = time.monotonic() + 30  # on a busy machine
                while time.monotonic() < end and len(seen) < 6:
                    steps: dict[int, str] = {}
                    for known_track in reader.tracks():
                        number, letter = known_track.file.split(".")
                        steps[int(number)] = steps.get(int(number), "") + letter
                    under_way = steps.pop(max(steps))
                    assert under_way in ("02", "012") and set(steps.values()) <= {"02"}
                    hits = reader.search(units(1, seed=len(seen))[0], top=10_000, per_segment=True)
                    assert len(hits) >= 2 * (2 * len(steps) + 2) and len(hits) % 2 == 0
                    assert reader.verify() == []
                    seen.add(max(steps, default=-1))
        finally:
            writer.kill()
    assert len(seen) > 3
    with sqlite3.connect(path / "catalog.sqlite3") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x4561726D,)
    connection.close()

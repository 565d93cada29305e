import threading
from pathlib import Path

import numpy as np
import pytest
from index_helpers import DIM, MANIFEST, largest_file, new_index, spans, toward, track, units

from index import Segment, Skipped, VectorIndex


def test_what_is_added_is_found_again_after_reopening(tmp_path):
    full = track("a/b.flac", title="Title", artist="Ärtist", album="Album", genre="Rock", year="1999-01-02")
    vectors = units(3, seed=1)
    with VectorIndex.create(tmp_path / "new" / "index", MANIFEST) as index:
        assert index.add(full, spans(3), vectors) == 3
    with VectorIndex.open(tmp_path / "new" / "index", encoder=MANIFEST.encoder) as index:
        assert index.manifest == MANIFEST and index.read_only and index.dim == DIM
        assert index.tracks() == [full] and index.track("a/b.flac") == full
        assert index.segments(b"a/b.flac") == [Segment(0, 10), Segment(5, 15), Segment(10, 20)]
        np.testing.assert_array_equal(index.vectors(Path("a/b.flac")), vectors)
        assert index.verify() == []
        stats = index.stats()
        assert (stats.n_tracks, stats.n_segments, stats.n_skipped, stats.duration_s) == (1, 3, 0, 30.0)
        assert stats.size_bytes > 3 * DIM * 4 and stats.encoder == MANIFEST.encoder


def test_the_part_file_is_raw_little_endian_float32(tmp_path):
    with new_index(tmp_path) as index:
        index.add(track("a"), spans(2), units(2, seed=1))
        index.add(track("b"), spans(1), units(1, seed=2))
    rows = np.fromfile(tmp_path / "vectors-00000.f32", dtype="<f4").reshape(-1, DIM)
    np.testing.assert_array_equal(rows, np.concatenate([units(2, seed=1), units(1, seed=2)]))


def test_adding_a_path_again_replaces_its_rows(tmp_path):
    with new_index(tmp_path) as index:
        index.add(track("a"), spans(2), np.stack([toward(1), toward(1)]))
        index.add(track("a", content_hash="second"), spans(1), toward(0, 1)[None])
        assert [t.content_hash for t in index.tracks()] == ["second"]
        hits = index.search(toward(1), per_segment=True)
        assert [(hit.score, hit.track.content_hash) for hit in hits] == [(0.0, "second")]
        assert index.stats().n_removed_rows == 2 and index.verify() == []


def test_add_many_is_all_or_nothing(tmp_path):
    with new_index(tmp_path) as index:
        bad = units(1, seed=2) * 2
        with pytest.raises(ValueError, match="norm 1"):
            index.add_many([(track("a"), spans(1), units(1, seed=1)), (track("b"), spans(1), bad)])
        assert index.tracks() == []
        good = [(track(name), spans(2), units(2, seed=i)) for i, name in enumerate(["a", "b", "a"])]
        assert index.add_many(good) == 6 and index.add_many([]) == 0
        assert [t.path for t in index.tracks()] == [b"a", b"b"]
        np.testing.assert_array_equal(index.vectors("a"), units(2, seed=2))  # the later of the two
        assert index.verify() == []


def test_remove(tmp_path):
    with new_index(tmp_path, n_tracks=3) as index:
        assert index.remove("t1.flac") and not index.remove("t1.flac") and not index.remove("other")
        assert index.track("t1.flac") is None
        assert {hit.track.file for hit in index.search(units(3, seed=1)[0])} == {"t0.flac", "t2.flac"}
        with pytest.raises(KeyError, match=r"t1\.flac"):
            index.vectors("t1.flac")
        assert index.verify() == []


def test_remove_below_a_folder(tmp_path):
    with new_index(tmp_path) as index:
        for name in ("a/b.mp3", "a/c/d.mp3", "ab.mp3", "e.mp3"):
            index.add(track(name), spans(1), units(1, seed=1))
        index.skip("a/bad.mp3", "not audio", 1, 1)
        assert index.remove_below("a") == 3 and index.remove_below("a") == 0
        assert index.remove_below(b"e.mp3") == 1
        assert [t.file for t in index.tracks()] == ["ab.mp3"] and index.skipped() == [] and index.verify() == []


def test_update_moves_a_file_and_keeps_its_vectors(tmp_path):
    with new_index(tmp_path, n_tracks=2) as index:
        part_before = (tmp_path / "vectors-00000.f32").read_bytes()
        moved = track("elsewhere/t0.flac", mtime_ns=77, content_hash="same", title="New")
        index.update("t0.flac", moved)
        assert index.track("t0.flac") is None and index.track("elsewhere/t0.flac") == moved
        np.testing.assert_array_equal(index.vectors("elsewhere/t0.flac"), units(3, seed=0))
        assert index.find_content("same") == [moved] and index.find_content("none") == []
        index.update("t1.flac", moved)  # onto a path that has a track: that one is gone
        assert index.tracks() == [moved]
        np.testing.assert_array_equal(index.vectors(moved.path), units(3, seed=1))
        with pytest.raises(KeyError, match="absent"):
            index.update("absent", moved)
        assert (tmp_path / "vectors-00000.f32").read_bytes() == part_before and index.verify() == []


def test_skipped_files_are_kept_with_their_reason(tmp_path):
    with new_index(tmp_path, n_tracks=1) as index:
        index.skip("bad.mp3", "not audio\nat all", 12, 34)
        index.skip("t0.flac", "cut short", 56, 78)  # it was a track and cannot be read any more
        assert index.skipped() == [
            Skipped(b"bad.mp3", "not audio at all", 12, 34),
            Skipped(b"t0.flac", "cut short", 56, 78),
        ]
        assert index.tracks() == [] and index.skipped_at("bad.mp3") == index.skipped()[0]
        index.skip("bad.mp3", "still bad", 12, 35)
        assert index.skipped_at("bad.mp3") == Skipped(b"bad.mp3", "still bad", 12, 35)
        index.add(track("bad.mp3"), spans(1), units(1, seed=5))  # mended
        assert index.skipped_at("bad.mp3") is None and index.remove("t0.flac") and index.skipped() == []


ODD_PATHS = [
    b"new\nline.mp3",
    b"quote'\".mp3",
    "\U0001f3b8 \u200d ж.mp3".encode(),
    b"latin \xe9\xff.mp3",
    b"\x1b[2J",
    b" ",
]


def test_odd_paths_round_trip(tmp_path):
    with new_index(tmp_path / "odd 'dir' \U0001f3b8\n%41?#") as index:
        for i, path in enumerate(ODD_PATHS):
            index.add(track(path, title="lone \udce9 surrogate"), spans(1), units(1, seed=i))
        assert [t.path for t in index.tracks()] == sorted(ODD_PATHS)
        for i, path in enumerate(ODD_PATHS):
            hit = index.search(units(1, seed=i)[0], top=1)[0]
            assert hit.track.path == path and hit.track.title == "lone ? surrogate"
            assert index.track(hit.track.file) == hit.track
        folder = index.path
    with VectorIndex.open(folder) as index:
        assert len(index.tracks()) == len(ODD_PATHS) and index.verify() == []


@pytest.mark.parametrize(
    ("vectors", "times", "message"),
    [
        (units(2, seed=0).astype(np.float64), spans(2), "float32 array, not float64"),
        (units(2, seed=0).tolist(), spans(2), "float32 array, not list"),
        (units(2, seed=0, dim=5), spans(2), r"shape \(n, 8\)"),
        (units(2, seed=0)[:0], spans(0), "at least 1"),
        (units(2, seed=0)[0], spans(1), r"shape \(n, 8\)"),
        (units(2, seed=0), spans(3), r"spans must have shape \(2, 2\)"),
        (units(2, seed=0), -spans(2), "0 <= start < end"),
        (units(2, seed=0), spans(2) * np.nan, "0 <= start < end"),
        (units(2, seed=0), spans(2)[:, ::-1], "0 <= start < end"),
        (units(2, seed=0) * np.float32(np.nan), spans(2), "finite"),
        (units(2, seed=0) * np.float32(1.002), spans(2), "norm 1"),
        (units(2, seed=0) * np.float32(0), spans(2), "norm 1"),
    ],
)
def test_refuses_vectors_that_are_not_as_said(tmp_path, vectors, times, message):
    with new_index(tmp_path) as index:
        with pytest.raises(ValueError, match=message):
            index.add(track("a"), times, vectors)
        assert index.tracks() == []
        assert index.add(track("a"), spans(2), units(2, seed=0) * np.float32(1.0005)) == 2


def test_a_track_must_have_a_sensible_duration():
    with pytest.raises(ValueError, match="duration_s"):
        track("a", duration_s=float("nan"))


def test_writing_needs_an_index_open_for_writing(tmp_path):
    new_index(tmp_path, n_tracks=1).close()
    with VectorIndex.open(tmp_path) as index:
        for write in (lambda: index.remove("t0.flac"), index.compact, lambda: index.skip("a", "b", 1, 1)):
            with pytest.raises(PermissionError, match="read_only=False"):
                write()
    index.close()
    with pytest.raises(ValueError, match="closed"):
        index.tracks()


def test_compact_drops_removed_rows_and_keeps_the_rest(tmp_path):
    # Several parts, some with nothing removed.
    with new_index(tmp_path, n_tracks=12, n_segments=4, max_part_rows=10) as index:
        assert len(list(tmp_path.glob("vectors-*.f32"))) == 4
        for i in (0, 2, 5, 9, 10, 11):
            index.remove(f"t{i}.flac")
        untouched = (tmp_path / "vectors-00002.f32").stat().st_ino
        with VectorIndex.open(tmp_path) as reader:
            before = reader.search(units(4, seed=3)[1], top=50, per_segment=True)
            assert index.compact() == 24 and index.compact() == 0
            after = reader.search(units(4, seed=3)[1], top=50, per_segment=True)
            described = [[(h.score, h.track, h.start_s) for h in hits] for hits in (before, after)]
            assert described[0] == described[1] and len(before) == 24
            np.testing.assert_array_equal(reader.vectors_at([h.row for h in after[:1]])[0], units(4, seed=3)[1])
        assert index.stats().n_removed_rows == 0 and index.verify() == []
        assert (tmp_path / "vectors-00002.f32").stat().st_ino == untouched
        sizes = sum(path.stat().st_size for path in tmp_path.glob("vectors-*"))
        assert sizes == 24 * DIM * 4
        index.add(track("later"), spans(4), units(4, seed=99))
        np.testing.assert_array_equal(index.vectors("later"), units(4, seed=99))
        assert index.verify() == []


def test_a_sample_is_spread_over_live_rows_whatever_the_gaps(tmp_path):
    with new_index(tmp_path, n_tracks=9, n_segments=4, max_part_rows=10) as index:  # 12 rows a part
        index.remove("t1.flac")
        index.compact()  # a gap of four row numbers behind the first part
        index.remove("t5.flac")  # and four removed rows in the middle of the second
        live = np.concatenate([index.vectors(known.path) for known in index.tracks()])
        for n in (0, 1, 5, 27, 28, 1000):
            sample = index.sample_vectors(n)
            assert sample.shape == (min(n, 28), DIM)
            places = [np.flatnonzero((live == row).all(axis=1)) for row in sample]
            assert all(len(place) == 1 for place in places)
            assert len({int(place[0]) for place in places}) == len(sample)
        np.testing.assert_array_equal(index.sample_vectors(28), live)
    with new_index(tmp_path / "empty") as index:
        assert index.sample_vectors(10).shape == (0, DIM)


def test_compacting_an_index_to_nothing_never_reuses_a_file_name(tmp_path):
    with new_index(tmp_path, n_tracks=1) as index:
        index.remove("t0.flac")
        assert index.compact() == 3 and not list(tmp_path.glob("vectors-*"))
        assert index.search(toward(1)) == [] and index.verify() == []
        index.add(track("a"), spans(1), units(1, seed=0))
        assert [path.name for path in tmp_path.glob("vectors-*")] == ["vectors-00001.f32"]


def test_a_failed_compaction_changes_nothing(tmp_path):
    with new_index(tmp_path, n_tracks=3) as index:
        index.remove("t0.flac")
        with largest_file(100), pytest.raises(OSError, match="File too large"):
            index.compact()
        assert index.stats().n_removed_rows == 3 and index.verify() == []
        assert [path.name for path in tmp_path.glob("vectors-*")] == ["vectors-00000.f32"]
        assert index.compact() == 3 and index.verify() == []


def test_a_failed_write_leaves_the_index_usable(tmp_path, monkeypatch):
    with new_index(tmp_path, n_tracks=1) as index:
        with monkeypatch.context() as patch:
            patch.setattr(index._store.catalog, "set_part", lambda part: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                index.add(track("a"), spans(5), units(5, seed=7))
        assert [t.file for t in index.tracks()] == ["t0.flac"] and index.verify() == []
        index.add(track("b"), spans(2), units(2, seed=8))
        np.testing.assert_array_equal(index.vectors("b"), units(2, seed=8))
        assert (tmp_path / "vectors-00000.f32").stat().st_size == 5 * DIM * 4 and index.verify() == []


def test_a_reader_sees_what_a_writer_commits(tmp_path):
    with new_index(tmp_path) as writer, VectorIndex.open(tmp_path) as reader:
        assert reader.search(toward(1)) == []
        for i in range(3):
            writer.add(track(f"t{i}"), spans(2), np.stack([toward(1, i), toward(0, 1)]))
            assert len(reader.search(toward(1), per_segment=True)) == 2 * i + 2
        writer.remove("t0")
        assert [hit.track.file for hit in reader.search(toward(1))] == ["t1", "t2"]


def test_threads_share_one_object(tmp_path):
    with new_index(tmp_path, n_tracks=20) as index:
        failures: list[BaseException] = []

        def work(seed: int) -> None:
            try:
                for i in range(10):
                    index.add(track(f"thread {seed} {i}"), spans(1), units(1, seed=1000 * seed + i))
                    query = units(3, seed=i)[0]
                    assert index.search(query, top=1)[0].score == pytest.approx(1, abs=1e-5)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == [] and index.stats().n_tracks == 50 and index.verify() == []

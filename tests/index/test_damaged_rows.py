"""Rows whose bytes have changed on disk: never answered from, never copied, and the rest goes on."""

from __future__ import annotations

import numpy as np
import pytest
from damage import PART, ROW_DAMAGES, flip, overwrite
from index_helpers import DIM, exact_top_k, new_index, spans, toward, track, units

from index import IndexDamagedError, TrackDamagedError, VectorIndex

ROW_BYTES = 4 * DIM
N_TRACKS, N_SEGMENTS = 12, 3


@pytest.fixture
def folder(tmp_path):
    new_index(tmp_path / "index", n_tracks=N_TRACKS, n_segments=N_SEGMENTS).close()
    return tmp_path / "index"


def damage_track(folder, number: int, name: str) -> None:
    """Damage the second segment of a track."""
    ROW_DAMAGES[name](folder / PART, (number * N_SEGMENTS + 1) * ROW_BYTES, ROW_BYTES)


@pytest.mark.parametrize("per_segment", [False, True])
@pytest.mark.parametrize("name", ROW_DAMAGES)
def test_a_search_leaves_the_damaged_track_out_and_is_exact_on_the_others(folder, name, per_segment):
    sound = {i: units(N_SEGMENTS, seed=i) for i in range(N_TRACKS) if i != 4}
    rows = np.concatenate(list(sound.values()))
    damage_track(folder, 4, name)
    with VectorIndex.open(folder) as index:
        for seed in range(20):
            query = units(1, seed=1000 + seed)[0]
            hits = index.search(query, top=100, per_segment=per_segment)
            scores, order = exact_top_k(rows, query, k=len(rows))
            owners = [list(sound)[row // N_SEGMENTS] for row in order]
            if per_segment:
                expected = list(zip(owners, scores.tolist(), strict=True))
            else:
                best: dict = {}
                for owner, score in zip(owners, scores.tolist(), strict=True):
                    best.setdefault(owner, score)
                expected = list(best.items())
            assert [(f"t{owner}.flac", score) for owner, score in expected] == [(h.track.file, h.score) for h in hits]
        assert index.damaged_tracks == [b"t4.flac"]
        index.search(toward(1), allow=lambda track: track.file != "t4.flac")


@pytest.mark.parametrize("name", ROW_DAMAGES)
def test_its_vectors_are_refused_with_the_fix_and_others_are_not(folder, name):
    damage_track(folder, 4, name)
    with VectorIndex.open(folder) as index:
        with pytest.raises(TrackDamagedError) as caught:
            index.vectors("t4.flac")
        assert isinstance(caught.value, IndexDamagedError)
        assert str(caught.value) == (
            f"t4.flac: its vectors in the index at {folder} are damaged; run `retrieve index repair --index {folder}`"
        )
        assert not index.is_sound("t4.flac") and index.is_sound("t5.flac")
        assert index.vectors("t5.flac").shape == (N_SEGMENTS, DIM)
        with pytest.raises(KeyError):
            index.is_sound("absent")
        (problem,) = index.verify()
        assert problem.startswith("t4.flac: its vectors are not those that were written")
        sample = index.sample_vectors(10**6)
        assert np.isfinite(sample).all() and np.abs(np.linalg.norm(sample, axis=1) - 1).max() < 1e-3


def test_a_new_index_has_no_damaged_tracks(folder):
    with VectorIndex.open(folder) as index:
        assert len(index.search(toward(1), top=100)) == N_TRACKS
        assert index.damaged_tracks == []


def test_a_track_that_is_written_again_is_found_again(folder):
    damage_track(folder, 4, "not a number")
    with VectorIndex.open(folder) as reader, VectorIndex.open(folder, read_only=False) as writer:
        assert len(reader.search(toward(1), top=100)) == N_TRACKS - 1
        writer.add(track("t4.flac"), spans(N_SEGMENTS), units(N_SEGMENTS, seed=4))
        assert len(reader.search(toward(1), top=100)) == N_TRACKS
        assert reader.damaged_tracks == [] and reader.verify() == []


def test_damage_in_removed_rows_and_in_rows_that_were_never_committed_harms_nothing(folder):
    with VectorIndex.open(folder, read_only=False) as index:
        index.remove("t4.flac")
    part = folder / PART
    damage_track(folder, 4, "random bytes")
    with open(part, "ab") as file:
        file.write(units(2, seed=77).tobytes())
    flip(part, part.stat().st_size - 1)
    with VectorIndex.open(folder) as index:
        assert index.verify() == []
        assert len(index.search(toward(1), top=100)) == N_TRACKS - 1
    with VectorIndex.open(folder, read_only=False) as index:
        assert index.compact() == N_SEGMENTS
        assert index.verify() == [] and len(index.search(toward(1), top=100)) == N_TRACKS - 1


def test_a_compaction_does_not_turn_damaged_rows_into_sound_ones(folder):
    damage_track(folder, 4, "a low bit")
    with VectorIndex.open(folder, read_only=False) as index:
        index.remove("t1.flac")
        index.compact()
        assert not index.is_sound("t4.flac") and index.is_sound("t5.flac")
        assert [problem[:8] for problem in index.verify()] == ["t4.flac:"]


def test_every_row_of_another_index_is_told(folder, tmp_path):
    new_index(tmp_path / "other", n_tracks=0).close()
    with VectorIndex.open(tmp_path / "other", read_only=False) as index:
        index.add(track("x"), spans(N_TRACKS * N_SEGMENTS), units(N_TRACKS * N_SEGMENTS, seed=99))
    overwrite(folder / PART, 0, (tmp_path / "other" / PART).read_bytes())
    with VectorIndex.open(folder) as index:
        assert len(index.verify()) == N_TRACKS
        assert index.search(toward(1), top=100) == []
        assert len(index.damaged_tracks) == N_TRACKS
        assert index.sample_vectors(4).shape == (4, DIM)


def test_verify_reports_its_progress_and_keeps_little_in_memory(folder):
    with VectorIndex.open(folder) as index:
        seen: list[tuple[int, int]] = []
        assert list(index.check(on_progress=lambda done, total: seen.append((done, total)))) == []
    assert seen[-1] == (N_TRACKS * N_SEGMENTS, N_TRACKS * N_SEGMENTS)
    assert seen == sorted(seen)


def test_a_check_goes_on_while_a_writer_adds_removes_and_compacts(folder, monkeypatch):
    monkeypatch.setattr("index.maintenance._PAGE_TRACKS", 2)
    damage_track(folder, 9, "a low bit")
    with VectorIndex.open(folder) as reader, VectorIndex.open(folder, read_only=False) as writer:
        steps = iter(range(100))

        def change(done: int, total: int) -> None:
            step = next(steps)
            writer.add(track(f"new {step}"), spans(2), units(2, seed=step))
            writer.remove(f"t{step}.flac")
            writer.compact()

        found = list(reader.check(on_progress=change))
    assert [damage.path for damage in found] == [b"t9.flac"]

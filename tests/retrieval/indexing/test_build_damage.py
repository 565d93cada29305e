"""Damaged rows in the index of a library: a build never copies them, never fails for them, and mends what it meets."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ingest_helpers import Model, counts, library, paths_in, song, vectors_in

from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.repair import repair

sys.path.insert(0, str(Path(__file__).parents[2] / "index"))
from damage import ROW_DAMAGES

DIM = 3


@pytest.fixture
def built(music: Path, place: Path) -> dict[str, np.ndarray]:
    """Three songs and their index; returns the vectors of each."""
    library(music, 3)
    build([music], index_path=place, model=Model())
    return {name: vectors_in(place, music / name) for name in ("00.wav", "01.wav", "02.wav")}


def damage(place: Path, path: Path, name: str = "a low bit") -> None:
    """Damage the last row of a track."""
    with VectorIndex.open(place) as index:
        rows = index._store.catalog.row_range(str(path))
    assert rows is not None
    ROW_DAMAGES[name](place / "vectors-00000.f32", (rows.end_row - 1) * DIM * 4, DIM * 4)


@pytest.mark.parametrize("name", ROW_DAMAGES)
@pytest.mark.parametrize("how", ["copied", "moved", "touched"])
def test_a_damaged_track_is_embedded_again_when_its_file_is_met(
    music: Path, place: Path, built: dict[str, np.ndarray], name: str, how: str
) -> None:
    damage(place, music / "01.wav", name)
    target = music / "01.wav"
    if how == "copied":
        target = Path(shutil.copy(music / "01.wav", music / "copy.wav"))
    elif how == "moved":
        target = (music / "01.wav").rename(music / "moved.wav")
    else:
        os.utime(target, (1e9, 1e9))
    model = Model()
    summary = build([music], index_path=place, model=model)
    expected = {
        "copied": {"added": 1, "unchanged": 3},
        "moved": {"added": 1, "removed": 1, "unchanged": 2},
        "touched": {"updated": 1, "unchanged": 2},
    }
    assert counts(summary) == expected[how]
    assert (model.n_files, summary.problems) == (1, ())
    with VectorIndex.open(place) as index:
        np.testing.assert_array_equal(index.vectors(str(target)), built["01.wav"])
        left = [f"{target.with_name('01.wav')}"] if how == "copied" else []
        assert [damage.file for damage in index.check()] == left
    again = build([music], index_path=place, model=Model())
    assert counts(again) == {"unchanged": 4 if how == "copied" else 3}


def test_a_sound_copy_of_the_content_is_used_before_anything_is_embedded(
    music: Path, place: Path, built: dict[str, np.ndarray]
) -> None:
    shutil.copy(music / "01.wav", music / "copy.wav")
    build([music], index_path=place, model=Model())
    damage(place, music / "01.wav")
    os.utime(music / "01.wav", (1e9, 1e9))
    model = Model()
    assert counts(build([music], index_path=place, model=model)) == {"updated": 1, "unchanged": 3}
    assert model.n_chunks == 0
    assert paths_in(place)  # verified
    np.testing.assert_array_equal(vectors_in(place, music / "01.wav"), built["01.wav"])


def no_model() -> Model:
    raise AssertionError("nothing had to be embedded")


def test_repair_embeds_damaged_tracks_again(music: Path, place: Path, built: dict[str, np.ndarray]) -> None:
    damage(place, music / "00.wav")
    damage(place, music / "02.wav", "zeros")
    model = Model()
    checked: list[tuple[int, int]] = []
    summary = repair(place, load_model=lambda: model, on_check=lambda done, total: checked.append((done, total)))
    assert summary.embedded == (str(music / "00.wav"), str(music / "02.wav"))
    assert (summary.mended, summary.skipped, summary.lost, summary.removed) == ((), (), (), ())
    assert summary.is_whole and model.n_files == 2 and checked[-1][0] == checked[-1][1] > 0
    for name, vectors in built.items():
        np.testing.assert_array_equal(vectors_in(place, music / name), vectors)
    assert len(paths_in(place)) == 3
    assert counts(build([music], index_path=place, model=no_model_build())) == {"unchanged": 3}
    assert repair(place, load_model=no_model).is_whole


def no_model_build() -> Model:
    model = Model()
    model.delay_s = 1e9  # it would never end
    return model


def test_lost_tracks_stay_until_their_removal_is_wanted(music: Path, place: Path, built: dict[str, np.ndarray]) -> None:
    damage(place, music / "01.wav")
    away = (music / "01.wav").rename(music.parent / "away.wav")
    summary = repair(place, load_model=no_model)
    assert (summary.lost, summary.removed, summary.is_whole) == ((str(music / "01.wav"),), (), False)
    with VectorIndex.open(place) as index:
        assert len(index.tracks()) == 3
        assert len(index.search(np.ones(3, dtype=np.float32))) == 2
    away.rename(music / "01.wav")  # the disk is mounted again
    assert repair(place, load_model=Model).embedded == (str(music / "01.wav"),)
    np.testing.assert_array_equal(vectors_in(place, music / "01.wav"), built["01.wav"])
    damage(place, music / "01.wav")
    (music / "01.wav").unlink()
    summary = repair(place, load_model=no_model, remove_lost=True)
    assert (summary.lost, summary.removed, summary.is_whole) == ((), (str(music / "01.wav"),), True)
    assert len(paths_in(place)) == 2


def test_a_damaged_track_whose_file_cannot_be_read_is_said_and_skipped(
    music: Path, place: Path, built: dict[str, np.ndarray]
) -> None:
    damage(place, music / "01.wav")
    (music / "01.wav").write_text("overwritten")
    summary = repair(place, load_model=Model)
    assert [problem.path for problem in summary.skipped] == [str(music / "01.wav")]
    assert not summary.is_whole and summary.embedded == ()
    assert len(paths_in(place)) == 2
    song(music / "01.wav", seed=9)
    assert counts(build([music], index_path=place, model=Model())) == {"added": 1, "unchanged": 2}


def test_another_model_repairs_nothing(music: Path, place: Path, built: dict[str, np.ndarray]) -> None:
    damage(place, music / "01.wav")
    other = Model()
    other.fingerprint = "0ther" * 4
    with pytest.raises(ValueError, match="was made by model 5ca1ab1e5ca1"):
        repair(place, load_model=lambda: other)


@pytest.mark.parametrize("how", ["missing", "cut short"])
def test_a_part_file_is_mended_and_its_tracks_are_embedded_again(
    music: Path, place: Path, built: dict[str, np.ndarray], how: str
) -> None:
    part = place / "vectors-00000.f32"
    n_rows = sum(map(len, built.values()))
    if how == "missing":
        part.unlink()
    else:
        os.truncate(part, part.stat().st_size - DIM * 4 - 1)
    with pytest.raises(ValueError, match=f"{how}.*; run `retrieve index repair --index {place}`"):
        build([music], index_path=place, model=Model())
    summary = repair(place, load_model=Model)
    n_lost = n_rows if how == "missing" else 2
    assert summary.mended == (f"vectors-00000.f32 was {how}: the vectors of {n_lost} segments are lost",)
    assert summary.embedded == tuple(str(music / name) for name in (sorted(built) if how == "missing" else ["02.wav"]))
    for name, vectors in built.items():
        np.testing.assert_array_equal(vectors_in(place, music / name), vectors)
    assert len(paths_in(place)) == 3
    with VectorIndex.open(place, read_only=False) as index:
        index.compact()
        assert index.verify() == [] and part_bytes(place) == n_rows * DIM * 4


def part_bytes(place: Path) -> int:
    return sum(path.stat().st_size for path in place.glob("vectors-*"))

"""Which clips may be trained on: licences, folds, and nothing of the evaluation packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.datasets.base import DatasetError
from scripts.recipes.default.packs import TRAINING_PACKS, training_clips


def write_table(folder: Path, header: str, *rows: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    for row in rows:
        (folder / row.split(",")[0]).touch()


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """One clip per pack, which may not be trained on."""
    for pack in TRAINING_PACKS:
        write_table(tmp_path / pack, "file,labels,split,licence", "x.ogg,dog,fold5,CC BY-NC 3.0")
    return tmp_path


def test_evaluation_packs_are_not_training_packs() -> None:
    assert not {"emotify", "instruments_freesound"} & set(TRAINING_PACKS)


def test_only_open_esc_classes_of_the_first_folds_are_used(packs: Path) -> None:
    rows = ["a.ogg,dog,fold1", "b.ogg,dog,fold5", "c.ogg,siren,fold1", "d.ogg,rooster,fold4", "e.ogg,rain,fold3"]
    write_table(packs / "esc", "file,labels,split", *rows)
    assert [clip.path.name for clip in training_clips(packs)] == ["a.ogg", "e.ogg"]


def test_non_commercial_rows_are_left_out_and_tracks_stay_together(packs: Path) -> None:
    rows = ["1_0.ogg,rock;kit,CC BY 3.0,x.mp3", "1_1.ogg,rock;,CC BY 3.0,x.mp3", "2.ogg,pop,CC BY-NC 4.0,y.mp3"]
    write_table(packs / "music", "file,labels,licence,source", *rows)
    clips = list(training_clips(packs))
    assert [clip.labels for clip in clips] == [("rock", "drum kit", "drums"), ("rock",)]
    assert len({clip.group for clip in clips}) == 1


def test_without_a_source_the_file_name_says_the_recording(packs: Path) -> None:
    rows = ["rain_0.ogg,rain,CC0,", "rain_1.ogg,rain,CC0,", "wind.ogg,wind,CC0,"]
    write_table(packs / "ambience", "file,labels,licence,source", *rows)
    assert [clip.group for clip in training_clips(packs)] == ["ambience/rain", "ambience/rain", "ambience/wind.ogg"]


def test_a_missing_pack_is_named(packs: Path) -> None:
    (packs / "ambience" / "labels.csv").unlink()
    with pytest.raises(DatasetError, match="ambience"):
        list(training_clips(packs))

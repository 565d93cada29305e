"""What training may hear: licences, folds, and nothing of the evaluation packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.recipes.default.clips import TRAINING_PACKS, training_clips

HEADER = "file,labels,split\n"


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    for pack in TRAINING_PACKS:
        (tmp_path / pack).mkdir()
        (tmp_path / pack / "labels.csv").write_text(HEADER, encoding="utf-8")
    return tmp_path


def test_evaluation_packs_are_no_training_packs() -> None:
    assert not {"emotify", "instruments_freesound"} & set(TRAINING_PACKS)


def test_only_open_esc_classes_of_the_first_folds_are_heard(packs: Path) -> None:
    rows = ["a.ogg,dog,fold1", "b.ogg,dog,fold5", "c.ogg,siren,fold1", "d.ogg,rooster,fold4", "e.ogg,rain,fold3"]
    (packs / "esc" / "labels.csv").write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    assert [clip.path.name for clip in training_clips(packs)] == ["a.ogg", "e.ogg"]


def test_non_commercial_rows_are_left_out_and_tracks_stay_together(packs: Path) -> None:
    rows = ["1_0.ogg,rock;kit,CC BY 3.0,x.mp3", "1_1.ogg,rock;,CC BY 3.0,x.mp3", "2.ogg,pop,CC BY-NC 4.0,y.mp3"]
    text = "file,labels,licence,source\n" + "\n".join(rows) + "\n"
    (packs / "music" / "labels.csv").write_text(text, encoding="utf-8")
    clips = list(training_clips(packs))
    assert [clip.labels for clip in clips] == [("rock", "drum kit", "drums"), ("rock",)]
    assert len({clip.group for clip in clips}) == 1


def test_a_missing_pack_is_named(packs: Path) -> None:
    (packs / "ambience" / "labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match="ambience"):
        list(training_clips(packs))

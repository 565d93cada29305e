"""The last stage: folders of clips (names, splits, held-out labels) and the options of retrieve train."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from retrieval.cli.app import main as retrieve
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.datasets.load import read_dataset
from scripts.recipes.default import finish as script
from scripts.recipes.default.data import is_held_out
from scripts.recipes.default.packs import TrainingClip


def clip(path: Path, *labels: str, pack: str) -> TrainingClip:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.parent.name.encode())
    return TrainingClip(path, labels, pack, f"{pack}/{path.parent.name}")


def test_files_of_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    clips = [
        clip(tmp_path / folder / "c4.ogg", label, pack="lofi_notes")
        for folder, label in (("a", "piano"), ("b", "bass"))
    ]
    out = tmp_path / "out"
    out.mkdir()
    assert script.write_table(out, script.recorded("lofi_notes", clips, out), 0.08, None) == 2
    read = read_dataset(out)
    assert [c.labels for c in read.clips] == [("piano",), ("bass",)]
    assert [c.path.read_bytes() for c in read.clips] == [b"a", b"b"]


def test_a_pack_with_incomplete_labels_has_one_label(tmp_path: Path) -> None:
    rows = list(script.recorded("music", [clip(tmp_path / "x" / "1.ogg", "cello", "sad", pack="music")], tmp_path))
    assert [row.labels for row in rows] == [("music",)]


def test_the_split_is_the_recipes(tmp_path: Path) -> None:
    rows = [script.Row(f"{i}.flac", ("oboe",), f"single/{i}") for i in range(60)]
    for row in rows:
        (tmp_path / row.file).write_bytes(b"x")
    script.write_table(tmp_path, iter(rows), 0.08, None)
    splits = {c.group: c.split for c in read_dataset(tmp_path).clips}
    assert splits == {row.group: "val" if is_held_out(row.group, 0.08) else "train" for row in rows}
    assert set(splits.values()) == {"train", "val"}


def test_held_out_labels_are_left_out_with_phrases_that_reveal_them(tmp_path: Path) -> None:
    gone = LeakageFilter(["saxophone"], WordVectors.load(DEFAULT_MODEL_DIR))
    rows = [script.Row("a", ("alto saxophone", "brass instrument"), "g/a"), script.Row("b", ("saxophone",), "g/b")]
    for row in rows:
        (tmp_path / row.file).write_bytes(b"x")
    assert script.write_table(tmp_path, iter(rows), 0.08, gone) == 1
    assert [c.labels for c in read_dataset(tmp_path).clips] == [("brass instrument",)]


def test_labels_are_held_out_with_word_vectors_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only with the word vectors of the run"):
        script.write_training_folders(tmp_path, tmp_path, soundfonts=(), held_out_labels=["rain"])


def test_retrieve_train_has_every_option_of_the_last_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        retrieve(
            ["train", *script.FINISH_OPTIONS, "--data", "x", "--init", "x", "--device", "cpu", "--resume", "--help"]
        )
    assert end.value.code in (0, None), capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        retrieve(["train", "--no-such-option", "--help"])
    assert end.value.code == 2

"""Folders of the default model's clips: names, splits, labels that are held out; nothing is rendered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from retrieval.datasets.load import read_dataset
from scripts.recipes.default import write_training_folders as script
from scripts.recipes.default.clips import TrainingClip
from scripts.recipes.default.collection import is_held_out
from scripts.recipes.default.label_leakage import GiveAway


def clip(path: Path, *labels: str, pack: str) -> TrainingClip:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.parent.name.encode())
    return TrainingClip(path, labels, pack, f"{pack}/{path.parent.name}")


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    clips = [
        clip(tmp_path / folder / "c4.ogg", label, pack="lofi_notes")
        for folder, label in (("a", "piano"), ("b", "bass"))
    ]
    out = tmp_path / "out"
    out.mkdir()
    assert script.write(out, script.recorded("lofi_notes", clips, out), 0.08, None) == 2
    read = read_dataset(out)
    assert [c.labels for c in read.clips] == [("piano",), ("bass",)]
    assert [c.path.read_bytes() for c in read.clips] == [b"a", b"b"]


def test_a_pack_that_does_not_say_all_has_one_label(tmp_path: Path) -> None:
    rows = list(script.recorded("music", [clip(tmp_path / "x" / "1.ogg", "cello", "sad", pack="music")], tmp_path))
    assert [row.labels for row in rows] == [("music",)]


def test_the_split_is_the_recipes(tmp_path: Path) -> None:
    rows = [script.Row(f"{i}.flac", ("oboe",), f"single/{i}") for i in range(60)]
    for row in rows:
        (tmp_path / row.file).write_bytes(b"x")
    script.write(tmp_path, iter(rows), 0.08, None)
    splits = {c.group: c.split for c in read_dataset(tmp_path).clips}
    assert splits == {row.group: "val" if is_held_out(row.group, 0.08) else "train" for row in rows}
    assert set(splits.values()) == {"train", "val"}


def test_labels_that_are_held_out_go_with_what_gives_them_away(tmp_path: Path) -> None:
    gone = GiveAway(["saxophone"], WordVectors.load(DEFAULT_MODEL_DIR))
    rows = [script.Row("a", ("alto saxophone", "brass instrument"), "g/a"), script.Row("b", ("saxophone",), "g/b")]
    for row in rows:
        (tmp_path / row.file).write_bytes(b"x")
    assert script.write(tmp_path, iter(rows), 0.08, gone) == 1
    assert [c.labels for c in read_dataset(tmp_path).clips] == [("brass instrument",)]


def test_word_vectors_go_with_labels_to_hold_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(tmp_path), "--out", str(tmp_path), "--hold-out-labels", "f"])
    with pytest.raises(SystemExit):
        script.main()

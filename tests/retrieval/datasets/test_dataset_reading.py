"""Readers of tagged clips on miniature trees in the real layouts, and what they say of bad ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.datasets.load import read_dataset
from scripts.miniatures.tags663 import make_miniature, write_pickle

GOOD_ROWS = "a.wav,piano; slow ;piano,train,r1,9.0\nb.wav,drums,train,r1,1\nc.wav,slow,test,r2,2\n"


def table(folder: Path, rows: str, *, header: str = "file,labels,split,source,duration_s") -> Path:
    for name in "abc":
        soundfile.write(folder / f"{name}.wav", np.zeros(80), 8000)
    (folder / "labels.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
    return folder


def put(folder: Path, name: str, value: object) -> None:
    write_pickle(folder / name, value)


def test_a_table_is_read(tmp_path: Path) -> None:
    clips = read_dataset(table(tmp_path, GOOD_ROWS))
    assert [clip.path for clip in clips.clips] == [tmp_path / f"{name}.wav" for name in "abc"]
    assert [clip.labels for clip in clips.clips] == [("piano", "slow"), ("drums",), ("slow",)]
    assert [clip.group for clip in clips.clips] == ["r1", "r1", "r2"]
    assert (clips.name, clips.tags, clips.splits) == (
        tmp_path.name,
        ("drums", "piano", "slow"),
        {"test": 1, "train": 2},
    )
    assert read_dataset(tmp_path / "labels.csv").clips == clips.clips
    assert len(read_dataset(tmp_path, ["train"])) == 2
    assert len(read_dataset(tmp_path, ["train", "test"])) == 3
    np.testing.assert_array_equal(clips.truth(["slow", "horn"]), [[True, False], [False, False], [True, False]])


def test_splits_and_groups_may_be_left_out(tmp_path: Path) -> None:
    clips = read_dataset(table(tmp_path, "a.wav,piano\nb.wav,drums\n", header="file,labels"))
    assert [(clip.split, clip.group) for clip in clips.clips] == [(None, "a.wav"), (None, "b.wav")]
    with pytest.raises(DatasetError, match=r"no clip of .* 'test'; it has no splits"):
        clips.of_split("test")


@pytest.mark.parametrize(
    ("rows", "message", "n_left"),
    [
        ("x.wav,piano\ny.wav,drums\n", "2 missing files: x.wav, y.wav", 3),
        ("v,d\nw,d\nx,d\ny,d\nz,d\n", "5 missing files: v, w, x and 2 more", 3),
        ("c.wav, ; \n", "1 duplicate rows with other labels: c.wav", 3),
        ("a.wav,piano;slow\n", "1 duplicate rows: a.wav", 3),
        (",piano\n", "1 rows without a file name: line 5", 3),
    ],
)
def test_bad_rows_are_named_or_dropped(tmp_path: Path, rows: str, message: str, n_left: int) -> None:
    table(tmp_path, GOOD_ROWS + rows)
    with pytest.raises(DatasetError, match="--drop-bad") as refusal:
        read_dataset(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    lenient = read_dataset(tmp_path, drop_bad=True)
    assert lenient.dropped == (message,)
    assert len(lenient) == n_left


def test_rows_with_empty_labels(tmp_path: Path) -> None:
    table(tmp_path, "a.wav,piano\nb.wav, ;\nc.wav,\n", header="file,labels")
    with pytest.raises(DatasetError, match=r"2 rows with empty labels: b\.wav, c\.wav"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path, drop_bad=True)) == 1
    table(tmp_path, "b.wav,\n", header="file,labels")
    with pytest.raises(DatasetError, match="it has no usable row"):
        read_dataset(tmp_path, drop_bad=True)


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"neither labels.csv .* nor data_mapping.pkl"):
        read_dataset(tmp_path)
    (tmp_path / "labels.csv").write_text("path,labels\n")
    with pytest.raises(DatasetError, match="no column 'file'"):
        read_dataset(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"file,labels\n\xff,x\n")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_dataset(tmp_path)


def test_splits_without_clips_or_positives(tmp_path: Path) -> None:
    clips = read_dataset(table(tmp_path, GOOD_ROWS))
    with pytest.raises(DatasetError, match=r"in the split 'val'; it has test \(1\), train \(2\)"):
        clips.of_split("val")
    bare = TaggedClips(tuple(replace(clip, labels=()) for clip in clips.clips), "bare")
    with pytest.raises(DatasetError, match="the split 'test' of bare has no positives"):
        bare.of_split("test")
    with pytest.raises(DatasetError, match="no positives: none of the 3 clips"):
        clips.truth(["horn"])


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("suffixes", [False, True])
@pytest.mark.parametrize("audio", ["wav", "npy"])
def test_the_663_layout_is_read(tmp_path: Path, audio: str, suffixes: bool, protocol: int) -> None:
    mapping = make_miniature(tmp_path, audio=audio, n_clips=9, suffixes=suffixes, protocol=protocol)
    clips = read_dataset(tmp_path, array_rate_hz=16_000)
    assert [clip.labels for clip in clips.clips] == [tuple(tags) for tags in mapping.values()]
    assert [clip.path.name for clip in clips.clips] == [f"clip_{number:03d}.{audio}" for number in range(9)]
    assert [clip.split for clip in clips.clips] == ["train"] * 7 + ["val", None]
    assert {clip.array_rate_hz for clip in clips.clips} == {16_000 if audio == "npy" else None}
    assert len(read_dataset(tmp_path, ["train"])) == 7


def test_names_in_the_lists_may_differ_in_suffix_and_clips_lie_deeper(tmp_path: Path) -> None:
    mapping = make_miniature(tmp_path, audio="wav", n_clips=6)
    (tmp_path / "audio").mkdir()
    for path in tmp_path.glob("*.wav"):
        shutil.move(path, tmp_path / "audio" / path.name)
    put(tmp_path, "Train_ids.pkl", np.array([f"{name}.npy" for name in list(mapping)[:4]]))
    clips = read_dataset(tmp_path)
    assert [clip.split for clip in clips.clips] == ["train"] * 4 + ["val", None]
    assert clips.clips[0].path.parent.name == "audio"


def test_problems_of_the_663_layout(tmp_path: Path) -> None:
    mapping = make_miniature(tmp_path, n_clips=6)
    names = list(mapping)
    (tmp_path / f"{names[0]}.wav").unlink()
    put(tmp_path, "data_mapping.pkl", {**mapping, names[1]: [" "]})
    put(tmp_path, "Train_ids.pkl", [*names[:4], "stranger"])
    put(tmp_path, "val_ids.pkl", [names[2], names[4]])
    with pytest.raises(DatasetError, match="--drop-bad") as refusal:
        read_dataset(tmp_path)
    for part in (
        f"1 missing files: {names[0]}",
        f"1 clips without tags: {names[1]}",
        "1 clips in a list that data_mapping.pkl lacks: stranger",
        f"1 clips in both lists: {names[2]}",
    ):
        assert part in str(refusal.value)
    lenient = read_dataset(tmp_path, drop_bad=True)
    assert [(clip.group, clip.split) for clip in lenient.clips] == [
        (names[2], None),
        (names[3], "train"),
        (names[4], "val"),
        (names[5], None),
    ]
    assert len(lenient.dropped) == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data_mapping.pkl", ["a"], "holds a list: it must be a dict"),
        ("data_mapping.pkl", {"a": 3}, "the entry 'a' is not"),
        ("data_mapping.pkl", {1: ["b"]}, "the entry 1 is not"),
        ("Train_ids.pkl", {"a": 1}, "does not hold a list"),
        ("val_ids.pkl", Path("x"), "is not read: it asks for pathlib"),
        ("val_ids.pkl", None, "val_ids.pkl is missing: the layout needs data_mapping.pkl, Train_ids.pkl"),
    ],
)
def test_bad_pickles_of_the_663_layout(tmp_path: Path, name: str, value: object, message: str) -> None:
    make_miniature(tmp_path, n_clips=4)
    if value is None:
        (tmp_path / name).unlink()
    else:
        put(tmp_path, name, value)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path)

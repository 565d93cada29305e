"""Tags of files by an audio tower with one axis per pitch, and their plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from doubles import AXES, PitchEar, WordAxes, pitches

from encoders.audio import AudioDecodeError
from encoders.text.unknown import LeftOut
from retrieval.label_file import clean_labels
from retrieval.label_reading import LabelReading, UnknownLabel
from retrieval.tagger import FileTags, LabelError, TagScore
from retrieval.tagging import ZeroShotTagger
from retrieval.taggram import time_edges_s, write_taggram


@pytest.fixture
def tagger(tmp_path: Path) -> ZeroShotTagger:
    text: Any = WordAxes()
    return ZeroShotTagger(text=text, model_dir=tmp_path, audio=PitchEar())


def write(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path, waveform, 32000)
    return path


def scores(tags: FileTags) -> dict[str, float]:
    return {tag.tag: tag.score for tag in tags.tags}


def test_the_label_that_fits_comes_first(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", pitches("high", duration_s=20.3))
    tags = tagger.tag(song, ["low", "high", "noisy"])
    assert tags.tags[0].tag == "high"
    assert tags.tags[0].score > 0.99 > 0.01 > tags.tags[1].score
    assert tags.duration_s == pytest.approx(20.3, abs=0.01)
    assert tags.spans_s.tolist() == [[0.0, 10.0], [5.0, 15.0], [10.0, 20.0]]
    assert tags.segment_probabilities.shape == (3, 3)


def test_the_score_of_a_clip_is_not_that_of_its_best_segment(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(
        tmp_path / "song.wav",
        np.concatenate([pitches("high", duration_s=10.0), pitches("low", duration_s=40.0)]),
    )
    tags = tagger.tag(song, ["high", "low"])
    column = [tag.tag for tag in tags.tags].index("high")
    assert tags.segment_probabilities[0, column] > 0.99
    assert scores(tags)["high"] < 0.05
    assert scores(tags)["low"] > 0.99


def test_a_clip_is_the_sigmoid_of_the_mean_logit(tagger: ZeroShotTagger) -> None:
    waveform = np.concatenate([pitches("high", duration_s=10.0), pitches("low", duration_s=13.0)])
    labels = ["high", "low", "noisy"]
    logits = WordAxes.calibration.logits(tagger.embed(waveform).vectors, tagger.label_vectors(labels))
    expected = 1 / (1 + np.exp(-logits.mean(axis=0)))
    assert tagger.scores(waveform, labels) == pytest.approx(expected, abs=1e-6)


def test_scores_of_a_waveform_are_those_of_its_file(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    waveform = pitches("high", "low", duration_s=12.0)
    song = write(tmp_path / "song.wav", waveform)
    in_order = tagger.scores(song)
    assert in_order == pytest.approx(tagger.scores(waveform), abs=1e-3)
    assert dict(zip(tagger.tags, in_order, strict=True)) == pytest.approx(scores(tagger.tag(song, top=99)))


def test_the_tags_of_the_model_by_default(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", pitches("low", duration_s=3.0))
    assert set(scores(tagger.tag(song))) == set(AXES)


def test_top_and_threshold(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", pitches("low", "middle", duration_s=5.0))
    assert len(tagger.tag(song, AXES, top=3).tags) == 3
    assert len(tagger.tag(song, AXES, top=99).tags) == len(AXES)
    found = tagger.tag(song, AXES, threshold=0.5)
    assert {tag.tag for tag in found.tags} == {"low", "middle"}
    assert found.segment_probabilities.shape == (1, 2)
    assert tagger.tag(song, ["noisy"], threshold=0.9).tags == ()


def test_segment_probabilities_have_the_order_of_the_tags(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", pitches("middle", duration_s=5.0))
    found = tagger.tag(song, ["noisy", "middle", "low"])
    assert found.segment_probabilities[0].tolist() == pytest.approx([tag.score for tag in found.tags])


def test_labels_are_tidied() -> None:
    assert clean_labels([" Low ", "low", "", "  ", "a\t b", "LOW", "a b"]) == ["Low", "a b"]


def test_no_label_is_an_error(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="give at least one that is not empty"):
        tagger.tag(tmp_path / "never_read.wav", ["", " "])


def test_all_labels_without_a_known_word_are_named(tagger: ZeroShotTagger) -> None:
    with pytest.raises(LabelError, match="no known word in these labels: 'foo', 'bar baz'"):
        tagger.label_vectors(["low", "foo", "bar baz"])
    with pytest.raises(LabelError, match="none of these words: 'foo'"):
        tagger.label_vectors(["low", "foo"])


def test_labels_that_the_model_does_not_know_are_left_out_where_others_are_left(
    tagger: ZeroShotTagger, tmp_path: Path
) -> None:
    song = write(tmp_path / "song.wav", pitches("high", duration_s=5.0))
    plain = tagger.tag(song, ["high", "low"])
    found = tagger.tag(song, ["foo", "high", "bar baz", "low", "FOO"])
    assert (found.tags, found.segment_probabilities.tolist()) == (plain.tags, plain.segment_probabilities.tolist())
    assert plain.reading == LabelReading(("high", "low"))
    assert found.reading == LabelReading(
        ("high", "low"),
        unknown={
            "foo": UnknownLabel("the model does not know 'foo'"),
            "bar baz": UnknownLabel("the model does not know 'bar', 'baz'"),
        },
    )
    assert found.to_dict() == {**plain.to_dict(), "unknown": {"foo": [], "bar baz": []}}
    with pytest.raises(LabelError, match="no known word in these labels: 'foo', 'bar baz'"):
        tagger.tag(song, ["foo", "bar baz"])


def test_the_score_of_an_unknown_label_is_nan(tagger: ZeroShotTagger) -> None:
    waveform = pitches("high", duration_s=5.0)
    scores = tagger.scores(waveform, ["foo", "high", "bar", "low"])
    assert np.isnan(scores).tolist() == [True, False, True, False]
    assert scores[[1, 3]].tolist() == tagger.scores(waveform, ["high", "low"]).tolist()
    with pytest.raises(LabelError, match="no known word in these labels: 'foo', 'bar'"):
        tagger.scores(waveform, ["foo", "bar"])
    with pytest.raises(LabelError, match="no labels"):
        tagger.scores(waveform, [])


def test_a_misspelled_label_is_read_as_the_word_that_is_meant_unless_literal(
    tagger: ZeroShotTagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"mdidle": "middle", "Hihg lwo": "high low"}
    monkeypatch.setattr(tagger.text, "respelled", lambda label: (read.get(label, label), {}), raising=False)
    song = write(tmp_path / "song.wav", pitches("high", duration_s=5.0))
    found = tagger.tag(song, ["mdidle", "high", "Hihg lwo"])
    plain = scores(tagger.tag(song, ["middle", "high", "high low"]))
    assert scores(found) == {"mdidle": plain["middle"], "high": plain["high"], "Hihg lwo": plain["high low"]}
    assert found.to_dict()["read_as"] == read
    assert "unknown" not in found.to_dict()
    literal = tagger.tag(song, ["mdidle", "high"], literal=True)
    assert list(scores(literal)) == ["high"]
    assert literal.to_dict()["unknown"] == {"mdidle": []}
    assert np.isnan(tagger.scores(song, ["mdidle", "high"])).tolist() == [True, False]  # what an evaluation measures
    again = tagger.tag(song, tagger.read_labels(["mdidle", "high", "Hihg lwo"]))
    assert again.to_dict() == found.to_dict()


def test_reasons_are_looked_up_for_ten_labels(tagger: ZeroShotTagger, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def left_out(label: str) -> LeftOut:
        asked.append(label)
        return LeftOut((label,))

    monkeypatch.setattr(tagger.text, "left_out", left_out)
    reading = tagger.read_labels(["low", *(f"x{number}" for number in range(1000))])
    assert (reading.names, len(reading.unknown), len(asked)) == (("low",), 1000, 10)


def test_a_file_that_is_not_audio(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no sound")
    with pytest.raises(AudioDecodeError, match=r"text\.mp3"):
        tagger.tag(tmp_path / "text.mp3")


def test_plain_values() -> None:
    tags = FileTags("a.wav", 1.23456, (TagScore("low", 0.98765432),), np.zeros((1, 2)), np.zeros((1, 1)))
    assert tags.to_dict() == {
        "path": "a.wav",
        "duration_s": 1.235,
        "tags": [{"tag": "low", "score": 0.987654}],
    }


def test_each_moment_belongs_to_the_nearest_segment() -> None:
    assert time_edges_s(np.array([[0.0, 10.0], [5.0, 15.0], [7.0, 17.0]])).tolist() == [0.0, 7.5, 11.0, 17.0]
    assert time_edges_s(np.array([[0.0, 3.0]])).tolist() == [0.0, 3.0]


def test_a_picture_shows_what_changes_in_time(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    import matplotlib.image

    song = write(
        tmp_path / "$x$ _a^{b.wav",
        np.concatenate([pitches("high", duration_s=30.0), pitches("low", duration_s=30.0)]),
    )
    picture = tmp_path / "picture.png"
    write_taggram(picture, tagger.tag(song, ["high", "low"]))
    pixels = matplotlib.image.imread(picture)[:, :1000, :3]  # without the colour bar
    top_of_scale = np.array([0.993, 0.906, 0.144])
    rows, columns = np.nonzero(((pixels - top_of_scale) ** 2).sum(axis=2) < 0.01)
    middle = (columns.min() + columns.max()) / 2
    first_half, second_half = set(rows[columns < middle - 80]), set(rows[columns > middle + 80])
    assert len(first_half) > 20
    assert len(second_half) > 20
    assert not first_half & second_half  # one tag's row is bright first, the other's then


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_other_kinds_of_picture(tagger: ZeroShotTagger, tmp_path: Path, suffix: str) -> None:
    song = write(tmp_path / "song.wav", pitches("low", duration_s=3.0))
    write_taggram(tmp_path / f"picture{suffix}", tagger.tag(song))
    assert (tmp_path / f"picture{suffix}").stat().st_size > 1000


def test_a_picture_of_nothing_or_of_no_kind_is_refused(tagger: ZeroShotTagger, tmp_path: Path) -> None:
    song = write(tmp_path / "song.wav", pitches("low", duration_s=3.0))
    with pytest.raises(ValueError, match="lower the threshold"):
        write_taggram(tmp_path / "picture.png", tagger.tag(song, ["noisy"], threshold=0.9))
    with pytest.raises(ValueError, match=r"must end in \.png, \.svg, \.pdf"):
        write_taggram(tmp_path / "picture.mp3", tagger.tag(song))

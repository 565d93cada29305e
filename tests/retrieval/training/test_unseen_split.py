"""Tags held out from training: what is taken away, what is measured, what is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from training_helpers import TAGS, tagged_clips, words_file

from encoders.audio import stream_chunks
from encoders.tagger_model import TaggerModel
from encoders.text.tower import TextEncoder
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.audio import load_clip
from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips
from retrieval.training.config import BatchConfig, LossConfig, OptimConfig, TrainConfig
from retrieval.training.run import TrainingRun
from retrieval.training.unseen_labels import exclude_unseen_tags

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")


def clip(name: str, *labels: str) -> TaggedClip:
    return TaggedClip(Path(name), labels)


def test_near_synonyms_go_too_and_other_labels_stay(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    train = TaggedClips(clips=(clip("a", "high", "low"), clip("b", "treble", "noise"), clip("c", "treble")), name="t")
    held = TaggedClips(clips=(clip("d", "middle", "high"), clip("e", "xyzzy")), name="v")
    near = float(words.encode(["high"])[0] @ words.encode(["treble"])[0])
    kept, unseen = exclude_unseen_tags(train, held, ["high", "middle"], encoder=words, synonym_cosine=near - 0.01)
    assert [c.labels for c in kept.clips] == [("low",), ("noise",)]
    assert (unseen.tags, unseen.leaking_tags, unseen.clips_left_out) == (("high", "middle"), {"treble": "high"}, 1)
    kept, unseen = exclude_unseen_tags(train, None, ["high"], encoder=words, synonym_cosine=near + 0.01)
    assert [c.labels for c in kept.clips] == [("low",), ("treble", "noise"), ("treble",)]
    assert unseen.leaking_tags == {}


def test_tags_that_cannot_be_held_out_are_named(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    train = TaggedClips(clips=(clip("a", "high"),), name="t")
    with pytest.raises(DatasetError, match="no clip of t has the tags to exclude: oboe"):
        exclude_unseen_tags(train, None, ["oboe"], encoder=words, synonym_cosine=0.8)
    held = TaggedClips(clips=(clip("d", "low"),), name="v")
    with pytest.raises(DatasetError, match="leaves no training clip with a label"):
        exclude_unseen_tags(train, held, ["high"], encoder=words, synonym_cosine=0.8)


def run(folder: Path, **changes: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "objective": "contrastive",
        "backbone": "mn04",
        "out": folder / "out",
        "text": words_file(folder),
        "chunk_s": 0.5,
        "crop_s": 0.5,
        "unseen_labels": ("high",),
        "batch": BatchConfig(size=4),
        "optim": OptimConfig(epochs=1, device="cpu"),
    }
    clips = tagged_clips(folder / "clips")
    return TrainingRun(TrainConfig(**(values | changes)), clips.of_split("train"), clips.of_split("val"))


def test_two_towers_are_measured_on_seen_and_unseen_tags_apart(tmp_path: Path) -> None:
    made = run(tmp_path)
    seen = sorted(set(TAGS) - {"high"})
    assert list(made.labels.tags) == seen
    result = made.run()
    assert result.unseen.tags == ("high",)
    assert 0 < result.validation["map"] <= 1 and 0 < result.validation_unseen["map"] <= 1
    model = tmp_path / "out"
    assert TextEncoder.load(model).tag_names() == seen
    record = json.loads((model / "training.json").read_text())
    assert record["unseen"]["tags"] == ["high"] and record["validation_unseen"]["map"] == pytest.approx(
        result.validation_unseen["map"], abs=1e-6
    )
    # The unseen tag's average precision, from the directory alone, on the sounds as they are stored for training.
    loaded = TwoTowerModel.from_pretrained(model)
    held = tagged_clips(tmp_path / "clips").of_split("val")
    form = {"sample_rate_hz": loaded.sample_rate_hz, "chunk_s": loaded.chunk_s}
    vectors = []
    for one in held.clips:
        stored = load_clip(one, sample_rate_hz=loaded.sample_rate_hz).astype("<f2").astype(np.float32)
        chunks = np.stack([chunk.samples for chunk in stream_chunks(stored, **form)])
        vectors.append(loaded.segment_vectors(loaded.chunk_features(chunks)).mean(0))
    scores = np.stack(vectors) @ loaded.encode_text(["high"])[0]
    carried = np.array(["high" in one.labels for one in held.clips])
    assert 0 < carried.sum() < len(carried)
    assert result.validation_unseen["map"] == pytest.approx(average_precision_score(carried, scores), abs=1e-6)


def test_a_tagger_never_hears_of_them(tmp_path: Path) -> None:
    changes = {"objective": "bce", "loss": LossConfig(name="bce-with-logits")}
    result = run(tmp_path, **changes).run()
    assert result.unseen.tags == ("high",) and result.validation_unseen == {}
    assert "high" not in TaggerModel.from_pretrained(tmp_path / "out").config.tag_names
    assert np.isfinite(result.validation["map"])


def test_an_unseen_tag_without_a_vector_is_named(tmp_path: Path) -> None:
    import dataclasses

    clips = tagged_clips(tmp_path / "clips")
    strange = [dataclasses.replace(c, labels=(*c.labels, "xyzzy")) for c in clips.clips]
    clips = dataclasses.replace(clips, clips=tuple(strange))
    plan = TrainConfig(
        objective="contrastive", backbone="mn04", out=tmp_path, text=words_file(tmp_path), unseen_labels=("xyzzy",)
    )
    with pytest.raises(DatasetError, match="unseen tags out of the vocabulary: xyzzy"):
        TrainingRun(plan, clips.of_split("train"), clips.of_split("val"))

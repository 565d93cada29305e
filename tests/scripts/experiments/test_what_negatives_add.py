"""Contents of a batch, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.datasets.base import TaggedClip
from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.batches import BatchMaker
from retrieval.training.config import BatchConfig
from retrieval.training.labels import LabelTable
from retrieval.training.mining import Miner
from scripts.experiments import what_negatives_add as experiment

TAGS = tuple(f"t{i:02}" for i in range(40))


@pytest.fixture
def sounds(tmp_path: Path) -> WaveformStore:
    clips = []
    for i in range(len(TAGS)):
        np.save(tmp_path / f"{i}.npy", np.full(160, 0.1, np.float32), allow_pickle=False)
        clips.append(TaggedClip(tmp_path / f"{i}.npy", (TAGS[i],), array_rate_hz=16000))
    return WaveformStore.open(clips, tmp_path / "store", sample_rate_hz=16000)


def metrics(sounds: WaveformStore, kind: str, **settings: int | float) -> dict[str, float]:
    """Return the metrics of clips with one tag each; a clip and its tag have the same vector, a point of a circle."""
    angles = np.linspace(0, 2 * np.pi, len(TAGS), endpoint=False)
    vectors = np.stack([np.cos(angles), np.sin(angles), np.zeros(len(TAGS))], 1).astype(np.float32)
    labels = LabelTable.of(TAGS, np.eye(len(TAGS), dtype=bool))
    miner = Miner(kind, labels.has_tag, labels.excluded)
    made = BatchMaker(BatchConfig(crop_samples=160, **settings), labels, sounds, miner=miner)
    return experiment.metrics_of(made, labels, (vectors, vectors))


def test_a_batch_of_all_clips_has_all_tags(sounds: WaveformStore) -> None:
    found = metrics(sounds, "random", size=40, mined_share=0.0, mined_tags=0)
    assert (found["columns"], found["hardest_tags_there"], found["hardest_tags_by_labels"]) == (1, 1, 1)
    nearest = np.cos(2 * np.pi / len(TAGS))  # the neighbour on the circle
    assert found["clip_to_tag"] == found["tag_to_clip"] == pytest.approx(nearest, abs=1e-4)


def test_without_mining_a_batch_has_the_tags_of_its_clips_alone(sounds: WaveformStore) -> None:
    found = metrics(sounds, "random", size=10, mined_share=0.0, mined_tags=0)
    assert found["columns"] == 0.25
    assert found["hardest_tags_there"] == found["hardest_tags_by_labels"] < 0.3


def test_mining_brings_nearer_negatives(sounds: WaveformStore) -> None:
    drawn, mined = (metrics(sounds, kind, size=4, mined_share=0.0, mined_tags=2) for kind in ("random", "hard"))
    assert mined["clip_to_tag"] > drawn["clip_to_tag"]
    assert mined["hardest_tags_there"] > drawn["hardest_tags_there"] > drawn["hardest_tags_by_labels"]

"""What a starting model says of other words is held, and silence of another dataset is no evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning_helpers import TAGS, tagged_clips, words_file

from encoders import ModelDirError, TwoTowerModel
from encoders.word_file import WordVectors
from retrieval.datasets.clips import TaggedClip, TaggedClips
from retrieval.learning.batches import BatchSettings
from retrieval.learning.build import new_tagger
from retrieval.learning.contrastive_losses import info_nce
from retrieval.learning.keep import Kept, kept_phrases
from retrieval.learning.learners import ContrastiveLearner, LossSettings
from retrieval.learning.plan import Plan, label_table, together
from retrieval.learning.run_settings import RunSettings
from retrieval.learning.training_run import TrainingRun
from retrieval.learning.validation import clip_vectors
from retrieval.learning.waveforms import WaveformStore

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")


def dataset(name: str, *labels: str) -> TaggedClips:
    clips = tuple(TaggedClip(Path(name) / f"{i}.wav", tuple(row.split(";"))) for i, row in enumerate(labels))
    return TaggedClips(clips=clips, name=name)


def test_a_tag_that_a_dataset_never_uses_is_no_negative_in_it() -> None:
    both = together([dataset("notes", "cello", "oboe;cello"), dataset("rooms", "rain", "cello;wind")])
    assert [clip.dataset for clip in both.clips] == ["notes", "notes", "rooms", "rooms"]
    tags = ["cello", "oboe", "rain", "wind"]
    own = label_table(both, tags, None, synonym_cosine=0.75, label_scope="own")
    assert own.forbidden.tolist() == [
        [True, False, True, True],  # oboe is a word of these notes, and this clip lacks it
        [True, True, True, True],
        [False, True, True, False],
        [True, True, False, True],
    ]
    everywhere = label_table(both, tags, None, synonym_cosine=0.75, label_scope="all")
    assert (everywhere.forbidden == everywhere.has_tag).all()
    assert (own.has_tag == everywhere.has_tag).all()


def test_datasets_of_one_name_stay_apart() -> None:
    both = together([dataset("clips", "cello"), replace(dataset("other", "rain"), name="clips")])
    assert [clip.dataset for clip in both.clips] == ["clips", "clips (2)"]


def test_what_is_learnt_and_its_near_synonyms_are_not_held(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    learnt = words.encode(["low", "high"])
    near = float(words.encode(["treble"])[0] @ learnt[1])
    names = [*TAGS, "treble", "unheard of"]
    assert list(kept_phrases(words, names, learnt, synonym_cosine=near - 0.01)) == ["middle", "noise"]
    assert list(kept_phrases(words, names, learnt, synonym_cosine=near + 0.002)) == ["middle", "noise", "treble"]
    assert list(kept_phrases(words, names, learnt, synonym_cosine=1.1)) == ["middle", "noise", "treble"]
    with pytest.raises(ValueError, match="no tags beside those that are learnt; leave --keep out"):
        kept_phrases(words, ["low", "middle"], learnt, synonym_cosine=0.9)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt all tags a little, with a calibration that is easily recognised."""
    folder = tmp_path_factory.mktemp("start")
    clips = tagged_clips(folder / "clips", 24)
    plan = Plan(
        objective="contrastive",
        backbone="mn04",
        out=folder / "model",
        text=words_file(folder),
        block_s=0.5,
        chunk_s=0.5,
        batch=BatchSettings(size=8),
        run=RunSettings(epochs=8, device="cpu", learning_rate=1e-3),
    )
    TrainingRun(plan, clips, None).go()
    model = TwoTowerModel.from_pretrained(plan.out)
    model.config.tag_names = [*TAGS, "treble"]
    model.calibration.line.copy_(torch.tensor([3.0, -2.0]))
    model.save_pretrained(folder / "start")
    return folder / "start"


def stripped(clips: TaggedClips) -> TaggedClips:
    """Only two of the tags."""
    kept = (replace(c, labels=tuple(tag for tag in c.labels if tag in ("low", "high"))) for c in clips.clips)
    return replace(clips, clips=tuple(c for c in kept if c.labels))


def run(folder: Path, start: Path, **changes: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "objective": "contrastive",
        "backbone": "mn04",
        "out": folder / f"out{changes.get('keep', 0)}",
        "init": start,
        "block_s": 0.5,
        "chunk_s": 0.5,
        "batch": BatchSettings(size=4),
        "run": RunSettings(epochs=6, device="cpu", learning_rate=1e-3),
    }
    clips = stripped(tagged_clips(folder / "clips", 24))
    return TrainingRun(Plan(**(values | changes)), clips.of_split("train"), clips.of_split("val"))


def test_drift_is_the_move_of_the_scores_in_their_spreads(tmp_path: Path, start: Path) -> None:
    model = TwoTowerModel.from_pretrained(start)
    clips = tagged_clips(tmp_path / "clips")
    sounds = WaveformStore.open(clips.clips, tmp_path / "store", sample_rate_hz=model.sample_rate_hz)
    words = WordVectors.load(start)
    phrases = {tag: words.encode([tag])[0] for tag in ("middle", "noise")}
    kept = Kept.of(model, sounds, phrases)
    rows = torch.tensor([4, 1])
    audio, text = kept.clips[rows], kept.text
    assert kept.drift(audio, text, rows).item() == pytest.approx(0, abs=1e-8)
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(3))
    moved = torch.nn.functional.normalize(audio + 0.1 * noise, dim=1)
    scores = clip_vectors(model, sounds)
    scores = scores / np.linalg.norm(scores, axis=1, keepdims=True) @ model.encode_text(["middle", "noise"]).T
    expected = (((moved @ text.T).numpy() - scores[[4, 1]]) / scores.std(0)) ** 2
    assert kept.drift(moved, text, rows).item() == pytest.approx(expected.mean(), rel=1e-3)


def test_held_words_move_less_and_keep_their_statistics_and_their_place(tmp_path: Path, start: Path) -> None:
    before = TwoTowerModel.from_pretrained(start)
    moved = {}
    for weight in (0.0, 10.0):
        made = run(tmp_path, start, keep=weight)
        made.go()
        after = TwoTowerModel.from_pretrained(made.plan.out)
        blocks = 0.1 * torch.randn(16, after.block_samples, generator=torch.Generator().manual_seed(5))
        audio = [model.window_vectors(model.block_features(blocks)[:1]) for model in (before, after)]
        scores = [a @ model.encode_text(["middle", "noise"]).T for a, model in zip(audio, (before, after), strict=True)]
        moved[weight] = float(np.abs(scores[1] - scores[0]).mean())
        same = torch.equal(
            before.audio_tower.backbone.features[0][1].running_mean,
            after.audio_tower.backbone.features[0][1].running_mean,
        )
        assert same == (weight > 0)
        assert (after.calibration.line.tolist() == [3.0, -2.0]) == (weight > 0)
        drifts = [entry["drift"] for entry in made.trainer.state.log_history if "drift" in entry]
        if weight:
            assert after.config.tag_names == ["high", "low", "middle", "noise"]  # treble is too near to "high"
            assert len(drifts) == 6
            assert all(drift > 0 for drift in drifts)
        else:
            assert after.config.tag_names == ["high", "low"]
            assert not drifts
    assert moved[10.0] < moved[0.0] / 2


def test_where_scores_are_held_the_loss_is_over_log_odds(tmp_path: Path, start: Path) -> None:
    learner = run(tmp_path, start, keep=2.0)._learner.eval()
    assert isinstance(learner, ContrastiveLearner)
    assert learner._kept is not None
    generator = torch.Generator().manual_seed(2)
    batch = {
        "waveforms": 0.1 * torch.randn(3, learner.model.block_samples, generator=generator),
        "clips": torch.tensor([2, 0, 1]),
        "tags": torch.tensor([0, 1]),
        "targets": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
        "ignore": torch.zeros(3, 2, dtype=torch.bool),
    }
    found = learner(**batch, seed=torch.tensor(0))
    audio, text = learner.audio(batch["waveforms"]), learner.model.text_tower(learner.words)
    odds = learner.model.calibration(audio, text)
    held = learner.model.text_tower(learner._kept.words)
    drift = learner._kept.drift(audio, held, batch["clips"])
    contrast = info_nce(odds, batch["targets"] > 0, batch["ignore"], log_scale=torch.tensor(0.0))
    assert found["loss"].item() == pytest.approx((contrast + 2.0 * drift).item(), rel=1e-4)
    np.testing.assert_allclose(learner.centre, learner.model.calibration.mean.numpy())


def test_what_cannot_be_held_is_said(tmp_path: Path, start: Path) -> None:
    with pytest.raises(ValueError, match="goes with --init MODEL, by contrast"):
        run(tmp_path, start, init=None, keep=1.0)
    with pytest.raises(ValueError, match="goes with --init MODEL, by contrast"):
        run(tmp_path, start, objective="bce", loss=LossSettings(name="bce"), keep=1.0)
    with pytest.raises(ValueError, match="does not go with --mixup"):
        run(tmp_path, start, keep=1.0, batch=BatchSettings(size=4, mixup=0.5))
    with pytest.raises(ValueError, match="does not go with --text"):
        run(tmp_path, start, keep=1.0, text=start)
    new_tagger("mn04", tag_names=["low"], block_s=0.5).save_pretrained(tmp_path / "tagger")
    with pytest.raises(ModelDirError, match="no model of two towers, so there are no words to hold"):
        run(tmp_path, tmp_path / "tagger", keep=1.0)


def test_two_towers_to_start_from_bring_their_words(tmp_path: Path, start: Path) -> None:
    made = run(tmp_path, start)
    assert made.model.vocabulary is not None
    assert made.model.vocabulary.tokens == TwoTowerModel.from_pretrained(start).vocabulary.tokens

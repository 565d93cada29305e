"""Distillation preserves the scores of the initial model; missing labels of a data set are not negatives."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_helpers import TAGS, sound, tagged_clips, words_file

from encoders import ModelDirError, TwoTowerModel
from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import TaggedClip, TaggedClips
from retrieval.datasets.splits import concat_datasets
from retrieval.training.config import BatchConfig, LossConfig, OptimConfig, TrainConfig
from retrieval.training.distillation import DistillationTarget, batch_norms, distilled_phrases
from retrieval.training.init import build_tagger_model
from retrieval.training.labels import label_table
from retrieval.training.losses import info_nce
from retrieval.training.modules import ContrastiveModule
from retrieval.training.run import TrainingRun
from retrieval.training.tasks import clip_vectors

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")


def dataset(name: str, *labels: str) -> TaggedClips:
    clips = tuple(TaggedClip(Path(name) / f"{i}.wav", tuple(row.split(";"))) for i, row in enumerate(labels))
    return TaggedClips(clips=clips, name=name)


def test_a_tag_that_a_data_set_never_uses_is_not_a_negative_in_it() -> None:
    both = concat_datasets([dataset("notes", "cello", "oboe;cello"), dataset("rooms", "rain", "cello;wind")])
    assert [clip.dataset for clip in both.clips] == ["notes", "notes", "rooms", "rooms"]
    tags = ["cello", "oboe", "rain", "wind"]
    own = label_table(both, tags, None, synonym_cosine=0.75, missing_labels="unknown")
    assert own.excluded.tolist() == [
        [True, False, True, True],  # oboe is a word of these notes, and this clip lacks it
        [True, True, True, True],
        [False, True, True, False],
        [True, True, False, True],
    ]
    everywhere = label_table(both, tags, None, synonym_cosine=0.75, missing_labels="negative")
    assert (everywhere.excluded == everywhere.has_tag).all()
    assert (own.has_tag == everywhere.has_tag).all()


def test_datasets_of_one_name_stay_apart() -> None:
    both = concat_datasets([dataset("clips", "cello"), replace(dataset("other", "rain"), name="clips")])
    assert [clip.dataset for clip in both.clips] == ["clips", "clips (2)"]


def test_trained_tags_and_their_synonyms_are_not_distilled(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    trained = words.encode(["low", "high"])
    near = float(words.encode(["treble"])[0] @ trained[1])
    names = [*TAGS, "treble", "unheard of"]
    assert list(distilled_phrases(words, names, trained, synonym_cosine=near - 0.01)) == ["middle", "noise"]
    assert list(distilled_phrases(words, names, trained, synonym_cosine=near + 0.002)) == ["middle", "noise", "treble"]
    assert list(distilled_phrases(words, names, trained, synonym_cosine=1.1)) == ["middle", "noise", "treble"]
    with pytest.raises(ValueError, match="no tags other than the trained ones; leave it out"):
        distilled_phrases(words, ["low", "middle"], trained, synonym_cosine=0.9)


def settle(model: TwoTowerModel, clips: TaggedClips) -> None:
    """Give batch norms the statistics of the clips; a few steps of training leave them those of no sound at all."""
    chunks = torch.from_numpy(np.stack([np.load(clip.path)[: model.chunk_samples] for clip in clips.clips]))
    norms = batch_norms(model.audio_tower)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model.audio_tower.projection(model.audio_tower.chunk_features(chunks))
    model.eval()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained briefly on all tags, with a calibration that is easily recognised."""
    folder = tmp_path_factory.mktemp("start")
    clips = tagged_clips(folder / "clips", 24)
    plan = TrainConfig(
        objective="contrastive",
        backbone="mn04",
        out=folder / "model",
        text=words_file(folder),
        chunk_s=0.5,
        crop_s=0.5,
        batch=BatchConfig(size=8),
        optim=OptimConfig(epochs=8, device="cpu", learning_rate=1e-3),
    )
    TrainingRun(plan, clips, None).run()
    model = TwoTowerModel.from_pretrained(plan.out)
    settle(model, clips)
    model.config.tag_names = [*TAGS, "treble"]
    model.calibration.line.copy_(torch.tensor([3.0, -2.0]))
    model.save_pretrained(folder / "start")
    shutil.copy(plan.out / "training.json", folder / "start")
    return folder / "start"


def stripped(clips: TaggedClips) -> TaggedClips:
    """Only two of the tags."""
    kept = (replace(c, labels=tuple(tag for tag in c.labels if tag in ("low", "high"))) for c in clips.clips)
    return replace(clips, clips=tuple(c for c in kept if c.labels))


def run(folder: Path, start: Path, *, validated: bool = True, **changes: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "objective": "contrastive",
        "backbone": "mn04",
        "out": folder / f"out{changes.get('distill_weight', 0)}",
        "init": start,
        "chunk_s": 0.5,
        "crop_s": 0.5,
        "batch": BatchConfig(size=4),
        "optim": OptimConfig(epochs=1, device="cpu"),
    }
    clips = stripped(tagged_clips(folder / "clips", 24))
    return TrainingRun(
        TrainConfig(**(values | changes)), clips.of_split("train"), clips.of_split("val") if validated else None
    )


def test_the_loss_is_the_change_of_the_scores_in_standard_deviations(start: Path) -> None:
    model = TwoTowerModel.from_pretrained(start)
    words = WordVectors.load(start)
    kept = DistillationTarget(model, {tag: words.encode([tag])[0] for tag in ("middle", "noise")})
    chunks = 0.1 * torch.randn(4, model.chunk_samples, generator=torch.Generator().manual_seed(3))
    text = model.encode_text(["middle", "noise"])
    features = model.chunk_features(chunks).reshape(2, 2, -1)
    clips = np.concatenate([model.segment_vectors(one) for one in features])
    before = kept.scores(chunks, 2)
    np.testing.assert_allclose(before.numpy(), clips @ text.T, atol=1e-4)
    assert kept.loss(before, before).item() == 0
    moved = before + torch.tensor([[0.1, 0.0], [-0.2, 0.3]])
    spread = np.sqrt(np.einsum("nd,de,ne->n", text, model.calibration.covariance.numpy(), text))
    expected = (np.array([[0.1, 0.0], [-0.2, 0.3]]) / spread) ** 2
    assert kept.loss(moved, before).item() == pytest.approx(expected.mean(), rel=1e-3)
    torch.nn.init.zeros_(model.audio_tower.projection.fc1.weight)  # the target is a copy
    assert torch.equal(kept.scores(chunks, 2), before)


def test_the_scores_of_distilled_tags_change_less(tmp_path: Path, start: Path) -> None:
    before = TwoTowerModel.from_pretrained(start)
    chunks = np.stack([sound((tag,), 50 + i)[: before.chunk_samples] for i, tag in enumerate(2 * TAGS)])

    def scores(model: TwoTowerModel) -> np.ndarray:
        audio = np.concatenate([model.segment_vectors(one[None]) for one in model.chunk_features(chunks)])
        return audio @ model.encode_text(["middle", "noise"]).T

    moved = {}
    settings = OptimConfig(epochs=6, device="cpu", learning_rate=2e-3)
    for weight in (0.01, 30.0):
        made = run(tmp_path, start, validated=False, distill_weight=weight, freeze_stages=-1, optim=settings)
        made.run()
        moved[weight] = float(np.abs(scores(TwoTowerModel.from_pretrained(made.config.out)) - scores(before)).mean())
        losses = [entry["distillation"] for entry in made.trainer.state.log_history if "distillation" in entry]
        assert len(losses) == 6
        assert all(loss > 0 for loss in losses)
    assert moved[30.0] < moved[0.01]


def test_statistics_and_tags_stay_and_the_calibration_is_fitted_again(tmp_path: Path, start: Path) -> None:
    before = TwoTowerModel.from_pretrained(start)
    for weight in (0.0, 1.0):
        made = run(tmp_path, start, distill_weight=weight)
        made.run()
        after = TwoTowerModel.from_pretrained(made.config.out)
        held = weight > 0
        norms = zip(*(batch_norms(model.audio_tower, model.text_tower) for model in (before, after)), strict=True)
        assert all(torch.equal(one.running_mean, other.running_mean) == held for one, other in norms)
        assert after.calibration.line.tolist() != [3.0, -2.0]  # refitted, since the scores of the trained tags moved
        # treble is too near to "high"
        assert after.config.tag_names == (["high", "low", "middle", "noise"] if held else ["high", "low"])
        assert any("distillation" in entry for entry in made.trainer.state.log_history) == held
        notes = json.loads((made.config.out / "training.json").read_text(encoding="utf-8"))
        assert notes["tags"] == ["high", "low"]
        assert notes["start"]["tags"] == sorted(TAGS)


def test_without_a_warm_up_the_first_epoch_mines_over_the_initial_model(tmp_path: Path, start: Path) -> None:
    settings = OptimConfig(epochs=1, device="cpu", mining_warmup=0, learning_rate=1e-9)
    made = run(tmp_path, start, validated=False, distill_weight=1.0, negatives="hard", optim=settings)
    made.run()
    assert made.task.bank is not None
    assert made.task.bank.snapshot is not None
    clips = clip_vectors(TwoTowerModel.from_pretrained(start), made._sounds)
    clips = clips / np.linalg.norm(clips, axis=1, keepdims=True)
    beside = clips - made.task.module.centre
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    np.testing.assert_allclose(made.task.bank.snapshot[0], beside, atol=1e-3)


def test_with_distillation_the_loss_is_over_log_odds(tmp_path: Path, start: Path) -> None:
    learner = run(tmp_path, start, distill_weight=2.0).task.module.eval()
    assert isinstance(learner, ContrastiveModule)
    assert learner._target is not None
    generator = torch.Generator().manual_seed(2)
    batch = {
        "waveforms": 0.1 * torch.randn(3, learner.model.chunk_samples, generator=generator),
        "tags": torch.tensor([0, 1]),
        "targets": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
        "unknown": torch.zeros(3, 2, dtype=torch.bool),
    }
    found = learner(**batch, seed=torch.tensor(0))
    audio, text = learner.audio(batch["waveforms"]), learner.model.text_tower(learner.text_inputs)
    odds = learner.model.calibration(audio, text)
    held = learner.model.text_tower(learner._target.text_inputs)
    drift = learner._target.loss(audio @ held.T, learner._target.scores(batch["waveforms"], 3))
    contrast = info_nce(odds, batch["targets"], batch["unknown"], log_scale=torch.tensor(0.0))
    assert found["loss"].item() == pytest.approx((contrast + 2.0 * drift).item(), rel=1e-4)
    np.testing.assert_allclose(learner.centre, learner.model.calibration.mean.numpy())


def test_what_cannot_be_distilled_is_refused(tmp_path: Path, start: Path) -> None:
    with pytest.raises(ValueError, match="needs a model to distil from"):
        run(tmp_path, start, init=None, distill_weight=1.0)
    with pytest.raises(ValueError, match="needs a model to distil from"):
        run(tmp_path, start, objective="bce", loss=LossConfig(name="bce"), distill_weight=1.0)
    with pytest.raises(ValueError, match="cannot be combined with --text"):
        run(tmp_path, start, distill_weight=1.0, text=start)
    build_tagger_model("mn04", tag_names=["low"], chunk_s=0.5).save_pretrained(tmp_path / "tagger")
    with pytest.raises(ModelDirError, match="not a two-tower model"):
        run(tmp_path, tmp_path / "tagger", distill_weight=1.0)


def test_initial_towers_bring_their_word_vectors(tmp_path: Path, start: Path) -> None:
    made = run(tmp_path, start)
    assert made.model.vocabulary is not None
    assert made.model.vocabulary.tokens == TwoTowerModel.from_pretrained(start).vocabulary.tokens

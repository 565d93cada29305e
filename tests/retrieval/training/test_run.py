"""Whole runs in miniature: a killed and resumed one is the uninterrupted one, and what comes out can be used."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_helpers import TAGS, tagged_clips, words_file
from transformers import TrainerCallback

from encoders import TextEncoder, TwoTowerModel
from encoders.tagger_model import TaggerModel
from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.training.augment import WaveformAugment
from retrieval.training.config import BatchConfig, LossConfig, OptimConfig, TrainConfig
from retrieval.training.init import build_two_tower
from retrieval.training.run import TrainingRun
from retrieval.training.run_identity import CheckpointError
from retrieval.training.trainer import last_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")


class Killed(RuntimeError):
    """Stands for the end of the process."""


class KillAt(TrainerCallback):
    """Ends a run in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= self.step:
            raise Killed


def plan(out: Path, words: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "objective": "contrastive",
        "backbone": "mn04",
        "out": out,
        "text": words,
        "chunk_s": 0.5,
        "crop_s": 1.0,
        "negatives": "distance-weighted",
        "spec_augment": True,
        "augment": WaveformAugment(gain=0.5, noise=0.5),
        "batch": BatchConfig(size=4, seed=3, mixup=0.3, tag_sampling="stochastic"),
        "optim": OptimConfig(epochs=3, seed=3, device="cpu", save_steps=1),
        "keep_cache": True,
    }
    return TrainConfig(**(values | changes))


def make(made: TrainConfig, folder: Path, *callbacks: TrainerCallback, resume: bool = False) -> TrainingRun:
    dataset = tagged_clips(folder / "clips")
    train, validation = dataset.of_split("train"), dataset.of_split("val")
    return TrainingRun(made, train, validation, resume=resume, callbacks=callbacks)


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def test_a_killed_and_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    words = words_file(tmp_path)
    whole = make(plan(tmp_path / "whole", words), tmp_path)
    done = whole.run()
    assert done.steps >= 6
    with pytest.raises(Killed):
        make(plan(tmp_path / "parts", words), tmp_path, KillAt(4)).run()
    assert last_checkpoint(tmp_path / "parts.work") is not None
    # What a kill within the writing of a checkpoint leaves behind.
    (tmp_path / "parts.work" / "checkpoints" / "checkpoint-99").mkdir()
    again = make(plan(tmp_path / "parts", words), tmp_path, resume=True).run()
    assert again.steps == done.steps and again.validation == done.validation
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    last = [last_checkpoint(tmp_path / f"{name}.work") for name in ("whole", "parts")]
    for name in ("model.safetensors", "mining.safetensors"):
        states = [load_file(folder / name) for folder in last if folder is not None]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    optimizers = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in last if folder]
    for number, state in optimizers[0].items():
        assert all(torch.equal(state[key], optimizers[1][number][key]) for key in state)
    assert not list(tmp_path.rglob("training_args.bin"))


def test_a_resumed_run_holds_what_the_first_start_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = WordVectors.load(words_file(tmp_path))
    build_two_tower("mn04", words, tag_names=[*TAGS, "treble"], chunk_s=0.5).save_pretrained(tmp_path / "start")
    settings = OptimConfig(epochs=2, seed=3, device="cpu", save_steps=1, mining_warmup=0)
    changes = {
        "text": None,
        "init": tmp_path / "start",
        "distill_weight": 2.0,
        "negatives": "hard",
        "synonym_cosine": 1.1,
    }
    clips = tagged_clips(tmp_path / "clips")
    few = (replace(c, labels=tuple(tag for tag in c.labels if tag in ("low", "high"))) for c in clips.clips)
    learnt = replace(clips, clips=tuple(c for c in few if c.labels))

    def made(name: str, *callbacks: TrainerCallback, resume: bool = False) -> TrainingRun:
        values = plan(tmp_path / name, tmp_path, optim=settings, batch=BatchConfig(size=3, seed=3), **changes)
        return TrainingRun(values, learnt, None, resume=resume, callbacks=callbacks)

    done = made("whole").run()
    with pytest.raises(Killed):
        made("parts", KillAt(done.steps - 1)).run()
    assert made("parts", resume=True).run().steps == done.steps
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_trained_model_directory_is_searched_and_tagged_with(tmp_path: Path) -> None:
    words = words_file(tmp_path)
    settings = OptimConfig(epochs=2, seed=0, device="cpu", patience=1)
    run = make(plan(tmp_path / "model", words, negatives="hard", optim=settings), tmp_path)
    result = run.run()
    assert set(result.validation) >= {"map", "roc_auc", "precision_at_10"}
    model = TwoTowerModel.from_pretrained(tmp_path / "model")
    assert model.config.chunk_s == 0.5
    text = TextEncoder.load(tmp_path / "model")
    assert text.tag_names() == sorted(TAGS)
    np.testing.assert_allclose(text.encode(["low"]), model.encode_text(["low"]), atol=1e-5)
    assert not np.allclose(text.calibration.mean, 0)
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["settings"]["negatives"] == "hard" and record["steps"] == result.steps
    log = [entry for entry in run.trainer.state.log_history if "active_triplets" in entry]
    assert log and all(0 <= e["active_triplets"] <= 1 and -1 <= e["collapse"] <= 1.001 for e in log)
    assert any("bank_collapse" in entry for entry in run.trainer.state.log_history)


@pytest.mark.parametrize("loss", ["bce-with-logits", "bce"])
def test_a_tagger_is_trained_and_resumed(loss: str, tmp_path: Path) -> None:
    settings = OptimConfig(epochs=2, seed=1, device="cpu", save_steps=1, optimizer="sgd", schedule="constant")
    changes = {
        "objective": "bce",
        "negatives": "random",
        "loss": LossConfig(name=loss),
        "optim": settings,
        "positive_weights": True,
    }
    done = make(plan(tmp_path / "whole", tmp_path, **changes), tmp_path).run()
    with pytest.raises(Killed):
        make(plan(tmp_path / "parts", tmp_path, **changes), tmp_path, KillAt(2)).run()
    make(plan(tmp_path / "parts", tmp_path, **changes), tmp_path, resume=True).run()
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)
    model = TaggerModel.from_pretrained(tmp_path / "whole")
    assert tuple(model.config.tag_names) == tuple(sorted(TAGS)) and done.steps == 4


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, word vectors and an interrupted run of them in `run`."""
    folder = tmp_path_factory.mktemp("interrupted")
    config = plan(folder / "run", words_file(folder), optim=OptimConfig(epochs=2, seed=0, device="cpu", save_steps=1))
    with pytest.raises(Killed):
        make(config, folder, KillAt(1)).run()
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def relabelled(dataset: TaggedClips) -> TaggedClips:
    """The same clips with their labels rotated by one."""
    labels = [clip.labels for clip in dataset.clips]
    return replace(
        dataset,
        clips=tuple(
            replace(clip, labels=other) for clip, other in zip(dataset.clips, [*labels[1:], labels[0]], strict=True)
        ),
    )


OTHER_RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "negatives": ({"negatives": "hard"}, 'its negatives is "distance-weighted", here "hard"'),
    "labels": ({}, "its labels is"),
    "clips": ({}, "its training clips is"),
    "one clip's content": ({}, "its training clips is"),
    "text": ({"text": "words2.safetensors"}, "its text encoder"),
    "init": ({"init": "start"}, "its initial weights"),
    "learning rate": (
        {"optim": OptimConfig(epochs=2, device="cpu", save_steps=1, learning_rate=1e-3)},
        "learning rate",
    ),
}


@pytest.mark.parametrize("what", OTHER_RUNS)
def test_another_run_is_not_resumed_and_nothing_is_touched(what: str, interrupted: Path, tmp_path: Path) -> None:
    changes, message = OTHER_RUNS[what]
    changes = {"optim": OptimConfig(epochs=2, seed=0, device="cpu", save_steps=1), **changes}
    dataset = tagged_clips(interrupted / "clips")
    if what == "labels":
        dataset = relabelled(dataset)
    if what == "clips":
        dataset = replace(dataset, clips=dataset.clips[1:])
    if what == "one clip's content":
        dataset = tagged_clips(tmp_path / "clips")
        np.save(dataset.clips[0].path, np.load(dataset.clips[1].path))
    if what == "text":
        words = WordVectors.load(interrupted / "words.safetensors")
        words.scales[3] *= 2
        words.save(tmp_path / "words2.safetensors")
        changes["text"] = tmp_path / "words2.safetensors"
    if what == "init":
        words = WordVectors.load(interrupted / "words.safetensors")
        build_two_tower("mn04", words, tag_names=list(TAGS), chunk_s=0.5).save_pretrained(tmp_path / "start")
        changes |= {"init": tmp_path / "start"}
    config = plan(interrupted / "run", interrupted / "words.safetensors", **changes)
    before = snapshot(interrupted / "run.work")
    with pytest.raises(CheckpointError, match=message):
        TrainingRun(config, dataset.of_split("train"), dataset.of_split("val"), resume=True)
    assert snapshot(interrupted / "run.work") == before


def test_a_forgotten_resume_touches_nothing(interrupted: Path, tmp_path: Path) -> None:
    config = plan(interrupted / "run", interrupted / "words.safetensors")
    other = tagged_clips(tmp_path / "others", 6)
    before = snapshot(interrupted / "run.work")
    with pytest.raises(CheckpointError, match="holds an interrupted run: continue it with --resume"):
        TrainingRun(config, other.of_split("train"), other.of_split("val"))
    assert snapshot(interrupted / "run.work") == before
    with pytest.raises(CheckpointError, match="has no run to resume: leave --resume out"):
        make(plan(tmp_path / "nothing", interrupted / "words.safetensors"), tmp_path, resume=True)
    assert not (tmp_path / "nothing.work").exists()


def test_a_data_set_that_was_moved_is_the_same(interrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(interrupted / "run.work", tmp_path / "run.work")
    optim = OptimConfig(epochs=2, seed=0, device="cpu", save_steps=1)
    words = shutil.copy(interrupted / "words.safetensors", tmp_path)
    assert make(plan(tmp_path / "run", Path(words), optim=optim), tmp_path, resume=True).run().steps >= 4


def test_the_cache_is_announced_bounded_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tagged_clips(tmp_path / "clips", 6)
    config = plan(
        tmp_path / "model",
        words_file(tmp_path),
        keep_cache=False,
        max_clip_s=1.0,
        optim=OptimConfig(epochs=1, device="cpu"),
    )
    notes: list[str] = []
    run = TrainingRun(config, dataset.of_split("train"), dataset.of_split("val"), on_note=notes.append)
    assert len(run._sounds.waveform(0)) == run.model.sample_rate_hz
    assert "model.work: up to 0 MB of decoded audio" in notes[0] and "removed when the run ends" in notes[0]
    assert notes[1] == "6 clips are cut to their first 1 s (--max-clip)"
    assert run.run().out == tmp_path / "model"
    assert not (tmp_path / "model.work").exists()
    assert not (tmp_path / "model" / "audio").exists() and not (tmp_path / "model" / "checkpoints").exists()
    with pytest.raises(CheckpointError, match="already holds a model: choose another --out"):
        TrainingRun(config, dataset.of_split("train"), dataset.of_split("val"))
    full = shutil._ntuple_diskusage(1000, 1000, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(DatasetError, match=r"0\.0 GB free"):
        TrainingRun(replace(config, out=tmp_path / "full"), dataset.of_split("train"), dataset.of_split("val"))
    assert not (tmp_path / "full.work" / "run.json").exists()


def test_a_run_that_cannot_be_prepared_leaves_no_claim(tmp_path: Path) -> None:
    dataset = tagged_clips(tmp_path / "clips", 6)
    config = plan(tmp_path / "model", words_file(tmp_path), crop_s=0.5, freeze_stages=99)
    for _ in range(2):
        with pytest.raises(ValueError, match="--freeze-stages 99"):
            TrainingRun(config, dataset.of_split("train"), dataset.of_split("val"))


def test_mixed_precision_trains_on_the_cpu(tmp_path: Path) -> None:
    optim = OptimConfig(epochs=1, device="cpu", precision="bfloat16")
    result = make(plan(tmp_path / "model", words_file(tmp_path), optim=optim), tmp_path).run()
    assert result.steps and all(
        torch.isfinite(x).all() for x in tensors(tmp_path / "model").values() if x.is_floating_point()
    )

"""Whole runs in miniature: a killed and resumed one is the uninterrupted one, and what comes out can be used."""

from __future__ import annotations

import json
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
from retrieval.training.augment import WaveformAugment
from retrieval.training.batches import BatchSettings
from retrieval.training.config import Plan
from retrieval.training.init import new_two_towers
from retrieval.training.run import TrainingRun
from retrieval.training.run_settings import CheckpointError, RunSettings, last_checkpoint
from retrieval.training.tasks import LossSettings

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


def plan(out: Path, words: Path, **changes: Any) -> Plan:
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
        "batch": BatchSettings(size=4, seed=3, mixup=0.3, tag_sampling="stochastic"),
        "run": RunSettings(epochs=3, seed=3, device="cpu", save_steps=1),
    }
    return Plan(**(values | changes))


def make(made: Plan, folder: Path, *callbacks: TrainerCallback) -> TrainingRun:
    dataset = tagged_clips(folder / "clips")
    return TrainingRun(made, dataset.of_split("train"), dataset.of_split("val"), callbacks=callbacks)


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def test_a_killed_and_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    words = words_file(tmp_path)
    whole = make(plan(tmp_path / "whole", words), tmp_path)
    done = whole.go()
    assert done.steps >= 6
    with pytest.raises(Killed):
        make(plan(tmp_path / "parts", words), tmp_path, KillAt(4)).go()
    assert last_checkpoint(tmp_path / "parts") is not None
    # What a kill within the writing of a checkpoint leaves behind.
    (tmp_path / "parts" / "checkpoints" / "checkpoint-99").mkdir()
    again = make(plan(tmp_path / "parts", words), tmp_path).go(resume=True)
    assert again.steps == done.steps and again.validation == done.validation
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    last = [last_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    for name in ("model.safetensors", "mining.safetensors"):
        states = [load_file(folder / name) for folder in last if folder is not None]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    optimisers = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in last if folder]
    for number, state in optimisers[0].items():
        assert all(torch.equal(state[key], optimisers[1][number][key]) for key in state)
    assert not list(tmp_path.rglob("training_args.bin"))


def test_a_resumed_run_holds_what_the_first_start_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = WordVectors.load(words_file(tmp_path))
    new_two_towers("mn04", words, tag_names=[*TAGS, "treble"], chunk_s=0.5).save_pretrained(tmp_path / "start")
    settings = RunSettings(epochs=2, seed=3, device="cpu", save_steps=1, mining_warmup=0)
    changes = {"text": None, "init": tmp_path / "start", "keep": 2.0, "negatives": "hard", "synonym_cosine": 1.1}
    clips = tagged_clips(tmp_path / "clips")
    few = (replace(c, labels=tuple(tag for tag in c.labels if tag in ("low", "high"))) for c in clips.clips)
    learnt = replace(clips, clips=tuple(c for c in few if c.labels))

    def made(name: str, *callbacks: TrainerCallback) -> TrainingRun:
        values = plan(tmp_path / name, tmp_path, run=settings, batch=BatchSettings(size=3, seed=3), **changes)
        return TrainingRun(values, learnt, None, callbacks=callbacks)

    done = made("whole").go()
    with pytest.raises(Killed):
        made("parts", KillAt(done.steps - 1)).go()
    assert made("parts").go(resume=True).steps == done.steps
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_trained_model_directory_is_searched_and_tagged_with(tmp_path: Path) -> None:
    words = words_file(tmp_path)
    settings = RunSettings(epochs=2, seed=0, device="cpu", patience=1)
    run = make(plan(tmp_path / "model", words, negatives="hard", run=settings), tmp_path)
    result = run.go()
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
    settings = RunSettings(epochs=2, seed=1, device="cpu", save_steps=1, optimiser="sgd", schedule="constant")
    changes = {
        "objective": "bce",
        "negatives": "random",
        "loss": LossSettings(name=loss),
        "run": settings,
        "positive_weights": True,
    }
    done = make(plan(tmp_path / "whole", tmp_path, **changes), tmp_path).go()
    with pytest.raises(Killed):
        make(plan(tmp_path / "parts", tmp_path, **changes), tmp_path, KillAt(2)).go()
    make(plan(tmp_path / "parts", tmp_path, **changes), tmp_path).go(resume=True)
    first, second = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)
    model = TaggerModel.from_pretrained(tmp_path / "whole")
    assert tuple(model.config.tag_names) == tuple(sorted(TAGS)) and done.steps == 4


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    words = words_file(tmp_path)
    settings = RunSettings(epochs=1, seed=0, device="cpu")
    make(plan(tmp_path / "run", words, run=settings), tmp_path).go()
    with pytest.raises(CheckpointError, match="holds a run already: go on with --resume"):
        make(plan(tmp_path / "run", words, run=settings), tmp_path).go()
    with pytest.raises(CheckpointError, match='its negatives is "distance-weighted", here "hard"'):
        make(plan(tmp_path / "run", words, run=settings, negatives="hard"), tmp_path).go(resume=True)
    with pytest.raises(CheckpointError, match="has no checkpoint to resume"):
        make(plan(tmp_path / "nothing", words, run=settings), tmp_path).go(resume=True)

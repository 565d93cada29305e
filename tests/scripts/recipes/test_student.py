"""A small run of both stages: the loss falls, and a resumed run ends with the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.recipes.default.calibrate import calibrate, clip_vectors
from scripts.recipes.default.data import Collection
from scripts.recipes.default.features import chunk_features
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.stages import held_out_metrics
from scripts.recipes.default.student import Student

NAMES = ("low", "high", "noise")
MakeStudent = Callable[..., Student]
RECIPE = Recipe(
    seed=2,
    head_steps=40,
    steps=4,
    batch_clips=8,
    phrases=3,
    synthetic_batch=6,
    checkpoint_steps=2,
    mix_probability=0.3,
)


@pytest.fixture
def collection(recipe_collection: Collection) -> Collection:
    return recipe_collection


@pytest.fixture
def student(small_student: MakeStudent) -> MakeStudent:
    return small_student


def test_groups_are_held_out_whole_and_never_drawn(collection: Collection) -> None:
    assert 0 < collection.held_out.sum() < 30
    drawn = {int(i) for _ in range(50) for i in collection.draw(8, np.random.default_rng(_))}
    assert not drawn & set(np.flatnonzero(collection.held_out))


def test_both_stages_learn_and_calibrate(student: MakeStudent, collection: Collection, tmp_path: Path) -> None:
    run = student(
        collection, dataclasses.replace(RECIPE, head_steps=250, head_learning_rate=3e-3, synthetic_weight=0.1)
    )
    losses: list[float] = []
    run.fit_heads(chunk_features(run.model, collection), log=lambda row: losses.append(row["loss"]))
    assert min(losses[-2:]) < losses[0]
    run.fit(tmp_path, log=lambda row: None)
    figures = calibrate(run.model, collection, run.data.synthetic, seed=1)
    assert figures["slope"] > 0
    # Standardised over the clips: a third of the calibration's background is synthetic, from an untrained head.
    cosines = clip_vectors(run.model, collection) @ run.model.encode_text(NAMES).T
    logits = (cosines - cosines.mean(0)) / cosines.std(0)
    truth = np.array([NAMES.index(labels[0]) for labels in collection.labels])
    assert (logits.argmax(1) == truth).mean() > 0.8


def test_held_out_metrics_are_those_of_the_held_out_clips(student: MakeStudent, collection: Collection) -> None:
    model = student(collection, RECIPE).model.eval()
    metrics = held_out_metrics(model, collection)["synth"]
    kept = np.flatnonzero(collection.held_out)
    scores = clip_vectors(model, collection)[kept] @ model.encode_text(sorted(NAMES)).T
    truth = np.array([[name == collection.labels[i][0] for name in sorted(NAMES)] for i in kept])
    precisions = []
    for column, carried in zip(scores.T, truth.T, strict=True):
        ranked = carried[np.argsort(-column)]
        precisions.append(np.mean([(ranked[: k + 1]).mean() for k in np.flatnonzero(ranked)]))
    assert metrics["map"] == pytest.approx(np.mean(precisions), abs=1e-4)
    spread = (scores - scores.mean(0)) / scores.std(0)
    assert metrics["precision_at_1"] == pytest.approx((spread.argmax(1) == truth.argmax(1)).mean(), abs=1e-4)
    assert metrics["clips"] == len(kept)


def test_a_resumed_run_ends_with_the_same_weights(student: MakeStudent, collection: Collection, tmp_path: Path) -> None:
    whole = student(collection, RECIPE)
    (tmp_path / "whole").mkdir()
    whole.fit(tmp_path / "whole", log=lambda row: None)

    class Stop(Exception):
        pass

    part = student(collection, RECIPE)
    steps = part._step
    part._step = lambda step: (_ for _ in ()).throw(Stop) if step == 3 else steps(step)  # type: ignore[method-assign]
    (tmp_path / "part").mkdir()
    with pytest.raises(Stop):
        part.fit(tmp_path / "part", log=lambda row: None)
    again = student(collection, RECIPE)
    again.fit(tmp_path / "part", log=lambda row: None)
    for (name, a), b in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_another_recipe_does_not_resume(student: MakeStudent, collection: Collection, tmp_path: Path) -> None:
    student(collection, RECIPE).fit(tmp_path, log=lambda row: None)
    with pytest.raises(ValueError, match="another recipe"):
        student(collection, dataclasses.replace(RECIPE, steps=6)).fit(tmp_path, log=lambda row: None)

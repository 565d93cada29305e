"""What the taggers know, as linear maps, and the low-rank space of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.recipes.default.collection import Collection
from scripts.recipes.default.composed_space import low_rank
from scripts.recipes.default.conse import bank_weights
from scripts.recipes.default.knowledge import Head, fit_music, fit_scaler, learn_knowledge


def test_components_are_those_of_standardised_features() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 6)) * [1, 10, 100, 1, 1, 1] + 5
    share = np.full(500, 1 / 500)
    scaler = fit_scaler(features, share, n_components=6, damping=6)
    coordinates = scaler.coordinates(features)
    covariance = np.cov(coordinates.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2
    assert np.diag(covariance).min() > 0.4 and np.diag(covariance).max() < 1  # damped by the weakest


def test_outliers_are_clipped() -> None:
    rng = np.random.default_rng(0)
    scaler = fit_scaler(rng.normal(size=(100, 3)), np.full(100, 0.01), n_components=3, damping=3)
    assert np.abs(scaler.coordinates(np.full((1, 3), 1e6))).max() < 20


def test_music_tags_are_predicted_for_clips_that_the_teachers_did_not_hear() -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(400, 5)).astype(np.float32)
    truth = coordinates @ rng.normal(size=(5, 3)) + [1, 2, 3]
    logits = truth.copy()
    logits[300:] = np.nan
    music = fit_music(coordinates, logits, np.arange(400) % 10 == 0, penalty=0.01)
    assert np.allclose(music.logits(coordinates)[300:], truth[300:], atol=0.01)
    assert music.correlation == pytest.approx(1, abs=1e-3)
    assert np.isnan(fit_music(coordinates, logits, np.zeros(400, bool), penalty=0.01).correlation)


def test_logits_are_standardised_over_the_training_clips(recipe_collection: Collection) -> None:
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Linear(20, 8), torch.nn.Hardswish(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
    ).eval()
    features = recipe_collection.clip_features()
    expected = head(torch.from_numpy(features[:, :20])).detach().numpy()
    assert np.allclose(Head.of(head).logits(features), expected, atol=1e-5)
    knowledge = learn_knowledge(recipe_collection, head, n_components=10, damping=5, penalty=1.0)
    z = knowledge.standard_logits(features)
    assert z.shape == (90, 5)
    share = recipe_collection.share
    assert np.allclose(share @ z, 0, atol=1e-3)
    assert np.allclose(share @ z**2, 1, atol=1e-3)
    assert knowledge.music.correlation > 0.8


def test_the_full_rank_gives_the_composed_scores_and_a_lower_one_comes_near() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 12)) + 0.05 * rng.normal(size=(300, 12))
    weights = rng.dirichlet(np.full(12, 0.3), size=200)
    even = np.full(300, 1 / 300), np.full(200, 1 / 200)
    whole = low_rank(z, even[0], weights, even[1], rank=12)
    scores = z @ weights.T
    assert np.allclose((z @ whole.audio.T) @ (weights @ whole.text.T).T, scores, atol=1e-3)
    assert whole.kept == pytest.approx(1)
    part = low_rank(z, even[0], weights, even[1], rank=4)
    near = (z @ part.audio.T) @ (weights @ part.text.T).T
    assert part.kept > 0.95
    assert np.corrcoef(near.ravel(), scores.ravel())[0, 1] > 0.97


def test_each_bank_has_weights_of_its_own() -> None:
    first, second = np.eye(3, 5, dtype=np.float32), np.eye(5, dtype=np.float32)[3:]
    weights = bank_weights(first[1:2], [first, second], temperature=0.05)
    assert weights[0, :3] == pytest.approx([0, 1, 0], abs=1e-6)
    assert weights[0, 3:] == pytest.approx([0.5, 0.5])

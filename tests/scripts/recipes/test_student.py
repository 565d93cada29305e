"""The trained part: it learns labels, the same every time, and the fixed part stays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from encoders.composed import ComposedProjection, ComposedTextTower
from encoders.text.composed import ComposedSpec
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from scripts.recipes.default.calibrate import calibrate, clip_vectors
from scripts.recipes.default.collection import Collection
from scripts.recipes.default.composed_space import low_rank
from scripts.recipes.default.conse import bank_weights
from scripts.recipes.default.knowledge import Knowledge, learn_knowledge
from scripts.recipes.default.phrase_sampling import PhraseBook
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.stages import held_out_metrics, set_covariances, set_space, taught
from scripts.recipes.default.student import Student, TrainingData

NAMES = ("low", "high", "noise")
RECIPE = Recipe(seed=2, rank=4, trained_dim=4, components=10, steps=120, batch_clips=24, phrases=3, feature_noise=0.1)


@pytest.fixture
def words() -> WordVectors:
    rng = np.random.default_rng(0)
    return WordVectors.from_floats(
        list(NAMES), rng.normal(size=(3, 8)), np.full(3, 1 / 3), kind="word2vec", source="test"
    )


@pytest.fixture
def knowledge(recipe_collection: Collection) -> Knowledge:
    torch.manual_seed(1)
    head = torch.nn.Sequential(
        torch.nn.Linear(20, 8), torch.nn.Hardswish(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
    ).eval()
    return learn_knowledge(recipe_collection, head, n_components=10, damping=5, penalty=1.0)


@pytest.fixture
def make_student(
    recipe_collection: Collection, knowledge: Knowledge, words: WordVectors
) -> Callable[[Recipe], tuple[TwoTowerModel, Student]]:
    """A function that makes a model with a fixed part and a student of it; always the same weights."""
    banks = (NAMES, NAMES[:2])
    spec = ComposedSpec(
        banks=banks,
        anchors=NAMES,
        rank=4,
        trained_dim=4,
        components=10,
        audio_hidden=16,
        head_features=20,
        head_hidden=8,
    )

    def make(recipe: Recipe) -> tuple[TwoTowerModel, Student]:
        torch.manual_seed(0)
        config = TwoTowerConfig(composed=spec.to_dict(), word_dim=8, vocab_size=5, text_hidden=16)
        model = TwoTowerModel(config)
        model.audio_tower.projection = ComposedProjection(spec, feature_dim=30, dropout=0.1)  # of the collection
        model.read_words(words)
        vectors = words.encode(NAMES)
        bank_vectors = [words.encode(bank) for bank in banks]
        features = recipe_collection.clip_features()
        z = knowledge.standard_logits(features)
        weights = bank_weights(vectors, bank_vectors, temperature=spec.temperature)
        space = low_rank(z, recipe_collection.share, weights, np.full(3, 1 / 3), rank=4)
        set_space(model, knowledge, space, words)
        data = TrainingData(
            collection=recipe_collection,
            scaler=knowledge.scaler,
            z=taught(z, recipe_collection.music, knowledge, n_head=3),
            banks=bank_vectors,
            is_music=np.isfinite(recipe_collection.music).all(1),
            book=PhraseBook(list(NAMES), vectors, np.full(3, 1 / 3)),
            label_vectors=dict(zip(NAMES, vectors, strict=True)),
        )
        return model, Student(model, data, recipe)

    return make


MakeStudent = Callable[[Recipe], tuple[TwoTowerModel, Student]]


def test_a_student_learns_its_labels_and_is_calibrated(
    make_student: MakeStudent, recipe_collection: Collection
) -> None:
    model, student = make_student(RECIPE)
    fixed = {name: value.clone() for name, value in model.audio_tower.projection.named_buffers()}
    losses: list[float] = []
    student.fit(log=lambda row: losses.append(row["loss"]))
    assert len(losses) == 1
    model.eval()
    vectors = clip_vectors(model, recipe_collection)
    set_covariances(model, vectors, recipe_collection.share)
    line = calibrate(model, recipe_collection, vectors, seed=1)
    assert line["slope"] > 0
    assert line["background_clips"] == (recipe_collection.share > 0).sum()
    kept = np.flatnonzero(recipe_collection.held_out)
    with torch.inference_mode():
        logits = model.calibration(torch.from_numpy(vectors[kept]), torch.from_numpy(model.encode_text(NAMES)))
    truth = np.array([NAMES.index(recipe_collection.labels[i][0]) for i in kept])
    assert (logits.argmax(1).numpy() == truth).mean() > 0.8
    assert {
        name: bool(torch.equal(value, fixed[name])) for name, value in model.audio_tower.projection.named_buffers()
    } == dict.fromkeys(fixed, True)
    metrics = held_out_metrics(model, recipe_collection, vectors)
    assert set(metrics) == {"music", "single", "synth"}
    assert metrics["synth"]["map"] > 0.8


def test_the_fixed_part_gives_the_composed_scores(
    make_student: MakeStudent, recipe_collection: Collection, knowledge: Knowledge, words: WordVectors
) -> None:
    model, student = make_student(RECIPE)
    projection, tower = model.audio_tower.projection, model.text_tower
    assert isinstance(tower, ComposedTextTower)
    features = recipe_collection.clip_features()
    z = knowledge.standard_logits(features)
    wanted = z @ bank_weights(words.encode(NAMES), student.data.banks, temperature=tower.spec.temperature).T
    inputs = torch.from_numpy(features)
    with torch.inference_mode():
        composed = projection.composed(inputs, projection.coordinates(inputs))  # type: ignore[operator]
        text = tower.composed(torch.from_numpy(words.encode(NAMES)))
    found = (composed @ text.T).numpy()
    for column in range(3):  # each clip's vector is brought to length 1, so the order of clips may change a little
        assert np.corrcoef(found[:, column], wanted[:, column])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_weights(make_student: MakeStudent) -> None:
    short = dataclasses.replace(RECIPE, steps=5)
    models = []
    for _ in range(2):
        model, student = make_student(short)
        student.fit(log=lambda row: None)
        models.append(model.state_dict())
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name


def test_the_teachers_own_logits_replace_predicted_ones(recipe_collection: Collection, knowledge: Knowledge) -> None:
    z = knowledge.standard_logits(recipe_collection.clip_features())
    found = taught(z, recipe_collection.music, knowledge, n_head=3)
    is_music = np.isfinite(recipe_collection.music).all(1)
    assert np.allclose(found[~is_music], z[~is_music], atol=1e-6)
    assert np.allclose(found[:, :3], z[:, :3], atol=1e-6)
    own = found[is_music][:, 3:] * knowledge.std[3:] + knowledge.mean[3:]
    assert np.allclose(own, recipe_collection.music[is_music], atol=1e-4)

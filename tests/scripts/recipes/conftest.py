"""A small collection and student for the tests of the recipe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from scripts.recipes.default.conse import TeacherTargets
from scripts.recipes.default.data import Collection, Shard, make_collection
from scripts.recipes.default.feature_inversion import invert_features
from scripts.recipes.default.phrase_sampling import PhraseBook
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.student import Student, TrainingData

NAMES = ("low", "high", "noise")


@pytest.fixture
def recipe_collection() -> Collection:
    """Sixty clips of one chunk: energy in low bands, in high bands, or in all, and teachers that know which."""
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    mel = rng.normal(-9, 0.3, (60, 128, 120)).astype(np.float16)
    for i, kind in enumerate(kinds):
        mel[i, slice(*((0, 40), (80, 128), (0, 128))[kind])] += 8
    logits = np.eye(3)[kinds] * 4 + rng.normal(0, 0.3, (60, 3))
    shard = Shard(
        name="synth-0",
        mel=mel,
        clip_of=np.arange(60),
        audioset=logits,
        music=np.full((60, 1), np.nan),
        labels=[(NAMES[k],) for k in kinds],
        groups=[f"g{i}" for i in range(60)],
    )
    return make_collection([shard], held_out=0.2)


@pytest.fixture(scope="session")
def shipped_backbone() -> dict[str, torch.Tensor]:
    """A trained backbone: an untrained one, with batch norms at rest, has the same features for every sound."""
    return TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR).audio_tower.backbone.state_dict()


@pytest.fixture
def small_student(shipped_backbone: dict[str, torch.Tensor]) -> Callable[..., Student]:
    """A function that makes a student of a collection, a recipe and a device; always the same weights."""

    def make(collection: Collection, recipe: Recipe, *, device: str = "cpu") -> Student:
        torch.manual_seed(0)
        model = TwoTowerModel(TwoTowerConfig(vocab_size=5, word_dim=8, dim=16, text_hidden=16, audio_hidden=16))
        model.audio_tower.backbone.load_state_dict(shipped_backbone)
        model.vocabulary = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *NAMES])
        vectors = np.eye(8, dtype=np.float32)[:4]
        model.words.codes[2:] = torch.from_numpy((vectors[:3] * 127).astype(np.int8))
        model.words.scales[2:] = 1 / 127
        model.words.weights[2:] = 1
        head = torch.nn.Sequential(
            torch.nn.Linear(384, 16), torch.nn.Hardswish(), torch.nn.Dropout(0.0), torch.nn.Linear(16, 3)
        )
        real = np.random.default_rng(1).normal(0, 1, (30, 384)).astype(np.float32)
        data = TrainingData(
            collection=collection,
            targets=TeacherTargets(collection.z, vectors),
            synthetic=invert_features(head, real, per_class=4, seed=1),
            book=PhraseBook(list(NAMES), vectors[:3], np.full(3, 1 / 3)),
            label_vectors=dict(zip(NAMES, vectors[:3], strict=True)),
            music_vectors=vectors[3:],
            teacher_head=head,
        )
        return Student(model, data, recipe, device=device)

    return make

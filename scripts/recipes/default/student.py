"""Training of the trained part of both towers: distillation from the taggers and a contrastive loss over labels.

The backbone is frozen and the fixed part of the space is not in the loss: the trained part learns the scores of the
same taggers once more, from the music taggers' own logits where there are some, corrected by the clips' labels. The
result is the running average of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.composed import ComposedProjection, ComposedTextTower
from encoders.two_tower import TwoTowerModel
from retrieval.training.losses import info_nce
from scripts.recipes.default.collection import Collection
from scripts.recipes.default.conse import bank_weights
from scripts.recipes.default.knowledge import Scaler
from scripts.recipes.default.phrase_sampling import PhraseBook
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.student_losses import corrected_by_labels, distillation_loss, standardised

__all__ = ["Student", "TrainingData"]

_MIN_MUSIC = 16  # a correlation over fewer clips is mostly noise
_BACKGROUND_CLIPS = 600


@dataclass(frozen=True)
class TrainingData:
    """Everything that the student is trained on.

    Attributes:
        collection: the clips.
        scaler: features to the input of the trained part.
        z: standardised logits of all classes for each clip [shape=(n_clips, n_classes)].
        banks: unit word vectors of the class names of each bank [shape=(n_classes_of_bank, word_dim)].
        is_music: clips that the music teachers have processed, bool [shape=(n_clips,)].
        book: phrases to draw from.
        label_vectors: label -> its unit word vector [shape=(word_dim,)].
    """

    collection: Collection
    scaler: Scaler
    z: np.ndarray
    banks: Sequence[np.ndarray]
    is_music: np.ndarray
    book: PhraseBook
    label_vectors: dict[str, np.ndarray]


class Student:
    """The trained part of both towers, in training on the CPU.

    Args:
        model: the towers, with a composed space.
        data: what they are trained on.
        recipe: hyperparameters.
    """

    def __init__(self, model: TwoTowerModel, data: TrainingData, recipe: Recipe) -> None:
        projection, text_tower = model.audio_tower.projection, model.text_tower
        assert isinstance(projection, ComposedProjection) and isinstance(text_tower, ComposedTextTower)
        self.projection, self.text_tower = projection, text_tower
        self.data, self.recipe = data, recipe
        self.temperature = text_tower.spec.temperature
        self.log_scale = nn.Parameter(torch.tensor(0.5))
        rng = np.random.default_rng([recipe.seed, 4])
        share = data.collection.share
        self._background_z = data.z[rng.choice(len(share), size=_BACKGROUND_CLIPS, p=share)]

    def fit(self, *, log: Callable[[dict[str, Any]], None]) -> None:
        """Train.

        Args:
            log: called every 100 steps.
        """
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        rng = np.random.default_rng([recipe.seed, 1])
        trained = nn.ModuleList([self.projection, self.text_tower]).train()
        parameters = [*trained.parameters(), self.log_scale]
        optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
        )
        average = copy.deepcopy(trained.state_dict())
        losses = []
        for step in range(recipe.steps):
            loss = self.loss(self._draw(rng), rng)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step()
            schedule.step()
            _update_average(average, trained.state_dict(), min(recipe.average_decay, (step + 1) / (step + 10)))
            losses.append(loss.item())
            if (step + 1) % 100 == 0:
                log({"stage": "student", "step": step + 1, "of": recipe.steps, "loss": float(np.mean(losses[-100:]))})
        trained.load_state_dict(average)
        trained.eval()

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        n = min(self.recipe.batch_clips, int((self.data.collection.share > 0).sum()))
        return self.data.collection.draw(n, rng)

    def loss(self, clips: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch: distillation over phrases, among music clips, and over labels, and contrast.

        Args:
            clips: their numbers in the collection [shape=(n,)].
            rng: of segments, noise and phrases.
        """
        data, recipe = self.data, self.recipe
        coordinates = data.scaler.coordinates(data.collection.segment_features(clips, rng))
        noise = rng.normal(0, recipe.feature_noise, coordinates.shape) if recipe.feature_noise else 0.0
        audio = self.projection.trained(torch.from_numpy((coordinates + noise).astype(np.float32)))
        labels = [data.collection.labels[i] for i in clips]
        names = sorted({label for clip in labels for label in clip if label in data.label_vectors})
        label_words = np.array([data.label_vectors[name] for name in names]).reshape(-1, data.book.vectors.shape[1])
        n_book = len(data.book.phrases)
        picked = rng.choice(n_book, size=min(recipe.phrases, n_book), replace=False, p=data.book.share)
        vectors = np.concatenate([data.book.vectors[picked], label_words, data.banks[-1]]).astype(np.float32)
        weights = bank_weights(vectors, data.banks, temperature=self.temperature)
        teacher = torch.from_numpy(data.z[clips] @ weights.T)
        spread = torch.from_numpy((self._background_z @ weights.T).std(0))
        scores = audio @ self.text_tower.trained(torch.from_numpy(vectors)).T
        n, n_names = len(picked), len(names)
        loss = distillation_loss(scores[:, :n], teacher[:, :n], spread[:n])
        music = np.flatnonzero(data.is_music[clips])
        if len(music) >= _MIN_MUSIC:
            # Among music clips alone: over all clips, the contrast of music and other sounds would dominate genres.
            kept = np.r_[:n, n + n_names : len(vectors)]
            student, target = scores[music][:, kept], teacher[music][:, kept]
            loss = loss + recipe.music_weight * distillation_loss(student, target, target.std(0))
        if not names:
            return loss
        of_names = slice(n, n + n_names)
        present = np.array([[name in clip for name in names] for clip in labels])
        return loss + self._label_loss(scores[:, of_names], teacher[:, of_names].numpy(), present, names, clips)

    def _label_loss(
        self, scores: Tensor, teacher: np.ndarray, present: np.ndarray, names: list[str], clips: np.ndarray
    ) -> Tensor:
        """Return the distillation of the teacher corrected by labels, and the contrast of clips with complete labels.

        The contrast is within the vocabulary of a pack (`Collection.used`). Elsewhere a missing label is unknown.

        Args:
            scores: [shape=(n_clips, n_labels)].
            teacher: the teacher's scores of the same.
            present: which clip has which label [shape=(n_clips, n_labels)].
            names: the labels.
            clips: their numbers.
        """
        collection = self.data.collection
        known = collection.used(names, clips) & collection.exhaustive(clips)[:, None]
        corrected = torch.from_numpy(corrected_by_labels(teacher, present, known))
        loss = self.recipe.correction_weight * distillation_loss(scores, corrected, torch.ones(len(names)))
        positive = present & known
        if not positive.any():
            return loss
        contrast = info_nce(
            standardised(scores) * self.log_scale.exp().clamp(max=10),
            torch.from_numpy(positive.astype(np.float32)),
            torch.from_numpy(~known),
            log_scale=torch.zeros(()),  # the logits are scaled already
            needs_negatives=False,
        )
        return loss + self.recipe.label_weight * contrast


def _update_average(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> None:
    for name, value in now.items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)

"""Training of the default model: distilled from the teachers and contrasted by labels, in the space of both towers.

Stage one fits both heads on the published backbone's features. Stage two trains the upper backbone with them on
augmented and mixed audio. Both minimise the same loss; the weights kept are their running average.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.two_tower import TwoTowerModel
from scripts.recipes.default.collection import Collection
from scripts.recipes.default.conse import Teaching, class_weights, compose
from scripts.recipes.default.feature_inversion import Imagined
from scripts.recipes.default.features import mobile_net, scaled_mel
from scripts.recipes.default.losses import (
    corrected_by_labels,
    distillation_loss,
    multi_positive_loss,
    standardised,
)
from scripts.recipes.default.mel_augment import MelAugment
from scripts.recipes.default.phrase_sampling import PhraseBook

MIN_MUSIC = 16  # fewer sounds make no correlation worth following

__all__ = ["Lessons", "Recipe", "Student"]


@dataclass(frozen=True)
class Recipe:
    """The defaults made the shipped model."""

    seed: int = 1
    head_steps: int = 700
    steps: int = 480
    batch_clips: int = 96
    phrases: int = 384
    composed_dims: int = 192
    text_steps: int = 3000
    imagined_per_class: int = 24
    head_learning_rate: float = 3e-4
    backbone_learning_rate: float = 3e-4
    frozen_stages: int = 7
    label_weight: float = 1.5
    correction_weight: float = 1.0
    music_weight: float = 2.0
    imagined_clips: int = 96
    imagined_weight: float = 1.0
    anchor_weight: float = 0.5
    mix_probability: float = 0.4
    average_decay: float = 0.995
    checkpoint_steps: int = 50


@dataclass(frozen=True)
class Lessons:
    """What the student learns from: clips, what the teachers say of them, imagined sounds and phrases.

    ``label_vectors`` has the unit word vectors of the clips' labels, ``music_vectors`` [shape=(n_tags, word_dim)] those
    of the music teachers' tags.
    """

    collection: Collection
    teaching: Teaching
    imagined: Imagined
    book: PhraseBook
    label_vectors: dict[str, np.ndarray]
    music_vectors: np.ndarray
    teacher_head: nn.Module


class Student:
    """Both towers in training."""

    def __init__(self, model: TwoTowerModel, lessons: Lessons, recipe: Recipe, *, device: str = "cpu") -> None:
        self.model, self.lessons = model, lessons
        model.to(torch.device(device))  # type: ignore[arg-type]
        self.collection, self.teaching, self.recipe = lessons.collection, lessons.teaching, recipe
        self.book, self.label_vectors = lessons.book, lessons.label_vectors
        self.device = device
        self.augment = MelAugment()
        self.log_scale = nn.Parameter(torch.tensor(0.5, device=device))
        self._teacher_head = lessons.teacher_head.to(device).requires_grad_(False).eval()
        n_head = lessons.imagined.logits.shape[1]
        self._head_spread = torch.from_numpy(self.collection.class_spread[:n_head]).to(device)
        # No music teacher has heard an imagined sound.
        known = (lessons.imagined.logits - self.collection.class_mean[:n_head]) / self.collection.class_spread[:n_head]
        self._imagined = lessons.imagined.features
        self._imagined_z = np.full((len(known), len(self.collection.class_mean)), np.nan, np.float32)
        self._imagined_z[:, : known.shape[1]] = known
        self._background_z = self.background_z(600)

    def background_z(self, count: int) -> np.ndarray:
        """Return teacher logits of varied audio [shape=(count, n_classes)]: clips, and one imagined sound to two."""
        rng = np.random.default_rng([self.recipe.seed, 4])
        clips = rng.choice(len(self.collection.share), size=count - count // 3, p=self.collection.share)
        some = rng.integers(len(self._imagined_z), size=count // 3)
        return np.concatenate([self.teaching.z[clips], self._imagined_z[some]])

    # -- the loss ------------------------------------------------------------------------------------------------

    def _phrases(self, rng: np.random.Generator) -> np.ndarray:
        n = len(self.book.phrases)
        return rng.choice(n, size=min(self.recipe.phrases, n), replace=False, p=self.book.share)

    def _loss(self, audio: Tensor, z: np.ndarray, clips: Sequence[tuple[int, ...]], rng: np.random.Generator) -> Tensor:
        """Distillation over drawn phrases and, with the teacher corrected, over the sounds' labels; label contrast.

        ``audio`` unit vectors [shape=(n, dim)], ``z`` teacher logits [shape=(n, n_classes)], ``clips`` the clips that
        each sound is mixed of.
        """
        labels = [tuple(label for i in parts for label in self.collection.labels[i]) for parts in clips]
        picked = self._phrases(rng)
        names = sorted({label for clip in labels for label in clip if label in self.label_vectors})
        label_words = np.array([self.label_vectors[name] for name in names]).reshape(-1, self.book.vectors.shape[1])
        vectors = np.concatenate([self.book.vectors[picked], label_words, self.lessons.music_vectors])
        vectors = vectors.astype(np.float32)
        text = self.model.text_tower(torch.from_numpy(vectors).to(self.device))
        weights = class_weights(vectors, self.teaching.class_vectors)
        spread = torch.from_numpy(compose(self._background_z, weights).std(0)).to(self.device)
        rows = rng.choice(len(self._imagined), size=min(self.recipe.imagined_clips, len(self._imagined)), replace=False)
        dreamt = self.model.audio_tower.projection(torch.from_numpy(self._imagined[rows]).to(self.device))
        teacher = compose(np.concatenate([z, self._imagined_z[rows]]), weights)
        scores = torch.cat([audio, dreamt]) @ text.T
        n_clips, n = len(z), len(picked)
        teacher_scores = torch.from_numpy(teacher).to(self.device)
        among_clips = distillation_loss(scores[:n_clips, :n], teacher_scores[:n_clips, :n], spread[:n])
        among_all = distillation_loss(scores[:, :n], teacher_scores[:, :n], spread[:n])
        loss = among_clips + self.recipe.imagined_weight * among_all
        music = torch.from_numpy(np.flatnonzero(np.isfinite(z).all(1))).to(self.device)
        if len(music) >= MIN_MUSIC:
            # Genres are told apart within music: over all clips, what is music at all would outweigh them.
            tags = slice(n + len(names), None)
            student, target = (torch.cat([x[music, :n], x[music, tags]], 1) for x in (scores, teacher_scores))
            loss = loss + self.recipe.music_weight * distillation_loss(student, target, target.std(0))
        if not names:
            return loss
        carried = np.array([[name in clip for name in names] for clip in labels])
        return loss + self._label_loss(
            scores[:, n : n + len(names)], teacher[:, n : n + len(names)], carried, names, clips
        )

    def _label_loss(
        self,
        scores: Tensor,
        teacher: np.ndarray,
        carried: np.ndarray,
        names: list[str],
        clips: Sequence[tuple[int, ...]],
    ) -> Tensor:
        """Distillation of the teacher as the labels correct it, and contrast where labels say all that is heard.

        Contrast is within the words of a pack (``Collection.used``). Elsewhere silence about a label is no evidence.
        ``scores`` and ``teacher`` [shape=(n_clips + n_imagined, n_labels)] begin with the clips; of imagined sounds the
        teacher's word is all there is.
        """
        known = self.collection.used(names, clips) & self.collection.exhaustive(clips)[:, None]
        dreamt = np.zeros((len(teacher) - len(clips), len(names)), bool)
        corrected = corrected_by_labels(teacher, np.concatenate([carried, dreamt]), np.concatenate([known, dreamt]))
        even = torch.ones(len(names), device=self.device)
        distilled = distillation_loss(scores, torch.from_numpy(corrected).to(self.device), even)
        positive = carried & known
        if not positive.any():
            return self.recipe.correction_weight * distilled
        logits = standardised(scores[: len(clips)]) * self.log_scale.exp().clamp(max=10)
        contrast = multi_positive_loss(
            logits, torch.from_numpy(positive).to(self.device), torch.from_numpy(~known).to(self.device)
        )
        return self.recipe.correction_weight * distilled + self.recipe.label_weight * contrast

    # -- stage one -------------------------------------------------------------------------------------------------

    def fit_heads(self, features: list[np.ndarray], *, on_step: Callable[[dict[str, Any]], None]) -> None:
        """Stage one: both heads on the published backbone's features of each clip [shape=(n_chunks, feature_dim)]."""
        recipe, collection = self.recipe, self.collection
        torch.manual_seed(recipe.seed)
        rng = np.random.default_rng([recipe.seed, 1])
        heads = self._heads()
        optimiser = torch.optim.AdamW(heads, lr=recipe.head_learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.head_learning_rate, total_steps=recipe.head_steps, pct_start=0.1
        )
        self.model.train()
        for step in range(recipe.head_steps):
            clips = collection.draw(2 * recipe.batch_clips, rng)
            rows = torch.from_numpy(np.stack([features[i][rng.integers(len(features[i]))] for i in clips])).to(
                self.device
            )
            loss = self._loss(
                self.model.audio_tower.projection(rows),
                self.teaching.z[clips],
                [(int(i),) for i in clips],
                rng,
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 49:
                on_step({"stage": "heads", "step": step + 1, "of": recipe.head_steps, "loss": loss.item()})

    def _heads(self) -> list[nn.Parameter]:
        towers = (self.model.audio_tower.projection, self.model.text_tower)
        return [parameter for tower in towers for parameter in tower.parameters()] + [self.log_scale]

    # -- stage two -------------------------------------------------------------------------------------------------

    def fit(self, out_dir: Path, *, on_step: Callable[[dict[str, Any]], None]) -> None:
        """Stage two: upper backbone and heads on augmented audio; resumes from ``out_dir/stage2.pt`` if it is there."""
        recipe = self.recipe
        backbone = mobile_net(self.model)
        for parameter in backbone.features[: recipe.frozen_stages].parameters():
            parameter.requires_grad_(False)
        upper = list(backbone.features[recipe.frozen_stages :].parameters())
        heads = self._heads()
        optimiser = torch.optim.AdamW(
            [
                {"params": upper, "lr": recipe.backbone_learning_rate},
                {"params": heads, "lr": recipe.head_learning_rate},
            ],
            weight_decay=0.01,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [g["lr"] for g in optimiser.param_groups], total_steps=recipe.steps, pct_start=0.1
        )
        average = copy.deepcopy(self.model.state_dict())
        self._published = copy.deepcopy(backbone.features[recipe.frozen_stages :]).eval()
        first = self._resume(out_dir / "stage2.pt", optimiser, schedule, average)
        started, losses = time.monotonic(), []
        for step in range(first, recipe.steps):
            loss = self._step(step)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(upper + heads, 5.0)
            optimiser.step()
            schedule.step()
            _update_average(average, self.model.state_dict(), min(recipe.average_decay, (step + 1) / (step + 10)))
            losses.append(loss.item())
            if (step + 1) % 20 == 0:
                rate = (step + 1 - first) / (time.monotonic() - started)
                on_step({"stage": "towers", "step": step + 1, "of": recipe.steps, "loss": float(np.mean(losses[-20:])),
                         "steps_per_s": round(rate, 3)})  # fmt: skip
            if (step + 1) % recipe.checkpoint_steps == 0:
                self._checkpoint(out_dir / "stage2.pt", step + 1, optimiser, schedule, average)
        self.model.load_state_dict(average)
        self.model.eval()

    def _step(self, step: int) -> Tensor:
        """Return the loss of one step; what is drawn depends on seed and step alone, so a resumed run is the same."""
        recipe, collection = self.recipe, self.collection
        rng = np.random.default_rng([recipe.seed, 2, step])
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        clips = collection.draw(recipe.batch_clips, rng)
        mel = self.augment(torch.from_numpy(collection.mel(clips, rng)), generator=generator)
        z = self.teaching.z[clips].copy()
        parts: list[tuple[int, ...]] = [(int(i),) for i in clips]
        mixed = np.flatnonzero(rng.random(len(clips)) < recipe.mix_probability)
        if len(mixed) > 1:
            partner = np.roll(mixed, 1)
            mel[mixed] = self.augment.mix(mel[mixed], mel[partner], generator=generator)
            # A class is heard in the mixture if it is heard in either part; a softer part is heard a little less.
            z[mixed] = np.fmax(z[mixed], z[partner] - 0.3)
            for i, j in zip(mixed, partner, strict=True):
                parts[i] = (int(clips[i]), int(clips[j]))
        features, published = self._features(scaled_mel(self.model, mel).to(self.device))
        loss = self._loss(self.model.audio_tower.projection(features), z, parts, rng)
        # What the teacher's own head makes of the features must not drift: it is all that is known of sounds that
        # no clip holds.
        drift = (self._teacher_head(features) - self._teacher_head(published)) / self._head_spread
        return loss + recipe.anchor_weight * drift.square().mean()

    def _features(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the backbone in training and of the published one, each [shape=(n, feature_dim)].

        Batch statistics of the backbone stay those of AudioSet.
        """
        backbone, frozen = mobile_net(self.model), self.recipe.frozen_stages
        self.model.train()
        backbone.eval()
        x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            parts = [backbone.features[:frozen](part) for part in x.split(32)]
            published = torch.cat([self._published(part).mean((2, 3)) for part in parts])
        return torch.cat([backbone.features[frozen:](part).mean((2, 3)) for part in parts]), published

    def _checkpoint(self, path: Path, step: int, optimiser: Any, schedule: Any, average: dict[str, Tensor]) -> None:
        temporary = path.with_suffix(".tmp")
        torch.save(
            {
                "recipe": asdict(self.recipe),
                "step": step,
                "model": self.model.state_dict(),
                "log_scale": self.log_scale.detach(),
                "average": average,
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
            },
            temporary,
        )
        temporary.replace(path)

    def _resume(self, path: Path, optimiser: Any, schedule: Any, average: dict[str, Tensor]) -> int:
        if not path.is_file():
            return 0
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if saved["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was made with another recipe: delete it, or give another --out")
        self.model.load_state_dict(saved["model"])
        self.log_scale.data.copy_(saved["log_scale"])
        average.update(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        return int(saved["step"])


def _update_average(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> None:
    for name, value in now.items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)

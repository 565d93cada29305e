"""Training of both towers: distillation from the teachers and a contrastive loss over labels.

Stage one fits both heads to features of the published backbone. Stage two trains the upper backbone and the heads on
augmented and mixed audio. Both minimise the same loss. The result is the running average of the weights.

The towers, the loss and the two heads that the penalty compares are on one device. Clips, teacher targets and
augmentation stay on the CPU as numpy arrays or CPU tensors; batches are moved to the device, and checkpoints hold CPU
tensors, so that a run can be resumed on another device.
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
from torch.utils._pytree import tree_map_only

from encoders.two_tower import TwoTowerModel
from retrieval.training.losses import info_nce
from scripts.recipes.default.conse import TeacherTargets, class_weights, conse_scores
from scripts.recipes.default.data import Collection
from scripts.recipes.default.feature_inversion import SyntheticFeatures
from scripts.recipes.default.features import mobile_net, scaled_mel
from scripts.recipes.default.mel_augment import MelAugment
from scripts.recipes.default.phrase_sampling import PhraseBook
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.student_losses import (
    corrected_by_labels,
    distillation_loss,
    standardised,
)

__all__ = ["CHECKPOINT_FILE", "Student", "TrainingData", "on_cpu"]

CHECKPOINT_FILE = "stage2.pt"
_MIN_MUSIC = 16  # a correlation over fewer clips is mostly noise


@dataclass(frozen=True)
class TrainingData:
    """Everything that the student is trained on.

    Attributes:
        collection: the clips.
        targets: the teachers' logits for the clips.
        synthetic: synthetic features of every AudioSet class.
        book: phrases to draw from.
        label_vectors: label -> its unit word vector [shape=(word_dim,)].
        music_vectors: unit word vectors of the music teachers' tags [shape=(n_tags, word_dim)].
        teacher_head: the AudioSet teacher's head, from features to logits. It is never changed.
    """

    collection: Collection
    targets: TeacherTargets
    synthetic: SyntheticFeatures
    book: PhraseBook
    label_vectors: dict[str, np.ndarray]
    music_vectors: np.ndarray
    teacher_head: nn.Module


class Student:
    """Both towers in training.

    Args:
        model: the towers. They are moved to `device`.
        data: what they are trained on. It stays where it is.
        recipe: hyperparameters.
        device: a torch device.
    """

    def __init__(self, model: TwoTowerModel, data: TrainingData, recipe: Recipe, *, device: str = "cpu") -> None:
        self.model, self.data, self.recipe = model, data, recipe
        model.to(torch.device(device))  # type: ignore[arg-type]
        self.collection, self.targets, self.book = data.collection, data.targets, data.book
        self.label_vectors = data.label_vectors
        self.device = device
        self.augment = MelAugment()
        self.log_scale = nn.Parameter(torch.tensor(0.5, device=device))
        # A copy: the teacher's head is used elsewhere, on the CPU.
        self._teacher_head = copy.deepcopy(data.teacher_head).to(device).requires_grad_(False).eval()
        n_head = data.synthetic.logits.shape[1]
        mean, std = self.collection.class_mean, self.collection.class_std
        self._head_std = torch.from_numpy(std[:n_head]).to(device)
        # The music teachers have no logits of synthetic features.
        self._synthetic_z = np.full((len(data.synthetic.features), len(mean)), np.nan, np.float32)
        self._synthetic_z[:, :n_head] = (data.synthetic.logits - mean[:n_head]) / std[:n_head]
        self._background_z = self.background_z(600)

    def background_z(self, count: int) -> np.ndarray:
        """Return teacher logits of varied audio, a third of it synthetic [shape=(count, n_classes)]."""
        rng = np.random.default_rng([self.recipe.seed, 4])
        clips = rng.choice(len(self.collection.share), size=count - count // 3, p=self.collection.share)
        some = rng.integers(len(self._synthetic_z), size=count // 3)
        return np.concatenate([self.targets.z[clips], self._synthetic_z[some]])

    def _on_device(self, values: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(values).to(self.device)

    def _phrases(self, rng: np.random.Generator) -> np.ndarray:
        n = len(self.book.phrases)
        return rng.choice(n, size=min(self.recipe.phrases, n), replace=False, p=self.book.share)

    def _loss(self, audio: Tensor, z: np.ndarray, clips: Sequence[tuple[int, ...]], rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch: distillation over phrases and over corrected labels, and label contrast.

        Args:
            audio: unit vectors, on the device [shape=(n, dim)].
            z: teacher logits [shape=(n, n_classes)].
            clips: the clips that each row is mixed from.
            rng: of phrases and synthetic features.
        """
        labels = [tuple(label for i in parts for label in self.collection.labels[i]) for parts in clips]
        picked = self._phrases(rng)
        names = sorted({label for clip in labels for label in clip if label in self.label_vectors})
        label_words = np.array([self.label_vectors[name] for name in names]).reshape(-1, self.book.vectors.shape[1])
        vectors = np.concatenate([self.book.vectors[picked], label_words, self.data.music_vectors])
        vectors = vectors.astype(np.float32)
        text = self.model.text_tower(self._on_device(vectors))
        weights = class_weights(vectors, self.targets.class_vectors)
        std = self._on_device(conse_scores(self._background_z, weights).std(0))
        features = self.data.synthetic.features
        rows = rng.choice(len(features), size=min(self.recipe.synthetic_batch, len(features)), replace=False)
        synthetic = self.model.audio_tower.projection(self._on_device(features[rows]))
        teacher = conse_scores(np.concatenate([z, self._synthetic_z[rows]]), weights)
        scores = torch.cat([audio, synthetic]) @ text.T
        n_clips, n = len(z), len(picked)
        teacher_scores = self._on_device(teacher)
        among_clips = distillation_loss(scores[:n_clips, :n], teacher_scores[:n_clips, :n], std[:n])
        among_all = distillation_loss(scores[:, :n], teacher_scores[:, :n], std[:n])
        loss = among_clips + self.recipe.synthetic_weight * among_all
        music = np.flatnonzero(np.isfinite(z).all(1))
        if len(music) >= _MIN_MUSIC:
            # Among music clips alone: over all clips, the contrast of music and other sounds would dominate genres.
            among, tags = self._on_device(music), slice(n + len(names), None)
            student, target = (torch.cat([x[among, :n], x[among, tags]], 1) for x in (scores, teacher_scores))
            loss = loss + self.recipe.music_weight * distillation_loss(student, target, target.std(0))
        if not names:
            return loss
        present = np.array([[name in clip for name in names] for clip in labels])
        return loss + self._label_loss(
            scores[:, n : n + len(names)], teacher[:, n : n + len(names)], present, names, clips
        )

    def _label_loss(
        self,
        scores: Tensor,
        teacher: np.ndarray,
        present: np.ndarray,
        names: list[str],
        clips: Sequence[tuple[int, ...]],
    ) -> Tensor:
        """Return the distillation of the teacher corrected by labels, and the contrast of clips with complete labels.

        The contrast is within the vocabulary of a pack (`Collection.used`). Elsewhere a missing label is unknown.

        Args:
            scores: of clips, then of synthetic features [shape=(n_clips + n_synthetic, n_labels)].
            teacher: the teacher's scores of the same.
            present: which clip has which label [shape=(n_clips, n_labels)].
            names: the labels.
            clips: the clips that each row is mixed from.
        """
        known = self.collection.used(names, clips) & self.collection.exhaustive(clips)[:, None]
        unlabelled = np.zeros((len(teacher) - len(clips), len(names)), bool)
        corrected = corrected_by_labels(
            teacher, np.concatenate([present, unlabelled]), np.concatenate([known, unlabelled])
        )
        even = torch.ones(len(names), device=self.device)
        distilled = distillation_loss(scores, self._on_device(corrected), even)
        positive = present & known
        if not positive.any():
            return self.recipe.correction_weight * distilled
        logits = standardised(scores[: len(clips)]) * self.log_scale.exp().clamp(max=10)
        contrast = info_nce(
            logits,
            self._on_device(positive.astype(np.float32)),
            self._on_device(~known),
            log_scale=torch.zeros((), device=self.device),  # the logits are scaled already
            needs_negatives=False,
        )
        return self.recipe.correction_weight * distilled + self.recipe.label_weight * contrast

    def fit_heads(self, features: list[np.ndarray], *, log: Callable[[dict[str, Any]], None]) -> None:
        """Run stage one.

        Args:
            features: of each clip by the published backbone [shape=(n_chunks, feature_dim)].
            log: called every 50 steps.
        """
        recipe, collection = self.recipe, self.collection
        torch.manual_seed(recipe.seed)
        rng = np.random.default_rng([recipe.seed, 1])
        heads = self._heads()
        optimizer = torch.optim.AdamW(heads, lr=recipe.head_learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.head_learning_rate, total_steps=recipe.head_steps, pct_start=0.1
        )
        self.model.train()
        for step in range(recipe.head_steps):
            clips = collection.draw(2 * recipe.batch_clips, rng)
            rows = self._on_device(np.stack([features[i][rng.integers(len(features[i]))] for i in clips]))
            loss = self._loss(
                self.model.audio_tower.projection(rows),
                self.targets.z[clips],
                [(int(i),) for i in clips],
                rng,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 49:
                log({"stage": "heads", "step": step + 1, "of": recipe.head_steps, "loss": loss.item()})

    def _heads(self) -> list[nn.Parameter]:
        towers = (self.model.audio_tower.projection, self.model.text_tower)
        return [parameter for tower in towers for parameter in tower.parameters()] + [self.log_scale]

    def fit(self, out_dir: Path, *, log: Callable[[dict[str, Any]], None]) -> None:
        """Run stage two, from the checkpoint in `out_dir` if there is one.

        Raises:
            ValueError: the checkpoint was made with another recipe.
        """
        recipe = self.recipe
        backbone = mobile_net(self.model)
        for parameter in backbone.features[: recipe.frozen_stages].parameters():
            parameter.requires_grad_(False)
        upper = list(backbone.features[recipe.frozen_stages :].parameters())
        heads = self._heads()
        optimizer = torch.optim.AdamW(
            [
                {"params": upper, "lr": recipe.backbone_learning_rate},
                {"params": heads, "lr": recipe.head_learning_rate},
            ],
            weight_decay=0.01,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=recipe.steps, pct_start=0.1
        )
        average = copy.deepcopy(self.model.state_dict())
        self._published = copy.deepcopy(backbone.features[recipe.frozen_stages :]).eval()
        first = self._resume(out_dir / CHECKPOINT_FILE, optimizer, schedule, average)
        started, losses = time.monotonic(), []
        for step in range(first, recipe.steps):
            loss = self._step(step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(upper + heads, 5.0)
            optimizer.step()
            schedule.step()
            _update_average(average, self.model.state_dict(), min(recipe.average_decay, (step + 1) / (step + 10)))
            losses.append(loss.item())
            if (step + 1) % 20 == 0:
                rate = (step + 1 - first) / (time.monotonic() - started)
                log({"stage": "towers", "step": step + 1, "of": recipe.steps, "loss": float(np.mean(losses[-20:])),
                     "steps_per_s": round(rate, 3)})  # fmt: skip
            if (step + 1) % recipe.checkpoint_steps == 0:
                self._checkpoint(out_dir / CHECKPOINT_FILE, step + 1, optimizer, schedule, average)
        self.model.load_state_dict(average)
        self.model.eval()

    def _step(self, step: int) -> Tensor:
        """Return the loss of one step. All draws depend on seed and step only, so a resumed run is the same."""
        recipe, collection = self.recipe, self.collection
        rng = np.random.default_rng([recipe.seed, 2, step])
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        clips = collection.draw(recipe.batch_clips, rng)
        mel = self.augment(torch.from_numpy(collection.mel(clips, rng)), generator=generator)
        z = self.targets.z[clips].copy()
        parts: list[tuple[int, ...]] = [(int(i),) for i in clips]
        mixed = np.flatnonzero(rng.random(len(clips)) < recipe.mix_probability)
        if len(mixed) > 1:
            partner = np.roll(mixed, 1)
            mel[mixed] = self.augment.mix(mel[mixed], mel[partner], generator=generator)
            # A class is in the mixture if it is in either part; the partner is up to 10 dB softer, so it counts less.
            z[mixed] = np.fmax(z[mixed], z[partner] - 0.3)
            for i, j in zip(mixed, partner, strict=True):
                parts[i] = (int(clips[i]), int(clips[j]))
        features, published = self._features(scaled_mel(self.model, mel).to(self.device))
        loss = self._loss(self.model.audio_tower.projection(features), z, parts, rng)
        # The teacher's head is all that is known about classes without clips: its logits must not change.
        drift = (self._teacher_head(features) - self._teacher_head(published)) / self._head_std
        return loss + recipe.anchor_weight * drift.square().mean()

    def _features(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the trained and of the published backbone, each [shape=(n, feature_dim)].

        The batch norms of the backbone keep AudioSet's statistics.
        """
        backbone, frozen = mobile_net(self.model), self.recipe.frozen_stages
        self.model.train()
        backbone.eval()
        x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            parts = [backbone.features[:frozen](part) for part in x.split(32)]
            published = torch.cat([self._published(part).mean((2, 3)) for part in parts])
        return torch.cat([backbone.features[frozen:](part).mean((2, 3)) for part in parts]), published

    def _checkpoint(self, path: Path, step: int, optimizer: Any, schedule: Any, average: dict[str, Tensor]) -> None:
        temporary = path.with_suffix(".tmp")
        state = {
            "recipe": asdict(self.recipe),
            "step": step,
            "model": self.model.state_dict(),
            "log_scale": self.log_scale.detach(),
            "average": average,
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        torch.save(on_cpu(state), temporary)
        temporary.replace(path)

    def _resume(self, path: Path, optimizer: Any, schedule: Any, average: dict[str, Tensor]) -> int:
        if not path.is_file():
            return 0
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was made with another recipe; delete it or choose another --out")
        self.model.load_state_dict(saved["model"])
        self.log_scale.data.copy_(saved["log_scale"])
        average.update({name: self._on_device(value) for name, value in saved["average"].items()})
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        return int(saved["step"])


def on_cpu(state: Any) -> Any:
    """Return nested containers with every tensor in them on the CPU."""
    return tree_map_only(Tensor, Tensor.cpu, state)


def _update_average(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> None:
    for name, value in now.items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)

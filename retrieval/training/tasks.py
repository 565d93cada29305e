"""The two training tasks: what a run trains, how it scores clips, and what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from encoders.calibration import fit_calibration
from encoders.embed import embed_audio
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.waveforms import WaveformStore
from retrieval.evaluation.protocol import evaluate
from retrieval.training.config import METRICS
from retrieval.training.memory_bank import MemoryBank
from retrieval.training.modules import ContrastiveModule, TaggerModule

__all__ = ["ContrastiveTask", "TaggerTask", "Task", "clip_vectors", "validation_metrics"]


class Task(Protocol):
    """What a run needs of its task."""

    bank: MemoryBank | None

    @property
    def module(self) -> ContrastiveModule | TaggerModule:
        """The model with its loss."""

    def scores(self, sounds: WaveformStore) -> np.ndarray:
        """Return the score of each clip for each trained tag, in inference mode [shape=(n_clips, n_tags)]."""

    def unseen_scores(self, sounds: WaveformStore, text_inputs: np.ndarray) -> np.ndarray | None:
        """Return scores for other tags [shape=(n_clips, n)]; None where the model cannot score them.

        Args:
            sounds: the clips.
            text_inputs: unit vectors at the input of the text tower [shape=(n, input_dim)].
        """

    def fill_bank(self, sounds: WaveformStore) -> None:
        """Embed all training clips, so that negatives can be mined from the first step."""

    def calibrate(self, train: WaveformStore, held_out: WaveformStore, truth: np.ndarray, *, seed: int) -> None:
        """Fit the calibration on held-out clips with labels [shape=(n_clips, n_tags)], where the model has one."""

    def save(self, out: Path) -> None:
        """Write the model directory."""


class ContrastiveTask:
    """Two towers that score any words.

    Args:
        module: the model with its loss.
        n_clips: number of training clips.
    """

    def __init__(self, module: ContrastiveModule, n_clips: int) -> None:
        self.module = module
        self.bank: MemoryBank | None = MemoryBank(n_clips, module.model.config.dim)

    def scores(self, sounds: WaveformStore) -> np.ndarray:
        """See `Task.scores`: cosines of the mean segment vector, which is not of unit length."""
        self.module.eval()
        return clip_vectors(self.module.model, sounds) @ self.module.tag_vectors().T

    def unseen_scores(self, sounds: WaveformStore, text_inputs: np.ndarray) -> np.ndarray | None:
        """See `Task.unseen_scores`."""
        self.module.eval()
        return clip_vectors(self.module.model, sounds) @ self.module.tag_vectors(text_inputs).T

    def fill_bank(self, sounds: WaveformStore) -> None:
        """See `Task.fill_bank`."""
        assert self.bank is not None
        self.module.eval()
        vectors = clip_vectors(self.module.model, sounds)
        self.bank.clips[:] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def calibrate(self, train: WaveformStore, held_out: WaveformStore, truth: np.ndarray, *, seed: int) -> None:
        """See `Task.calibrate`; the training clips are the background."""
        self.module.eval()
        model = self.module.model
        model.calibration.set(
            fit_calibration(
                clip_vectors(model, train),
                clip_vectors(model, held_out),
                self.module.tag_vectors(),
                truth,
                seed=seed,
            )
        )

    def save(self, out: Path) -> None:
        """See `Task.save`."""
        self.module.eval()
        self.module.model.save_pretrained(out)


class TaggerTask:
    """A closed-set tagger.

    Args:
        module: the model with its loss.
    """

    def __init__(self, module: TaggerModule) -> None:
        self.module = module
        self.bank: MemoryBank | None = None

    def scores(self, sounds: WaveformStore) -> np.ndarray:
        """See `Task.scores`: probabilities."""
        self.module.eval()
        return _tagger_scores(self.module.model, sounds)

    def unseen_scores(self, sounds: WaveformStore, text_inputs: np.ndarray) -> np.ndarray | None:
        """Return None: a closed-set tagger has no scores for other tags."""
        return None

    def fill_bank(self, sounds: WaveformStore) -> None:
        """Do nothing: a closed-set tagger mines no negatives."""

    def calibrate(self, train: WaveformStore, held_out: WaveformStore, truth: np.ndarray, *, seed: int) -> None:
        """Do nothing: the scores of a closed-set tagger are probabilities of its training data."""

    def save(self, out: Path) -> None:
        """See `Task.save`."""
        self.module.eval()
        self.module.model.save_pretrained(out)


def clip_vectors(model: TwoTowerModel, sounds: WaveformStore) -> np.ndarray:
    """Return the mean segment vector of each clip, not of unit length [shape=(n_clips, dim)]."""
    clips = (sounds.waveform(clip) for clip in range(len(sounds)))
    return np.stack([embed_audio(clip, model=model).vectors.mean(0) for clip in clips])


def _tagger_scores(model: TaggerModel, sounds: WaveformStore) -> np.ndarray:
    return np.concatenate([model.tag_audio([sounds.waveform(clip)]) for clip in range(len(sounds))])


def validation_metrics(scores: np.ndarray, truth: np.ndarray, tags: Sequence[str]) -> dict[str, float]:
    """Return the validation metrics by name, over the tags that some clip has.

    Args:
        scores: [shape=(n_clips, n_tags)].
        truth: [shape=(n_clips, n_tags)] bool.
        tags: names of the columns.
    """
    present = np.flatnonzero(truth.any(0))
    report = evaluate(scores[:, present], truth[:, present], [tags[i] for i in present])
    found = report["parts"]["all"]["tag_to_clip"]
    return {name: float(found[name]) for name in METRICS}

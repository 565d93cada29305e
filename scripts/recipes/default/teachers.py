"""The published taggers whose logits the student is distilled from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import nn

from encoders.backbones.fcn import FCN
from encoders.backbones.published import load_published, published_tags
from encoders.tagger import TaggerNetwork
from encoders.text.tokenizer import tokenize

__all__ = ["MUSIC_TEACHERS", "MusicTeacher", "load_audioset_teacher", "load_music_teachers"]

# Name of a teacher -> its published name and its file.
_PUBLISHED = {
    "msd_fcn": ("won2020-msd-fcn", "won2020_msd_fcn.pth"),
    "msd_musicnn2019": ("musicnn2019-msd", "musicnn2019_msd.npz"),
    "jamendo_fcn": ("won2020-jamendo-fcn", "won2020_jamendo_fcn.pth"),
    "mtat_musicnn": ("won2020-mtat-musicnn", "won2020_mtat_musicnn.pth"),
}
MUSIC_TEACHERS = tuple(_PUBLISHED)

# The published input is 29 s, so a clip of 10 s would be repeated three times. This is the shortest input that leaves
# one frame to the last pooling.
FCN_INPUT_SAMPLES = 1280 * 256

# Tags that are published without spaces, or in a short form.
_SPACED = {
    "acousticguitar": "acoustic guitar",
    "drummachine": "drum machine",
    "easylistening": "easy listening",
    "electricguitar": "electric guitar",
    "electricpiano": "electric piano",
    "instrumentalpop": "instrumental pop",
    "newage": "new age",
    "popfolk": "pop folk",
    "poprock": "pop rock",
    "triphop": "trip hop",
    "chillout": "chill out",
    "00s": "2000s",
    "oldies": "old songs",
    "hiphop": "hip hop",
}


@dataclass(frozen=True)
class MusicTeacher:
    """A tagger at 16 kHz and the names of its outputs."""

    name: str
    model: nn.Module
    input_samples: int
    tags: list[str]

    @torch.inference_mode()
    def logits(self, waveform: np.ndarray) -> np.ndarray:
        """Return the mean logits [shape=(n_tags,)] over a clip at 16 kHz [shape=(n_samples,)].

        A clip shorter than the input is repeated. A longer one is cut into evenly spaced inputs, the last at its end.
        """
        n = self.input_samples
        if len(waveform) < n:
            waveform = np.tile(waveform, -(-n // len(waveform)))[:n]
        starts = np.linspace(0, len(waveform) - n, max(1, round(len(waveform) / n))).astype(int)
        batch = torch.from_numpy(np.stack([waveform[s : s + n] for s in starts]))
        return self.model(batch).mean(0).numpy()


def load_audioset_teacher(weights_dir: Path) -> TaggerNetwork:
    """Load EfficientAT mn04 (527 AudioSet classes, 32 kHz) from `efficientat_mn04_audioset.pt`, ready to infer."""
    teacher = load_published("efficientat-mn04", weights_dir / "efficientat_mn04_audioset.pt")
    assert isinstance(teacher, TaggerNetwork)
    return teacher


def _tag(name: str) -> str:
    name = name.split("---")[-1].lower()
    return " ".join(tokenize(_SPACED.get(name, name)))


def load_music_teachers(weights_dir: Path) -> list[MusicTeacher]:
    """Load the music taggers of `MUSIC_TEACHERS` from a folder of published checkpoints."""
    # Denormal numbers, which some published weights cause, make a network twenty times slower.
    torch.set_flush_denormal(True)
    teachers = []
    for name, (published, file) in _PUBLISHED.items():
        model = load_published(published, weights_dir / file)
        assert isinstance(model, TaggerNetwork)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        input_samples = FCN_INPUT_SAMPLES if isinstance(model.backbone, FCN) else model.backbone.input_samples
        teachers.append(MusicTeacher(name, model, input_samples, [_tag(t) for t in published_tags(published) or ()]))
    return teachers


def to_16khz(waveform: np.ndarray) -> np.ndarray:
    """Resample a clip at 32 kHz [shape=(n_samples,)] for the music teachers."""
    return soxr.resample(waveform, 32000, 16000).astype(np.float32)

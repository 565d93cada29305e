"""The published taggers that teach the student: logits of many classes for each clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from encoders.backbones.convert import efficientat_state, musicnn2019_state, won2020_state
from encoders.backbones.fcn import FCNTagger
from encoders.backbones.mobilenet import MobileNetTagger
from encoders.backbones.musicnn import Musicnn2019Tagger, MusicnnTagger
from encoders.tokens import tokenize

__all__ = ["MUSIC_TEACHERS", "MusicTeacher", "load_audioset_teacher", "load_music_teachers"]

MUSIC_TEACHERS = ("msd_fcn", "msd_musicnn2019", "jamendo_fcn", "mtat_musicnn")

# The published input is 29 s; the clips have 10 s and would be heard three times. This is the shortest that leaves the
# last pooling a frame.
FCN_INPUT_SAMPLES = 1280 * 256

# Tags that the taggers' makers wrote without spaces.
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

        A clip shorter than the input is repeated; a longer one is cut into parts that end with the clip.
        """
        n = self.input_samples
        if len(waveform) < n:
            waveform = np.tile(waveform, -(-n // len(waveform)))[:n]
        starts = np.linspace(0, len(waveform) - n, max(1, round(len(waveform) / n))).astype(int)
        batch = torch.from_numpy(np.stack([waveform[s : s + n] for s in starts]))
        return self.model(batch).mean(0).numpy()


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the model card says where each teacher is published")
    return torch.load(path, map_location="cpu", weights_only=True)


def load_audioset_teacher(weights_dir: Path) -> MobileNetTagger:
    """Load EfficientAT mn04 (527 AudioSet classes, 32 kHz) from ``efficientat_mn04_audioset.pt``, ready to infer."""
    model = MobileNetTagger()
    model.load_state_dict(efficientat_state(_weights(weights_dir / "efficientat_mn04_audioset.pt")))
    return model.eval()


def _tag(name: str) -> str:
    name = name.split("---")[-1].lower()
    return " ".join(tokenize(_SPACED.get(name, name)))


def load_music_teachers(weights_dir: Path) -> list[MusicTeacher]:
    """Load the four music taggers named in ``MUSIC_TEACHERS`` from a folder of published checkpoints."""
    # Half of MSD FCN's weights have decayed to denormal numbers, which make it twenty times slower.
    torch.set_flush_denormal(True)
    tags = json.loads((weights_dir / "won2020_tags.json").read_text(encoding="utf-8"))
    msd_tags = json.loads((weights_dir / "musicnn2019_msd_tags.json").read_text(encoding="utf-8"))
    makers: dict[str, tuple[Callable[[], FCNTagger | MusicnnTagger | Musicnn2019Tagger], list[str]]] = {
        "msd_fcn": (FCNTagger, tags["msd"]),
        "msd_musicnn2019": (Musicnn2019Tagger, msd_tags),
        "jamendo_fcn": (FCNTagger, tags["jamendo"]),
        "mtat_musicnn": (MusicnnTagger, tags["mtat"]),
    }
    teachers = []
    for name in MUSIC_TEACHERS:
        make, names = makers[name]
        model = make()
        if name == "msd_musicnn2019":
            with np.load(weights_dir / "musicnn2019_msd.npz", allow_pickle=False) as file:
                model.load_state_dict(musicnn2019_state(dict(file)))
        else:
            model.load_state_dict(won2020_state(_weights(weights_dir / f"won2020_{name}.pth")))
        model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        input_samples = FCN_INPUT_SAMPLES if isinstance(model, FCNTagger) else model.input_samples
        teachers.append(MusicTeacher(name, model, input_samples, [_tag(t) for t in names]))
    return teachers


def to_16khz(waveform: np.ndarray) -> np.ndarray:
    """Resample a clip at 32 kHz [shape=(n_samples,)] for the music teachers."""
    return soxr.resample(waveform, 32000, 16000).astype(np.float32)

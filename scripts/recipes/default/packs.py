"""The recorded clips that the default model is trained on: packs, licences and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval.datasets.base import TaggedClip
from retrieval.datasets.csv_folder import read_csv_dataset

__all__ = [
    "EXHAUSTIVE_PACKS",
    "MUSIC_PACKS",
    "OPEN_MUSIC",
    "PACK_SHARE",
    "TRAINING_PACKS",
    "TrainingClip",
    "training_clips",
]

TRAINING_PACKS = ("music", "orchestra_notes", "esc", "ambience", "lofi_notes", "sms_sounds")
OPEN_MUSIC = "open_music"
"""The pack that `open_music.py` fetches; it has long tracks, see `open_excerpts`."""
MUSIC_PACKS = ("music", OPEN_MUSIC)
"""Packs that the music teachers process."""
EXHAUSTIVE_PACKS = frozenset(("orchestra_notes", "esc", "lofi_notes", "synth", "single"))
"""Packs whose labels are complete: a label that the pack uses and a clip lacks is absent from that clip."""
PACK_SHARE = {
    "music": 0.30,
    "single": 0.16,
    OPEN_MUSIC: 0.11,
    "synth": 0.10,
    "ambience": 0.10,
    "esc": 0.07,
    "grooves": 0.06,
    "orchestra_notes": 0.05,
    "lofi_notes": 0.03,
    "sms_sounds": 0.02,
}
"""Share of each pack in a batch: music and field recordings weigh more than rendered clips and single notes."""

# ESC-10 is CC BY. The other classes of ESC-50 are CC BY-NC, and fold 5 is for evaluation.
_ESC_OPEN = frozenset(
    (
        *("dog", "rain", "sea waves", "crying baby", "clock tick"),
        *("sneezing", "helicopter", "chainsaw", "rooster", "crackling fire"),
    )
)
_ESC_TRAINING_FOLDS = frozenset(("fold1", "fold2", "fold3"))
# Labels of playing techniques and of purposes, which do not name a sound.
_NO_SOUND = frozenset(("", "normal", "unclassifiable", "song", "ep", "effect", "silent film score", "contemporary"))
# Abbreviations in the packs -> the words that people search for.
_FULL_NAMES = {
    "kit": "drum kit",
    "glock": "glockenspiel",
    "sax": "saxophone",
    "vibes": "vibraphone",
    "tympani": "timpani",
    "basses": "double bass",
    "arco normal": "bowed strings",
    "cor anglais": "english horn",
    "waves": "ocean waves",
    "road": "road traffic",
    "clock": "clock tick",
    "walk in snow": "footsteps in snow",
    "walk on gravel": "footsteps on gravel",
    "walk on leaves": "footsteps on leaves",
}
# Plural or special name -> the instrument, added as a second label.
_BASE_NAMES = {
    "flutes": "flute",
    "violins": "violin",
    "violas": "viola",
    "cellos": "cello",
    "trumpets": "trumpet",
    "trombones": "trombone",
    "tubas": "tuba",
    "bassoons": "bassoon",
    "french horns": "french horn",
    "saxes": "saxophone",
    "organs": "organ",
    "choirs": "choir",
    "marimbas": "marimba",
    "bells": "bell",
    "tenor sax": "saxophone",
    "alto flute": "flute",
    "drum kit": "drums",
    "bass clarinet": "clarinet",
}


@dataclass(frozen=True)
class TrainingClip:
    """One recorded clip.

    Attributes:
        path: the audio file.
        labels: its labels, cleaned.
        pack: the pack that it belongs to.
        group: the recording that it is cut from; clips of one group are trained on or held out together.
    """

    path: Path
    labels: tuple[str, ...]
    pack: str
    group: str


def _allowed(pack: str, clip: TaggedClip) -> bool:
    """Return whether licence and split allow training on a clip."""
    if pack == "esc":
        return clip.split in _ESC_TRAINING_FOLDS and bool(clip.labels) and set(clip.labels) <= _ESC_OPEN
    return "NC" not in clip.licence


def _clean(names: tuple[str, ...]) -> tuple[str, ...]:
    full = [_FULL_NAMES.get(name, name) for name in names if name not in _NO_SOUND]
    return tuple(dict.fromkeys([*full, *(_BASE_NAMES[name] for name in full if name in _BASE_NAMES)]))


def training_clips(audio_dir: Path) -> Iterator[TrainingClip]:
    """Yield the clips of every training pack that may be trained on.

    Args:
        audio_dir: a folder with one folder per pack, each with a labels.csv
            (`file,labels[,split][,licence][,source]`). Without a source, the part of a file name before its last `_`
            names the recording.

    Raises:
        DatasetError: a pack is missing or its table cannot be read.
    """
    for pack in TRAINING_PACKS:
        folder = audio_dir / pack
        for clip in read_csv_dataset(folder, keep_unlabeled=True).clips:
            if _allowed(pack, clip):
                file = clip.path.relative_to(folder).as_posix()
                recording = file.rsplit("_", 1)[0] if clip.group == file else clip.group
                yield TrainingClip(clip.path, _clean(clip.labels), pack, f"{pack}/{recording}")

"""The openly licensed clips that the default model may learn from, and what is kept from it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXHAUSTIVE_PACKS", "MUSIC_PACKS", "TRAINING_PACKS", "TrainingClip", "training_clips"]

TRAINING_PACKS = ("music", "orchestra_notes", "esc", "ambience", "lofi_notes", "sms_sounds")
MUSIC_PACKS = ("music",)
# Here every clip says all that is in it: a label of the pack that a clip lacks is not heard in it.
EXHAUSTIVE_PACKS = frozenset(("orchestra_notes", "esc", "lofi_notes", "synth", "single"))

# ESC-10 is CC BY; the other classes of ESC-50 are CC BY-NC, and fold 5 is for evaluation.
_ESC_OPEN = frozenset(
    (
        *("dog", "rain", "sea waves", "crying baby", "clock tick"),
        *("sneezing", "helicopter", "chainsaw", "rooster", "crackling fire"),
    )
)
_ESC_TRAINING_FOLDS = frozenset(("fold1", "fold2", "fold3"))
# Labels that say how a note is played or what a file is for, not what is heard.
_NOT_HEARD = frozenset(("", "normal", "unclassifiable", "song", "ep", "effect", "silent film score", "contemporary"))
# Short forms in the packs, written out as a listener would say them.
_WRITTEN_OUT = {
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
# Where several play, one can be heard.
_PLURALS = {
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
    """One clip: where it lies, the labels that a listener would give it, and the group that must not be split."""

    path: Path
    labels: tuple[str, ...]
    pack: str
    group: str


def _allowed(pack: str, row: dict[str, str]) -> bool:
    if pack == "esc":
        return row["split"] in _ESC_TRAINING_FOLDS and row["labels"] in _ESC_OPEN
    return "NC" not in row.get("licence", "")


def _labels(text: str) -> tuple[str, ...]:
    names = (label.strip() for label in text.split(";"))
    written = [_WRITTEN_OUT.get(name, name) for name in names if name not in _NOT_HEARD]
    return tuple(dict.fromkeys([*written, *(_PLURALS[name] for name in written if name in _PLURALS)]))


def training_clips(audio_dir: Path) -> Iterator[TrainingClip]:
    """Yield the clips of every training pack whose licence allows it.

    Args:
        audio_dir: holds one folder a pack, each with labels.csv (``file,labels[,split][,licence][,source]``).

    Raises:
        FileNotFoundError: a pack is missing.
    """
    for pack in TRAINING_PACKS:
        table = audio_dir / pack / "labels.csv"
        if not table.is_file():
            raise FileNotFoundError(f"{table} is missing: --data must hold audio/{pack} with its labels.csv")
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if _allowed(pack, row):
                    group = row.get("source") or row["file"].rsplit("_", 1)[0]
                    yield TrainingClip(table.parent / row["file"], _labels(row["labels"]), pack, f"{pack}/{group}")

"""Write the default model's training clips as folders that ``retrieve train`` reads.

    python -m scripts.recipes.default.write_training_folders --data DIR --out DIR

DIR of --data holds ``audio/`` (one folder a pack). OUT gets a folder for each pack whose labels say all that is heard,
and for the synthesised pieces and single sounds, with the labels that the recipe uses; the clips of the other packs are
there to be heard, all of a pack under one label. A row's split is "val" for the recordings that the recipe keeps from
training. Folders that are finished are left as they are. --hold-out-labels takes labels away, with whatever gives them
away by the word vectors of --word-vectors (`word_vectors.safetensors` in the folder of the recipe's run).
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from encoders.text.word_vectors import WordVectors
from retrieval.label_file import read_label_file
from scripts.recipes.default.clips import EXHAUSTIVE_PACKS, TRAINING_PACKS, TrainingClip, training_clips
from scripts.recipes.default.collection import is_held_out
from scripts.recipes.default.label_leakage import GiveAway
from scripts.recipes.default.prepare import RENDERED_PACKS, RENDERED_SHARD, SAMPLE_RATE_HZ
from scripts.recipes.default.stages import WORD_VECTORS_FILE, DefaultRun
from scripts.recipes.default.student import Recipe
from scripts.recipes.default.train import SOUNDFONTS

ONE_LABEL = {"music": "music", "ambience": "environmental noise", "sms_sounds": "sound"}


@dataclass(frozen=True)
class Row:
    file: str
    labels: tuple[str, ...]
    group: str


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def recorded(pack: str, clips: list[TrainingClip], folder: Path) -> Iterator[Row]:
    """Copy a pack's clips."""
    for i, clip in enumerate(clips):
        labels = clip.labels if pack in EXHAUSTIVE_PACKS else (ONE_LABEL[pack],)
        if labels:
            name = f"{i:05}{clip.path.suffix}"  # folders within a pack share file names
            shutil.copyfile(clip.path, folder / name)
            yield Row(name, labels, clip.group)


def rendered(pack: str, wanted: int, soundfonts: list[Path], folder: Path) -> Iterator[Row]:
    """Render the first clips of a pack: by whole shards the very ones that the recipe hears."""
    render, _ = RENDERED_PACKS[pack]
    for first in range(0, wanted, RENDERED_SHARD):
        n = min(RENDERED_SHARD, wanted - first)
        for i, clip in enumerate(render(soundfonts, count=n, seed=Recipe.seed * 1_000_000 + first)):
            name = f"{first + i:05}.flac"
            soundfile.write(folder / name, clip.waveform, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            yield Row(name, clip.labels, f"{pack}/{first + i}")


def write(folder: Path, rows: Iterator[Row], held_out: float, gone: GiveAway | None) -> int:
    """Write the table last: a folder without one is not finished."""
    table = []
    for row in rows:
        labels = [label for label in row.labels if gone is None or not gone.of([label])]
        if labels:
            table.append(
                (row.file, ";".join(labels), "val" if is_held_out(row.group, held_out) else "train", row.group)
            )
    partial = folder / "labels.csv.partial"
    with partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "labels", "split", "group"), *table])
    partial.replace(folder / "labels.csv")
    return len(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--out", type=Path, required=True, help="where the folders go")
    parser.add_argument("--soundfont", type=Path, action="append", help="General MIDI soundfont, repeatable")
    parser.add_argument("--singles", type=int, default=1500, help="single sounds (default: %(default)s)")
    parser.add_argument("--pieces", type=int, default=500, help="synthesised pieces (default: %(default)s)")
    parser.add_argument("--hold-out-labels", type=Path, metavar="FILE", help="labels to take away; with --word-vectors")
    parser.add_argument("--word-vectors", type=Path, metavar="FILE", help=f"RUN/{WORD_VECTORS_FILE} of the recipe")
    args = parser.parse_args()
    if bool(args.hold_out_labels) != bool(args.word_vectors):
        parser.error("--hold-out-labels and --word-vectors go together")
    gone = None
    if args.word_vectors:
        gone = GiveAway(read_label_file(args.hold_out_labels), WordVectors.load(args.word_vectors))
    soundfonts = args.soundfont or list(SOUNDFONTS)
    clips = list(training_clips(args.data / "audio"))
    written: dict[str, int] = {}
    sources = {
        **dict.fromkeys(TRAINING_PACKS),
        "single": args.singles,
        "synth": args.pieces,
    }
    for pack, wanted in sources.items():
        folder = args.out / pack
        if (folder / "labels.csv").is_file():
            tell(f"{pack}: there already")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if wanted is None:
            rows = recorded(pack, [clip for clip in clips if clip.pack == pack], folder)
        else:
            rows = rendered(pack, wanted, soundfonts, folder)
        written[pack] = write(folder, rows, DefaultRun.held_out, gone)
        tell(f"{pack}: {written[pack]} clips")
    print(json.dumps({"out": str(args.out), "written": written}))


if __name__ == "__main__":
    main()

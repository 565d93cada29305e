"""Options of the experiments on negatives, and the clips that follow from them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from retrieval.training.config import CONTRASTIVE_LOSSES, TrainConfig
from retrieval.training.mining import NEGATIVES
from scripts.experiments.comparison.console import progress_callback
from scripts.experiments.comparison.data import UNSEEN, Material, Rendering, gather, render_dataset
from scripts.experiments.comparison.runs import PUBLISHED
from scripts.soundfonts import CSOUND_GM, FLUID_R3, TIM_GM6MB

__all__ = ["parse_arguments", "prepare", "shared_settings"]

TRAIN_FONTS = (FLUID_R3, CSOUND_GM)
TEST_FONTS = (TIM_GM6MB,)


def parse_arguments(description: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options that `baseline_vs_retrieval` and `what_negatives_add` share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the instrument packs")
    parser.add_argument("--init", type=Path, required=True, help=f"the published checkpoint {PUBLISHED}")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument(
        "--negatives", nargs="*", choices=NEGATIVES, default=list(NEGATIVES), metavar="KIND", help="(default: all)"
    )
    parser.add_argument("--no-baseline", action="store_true", help="leave out the BCE baseline")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--loss", choices=CONTRASTIVE_LOSSES, default="infonce", help="(default: %(default)s)")
    parser.add_argument("--train-soundfont", type=Path, action="append", metavar="FILE", help="repeatable")
    parser.add_argument("--test-soundfont", type=Path, action="append", metavar="FILE", help="repeatable")
    parser.add_argument("--train-clips", type=int, default=800, help="rendered clips (default: %(default)s)")
    parser.add_argument("--test-clips", type=int, default=400, help="rendered clips (default: %(default)s)")
    parser.add_argument("--clip-s", type=float, default=5.0, help="seconds of each clip (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of the contrastive runs (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="clips per batch (default: %(default)s)")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=float,
        default=[1e-3, 3e-3, 1e-2, 3e-2],
        metavar="RATE",
        help="learning rates to choose from",
    )
    parser.add_argument("--mining-warmup", type=int, default=1, help="epochs before mining (default: %(default)s)")
    parser.add_argument("--freeze-stages", type=int, default=7, help="of the backbone (default: %(default)s)")
    parser.add_argument("--unseen", nargs="+", default=list(UNSEEN), metavar="TAG", help="(default: ten instruments)")
    parser.add_argument(
        "--synonym-cosine", type=float, default=TrainConfig.synonym_cosine, help="of synonyms (default: %(default)s)"
    )
    parser.add_argument(
        "--min-clips", type=int, default=8, help="training clips that a tag needs (default: %(default)s)"
    )
    parser.add_argument("--text", type=Path, help="word vectors (default: those of the shipped model)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    return parser.parse_args(arguments)


def shared_settings(args: argparse.Namespace, rendering: Rendering) -> dict[str, Any]:
    """Return the settings that all runs in a folder must share."""
    names = ("epochs", "batch", "mining_warmup", "freeze_stages", "unseen", "synonym_cosine", "min_clips", "loss")
    return {
        **{name: getattr(args, name) for name in names},
        "init": [args.init.name, args.init.stat().st_size],
        "text": str(args.text or "shipped"),
        "rendered": rendering.described(),
    }


def prepare(args: argparse.Namespace) -> tuple[Material, dict[str, Any]]:
    """Render the clips that are missing; return the clips of all runs and the settings that all runs share.

    Raises:
        FileNotFoundError: the checkpoint or a soundfont is missing.
        DatasetError: a pack is missing, or an unseen tag is in no training clip.
    """
    disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    if not args.init.is_file():
        raise FileNotFoundError(f"--init {args.init} does not exist; it must be the checkpoint {PUBLISHED}")
    rendering = Rendering(
        train_fonts=tuple(args.train_soundfont or TRAIN_FONTS),
        test_fonts=tuple(args.test_soundfont or TEST_FONTS),
        train_clips=args.train_clips,
        test_clips=args.test_clips,
        clip_s=args.clip_s,
    )
    settings = shared_settings(args, rendering)
    rendered = render_dataset(rendering, args.out / "audio", on_clip=progress_callback("rendering"))
    material = gather(
        rendered,
        args.data,
        WordVectors.load(args.text or DEFAULT_MODEL_DIR),
        unseen=args.unseen,
        synonym_cosine=args.synonym_cosine,
        at_least=args.min_clips,
    )
    return material, settings
